import prettyBytes from 'pretty-bytes';
import { reclaimedBytes } from '../output/report.ts';
import type { Look, Reaped } from '../sweep.ts';

/** What a service has seen and done since its start. */
export type Tally = {
  readonly clayPids: readonly number[];
  readonly processes: number;
  readonly idle: number;
  /** Bytes. */
  readonly reclaimed: number;
};

/** A service that has not swept yet. */
export const emptyTally: Tally = { clayPids: [], processes: 0, idle: 0, reclaimed: 0 };

/** The tally after one more sweep. */
export const addToTally = (tally: Tally, found: Look, reaped: readonly Reaped[]): Tally => ({
  clayPids: found.clays.map((clay) => clay.daemon.pid),
  processes: found.judgements.length,
  idle: found.judgements.filter((each) => each.verdict !== 'protected').length,
  reclaimed: tally.reclaimed + reclaimedBytes(reaped),
});

/** "watching Clay 1234: 8 claude processes, 3 idle, 1.2 GB reclaimed since start". */
export function inWords({ clayPids, processes, idle, reclaimed }: Tally): string {
  const what = clayPids.length === 0 ? 'waiting for Clay' : `watching Clay ${clayPids.join(', ')}`;
  return `${what}: ${processes} claude processes, ${idle} idle, ${prettyBytes(reclaimed)} reclaimed since start`;
}
