import prettyBytes from 'pretty-bytes';
import type { Assessment } from '../assess.ts';
import { type ReapResult, reclaimedBytes } from '../reap/result.ts';

/** What systemd's status line shows. */
export type ServiceStats = {
  readonly clayPids: readonly number[];
  readonly processes: number;
  readonly idle: number;
  /** Since the start of the service. */
  readonly reclaimedBytes: number;
};

/** The statistics before the first sweep. */
export const emptyStats: ServiceStats = { clayPids: [], processes: 0, idle: 0, reclaimedBytes: 0 };

/** The statistics after one more sweep. */
export const addSweep = (
  stats: ServiceStats,
  assessment: Assessment,
  results: readonly ReapResult[],
): ServiceStats => ({
  clayPids: assessment.clays.map((clay) => clay.daemon.pid),
  processes: assessment.judgements.length,
  idle: assessment.judgements.filter((judgement) => judgement.verdict !== 'protected').length,
  reclaimedBytes: stats.reclaimedBytes + reclaimedBytes(results),
});

/**
 * "watching Clay 1234: 8 claude processes, 3 idle, 1.2 GB reclaimed since start"; `dryRun`: the reason why nothing is ended
 * instead, or null.
 */
export function formatStatusLine(stats: ServiceStats, dryRun: string | null): string {
  const { clayPids, processes, idle } = stats;
  const activity = clayPids.length === 0 ? 'waiting for Clay' : `watching Clay ${clayPids.join(', ')}`;
  const outcome =
    dryRun === null ? `${prettyBytes(stats.reclaimedBytes)} reclaimed since start` : `ends nothing (${dryRun})`;
  return `${activity}: ${processes} claude processes, ${idle} idle, ${outcome}`;
}
