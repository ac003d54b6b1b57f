import type { IdleOrphan } from '../judge/judge.ts';
import { readStat } from '../proc/stat.ts';
import { readStatus } from '../proc/status.ts';
import { type Assessed, prepareRecheck } from './recheck.ts';
import type { ReapResult } from './result.ts';
import { type NotEnded, selectOrphans } from './select.ts';
import { terminate } from './terminate.ts';

/** How to end processes. */
export type ReapSettings = {
  readonly procRoot: string;
  /** From SIGTERM to SIGKILL. */
  readonly killAfterMs: number;
  readonly maxKillsPerSweep: number;
};

/** What differs between a sweep of the service and a one-shot. */
export type ReapOptions = {
  /** Cuts the waits for exit short. */
  readonly abort?: AbortSignal | null;
  /** Processes that an earlier sweep tried to end in vain: they come last. */
  readonly notEnded?: NotEnded;
  /** Called right before the first signal: until then the program may end, and nothing is half done. */
  readonly onBegin?: () => void;
  /** Called whenever the outcome of one process is known. */
  readonly onOutcome?: () => void;
};

/**
 * Ends processes side by side, at most `maxKillsPerSweep`, after asking their Clays once more. The others are in the result as
 * deferred. Processes whose wait for exit `abort` cut short are not in the result; if it fires before the first signal, none is sent.
 */
export async function reap(
  settings: ReapSettings,
  assessed: Assessed,
  orphans: readonly IdleOrphan[],
  { abort = null, notEnded = new Set(), onBegin = () => {}, onOutcome = () => {} }: ReapOptions = {},
): Promise<ReapResult[]> {
  const { procRoot, killAfterMs, maxKillsPerSweep } = settings;
  const selection = selectOrphans(orphans, maxKillsPerSweep, notEnded);
  const selected = selection.selected.map((orphan) => withCurrentRss(procRoot, orphan));
  const deferred = selection.deferred.map((orphan) => deferredResult(orphan, maxKillsPerSweep));
  if (selected.length === 0) return deferred;
  const context = await prepareRecheck(procRoot, assessed, selected);
  if (abort?.aborted) return deferred;
  onBegin();
  // All rechecks and SIGTERMs happen synchronously before the first await, so they can share one set of socket tables.
  const results = await Promise.all(
    selected.map(async (judgement): Promise<ReapResult[]> => {
      const result = await terminate(context, judgement, killAfterMs, abort);
      onOutcome();
      return result ? [{ judgement, result }] : [];
    }),
  );
  return [...results.flat(), ...deferred];
}

const deferredResult = (judgement: IdleOrphan, maxKillsPerSweep: number): ReapResult => ({
  judgement,
  result: {
    outcome: 'spared',
    why: `max_kills_per_sweep = ${maxKillsPerSweep}: left to the next sweep`,
    because: 'deferred',
  },
});

/** The orphan with its memory of now, which is what its end gives back: an unchanged process is not read each sweep. */
function withCurrentRss(procRoot: string, orphan: IdleOrphan): IdleOrphan {
  const { evidence } = orphan;
  // The identity last: if it still holds, the memory was that of the same process.
  const status = readStatus(procRoot, evidence.id.pid);
  const stat = readStat(procRoot, evidence.id.pid);
  if (!status.ok || !stat.ok || stat.value.startTicks !== evidence.id.startTicks) return orphan;
  const { rssBytes, reclaimableBytes } = status.value;
  return { ...orphan, evidence: { ...evidence, rssBytes, reclaimableBytes } };
}
