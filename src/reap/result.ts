import type { IdleOrphan } from '../judge/judge.ts';

/** How a process that was judged `reap` ended, or why it did not. */
export type Outcome =
  | { readonly outcome: 'terminated'; readonly signal: 'SIGTERM' }
  /** `leftovers`: how many descendants outlived it and were ended too. */
  | { readonly outcome: 'killed'; readonly signal: 'SIGKILL'; readonly leftovers: number }
  /** It should be gone and is not; `signal`: the last one that was sent. */
  | { readonly outcome: 'survived'; readonly signal: 'SIGTERM' | 'SIGKILL' | null; readonly why: string }
  /** It was gone before anything was sent. */
  | { readonly outcome: 'vanished' }
  | Spared;

/**
 * A process that was judged `reap` and is left alone all the same, because a recheck found activity (`active`), its Clay gave
 * no usable answer (`unreachable`), or `max_kills_per_sweep` leaves it to a later sweep (`deferred`).
 */
export type Spared = {
  readonly outcome: 'spared';
  readonly why: string;
  readonly because: 'active' | 'unreachable' | 'deferred';
};

/** A process that was judged `reap`, and its outcome: it may have been spared, or survive. */
export type ReapResult = { readonly judgement: IdleOrphan; readonly result: Outcome };

/** Whether the process was ended by a signal of ours. */
export const wasTerminated = ({ result }: ReapResult): boolean =>
  result.outcome === 'terminated' || result.outcome === 'killed';

/** Bytes that came back from the processes that were ended. */
export const reclaimedBytes = (results: readonly ReapResult[]): number =>
  results.filter(wasTerminated).reduce((total, { judgement }) => total + judgement.evidence.reclaimableBytes, 0);

/** How many processes should be gone and are not. */
export const failedCount = (results: readonly ReapResult[]): number =>
  results.filter(({ result }) => result.outcome === 'survived').length;
