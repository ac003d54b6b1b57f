import type { IdleOrphan, Judgement } from '../judge/judge.ts';
import { keyOf } from '../proc/process-id.ts';
import type { ReapResult } from './result.ts';

/** The processes that were judged `reap`, the longest idle first. */
export const orphansToReap = ({ judgements }: { readonly judgements: readonly Judgement[] }): IdleOrphan[] =>
  judgements
    .filter((judgement): judgement is IdleOrphan => judgement.verdict === 'reap')
    .sort((left, right) => right.idleMs - left.idleMs);

/** Keys of processes that an earlier sweep tried to end and did not: spared by a recheck, or surviving. */
export type NotEnded = ReadonlySet<string>;

/**
 * Divides the orphans of one sweep, at most `maxKills` of them selected. Users take turns, so that one user's processes cannot
 * keep another's waiting; of one user's, the longest idle come first. Processes in `notEnded` come after all others.
 */
export function selectOrphans(
  orphans: readonly IdleOrphan[],
  maxKills: number,
  notEnded: NotEnded,
): { readonly selected: readonly IdleOrphan[]; readonly deferred: readonly IdleOrphan[] } {
  if (orphans.length <= maxKills) return { selected: orphans, deferred: [] };
  const triedBefore = (orphan: IdleOrphan): boolean => notEnded.has(keyOf(orphan.evidence.id));
  const ordered = [
    ...takeTurns(orphans.filter((orphan) => !triedBefore(orphan))),
    ...takeTurns(orphans.filter(triedBefore)),
  ];
  return { selected: ordered.slice(0, maxKills), deferred: ordered.slice(maxKills) };
}

/** Round-robin by uid: the first of each user, then the second of each, and so on. Keeps the order within a user. */
function takeTurns(orphans: readonly IdleOrphan[]): IdleOrphan[] {
  const rounds: IdleOrphan[][] = [];
  const countByUid = new Map<number, number>();
  for (const orphan of orphans) {
    const round = countByUid.get(orphan.evidence.uid) ?? 0;
    countByUid.set(orphan.evidence.uid, round + 1);
    rounds[round] ??= [];
    rounds[round].push(orphan);
  }
  return rounds.flat();
}

/** {@link NotEnded} for the next sweep: what is still a candidate, and was not ended now or before. */
export function notEndedAfter(
  before: NotEnded,
  judgements: readonly Judgement[],
  results: readonly ReapResult[],
): Set<string> {
  const after = new Set<string>();
  for (const { evidence } of judgements) if (before.has(keyOf(evidence.id))) after.add(keyOf(evidence.id));
  for (const { judgement, result } of results) {
    const failed = result.outcome === 'survived' || (result.outcome === 'spared' && result.because !== 'deferred');
    if (failed) after.add(keyOf(judgement.evidence.id));
  }
  return after;
}
