import type { Evidence } from './evidence.ts';
import type { Now } from './limits.ts';

/** File times and the clock are not read at the same moment; times ahead by less than this are now. */
const CLOCK_SLACK_MS = 2_000;

/** A time at which something last happened in a conversation, and where it is written. */
export type Happening = { readonly what: string; readonly atMs: number };

/** Where it is written down when something last happened; it outlives a restart of the service. */
const WRITTEN: readonly { readonly what: string; readonly atMs: (evidence: Evidence) => number | null }[] = [
  { what: 'the status in its session file', atMs: ({ statusUpdatedAtMs }) => statusUpdatedAtMs },
  { what: 'its journal in Clay', atMs: ({ journal }) => (journal.state === 'found' ? journal.changedAtMs : null) },
  { what: 'its transcript', atMs: ({ transcriptChangedAtMs }) => transcriptChangedAtMs },
];

/** What is written down of when something last happened. */
export const happenings = (evidence: Evidence): Happening[] =>
  WRITTEN.flatMap(({ what, atMs }) => {
    const at = atMs(evidence);
    return at === null ? [] : [{ what, atMs: at }];
  });

/** The latest of {@link happenings}; null if there is none. */
function lastHappeningMs(evidence: Evidence): number | null {
  let last: number | null = null;
  WRITTEN.forEach(({ atMs }) => {
    const at = atMs(evidence);
    if (at !== null && (last === null || at > last)) last = at;
  });
  return last;
}

/** The happenings that lie in the future: a clock was set, and no idle time can be told from them. */
export function futureHappenings(evidence: Evidence, now: Now): Happening[] {
  const isFuture = (atMs: number): boolean => atMs > now.wallMs + CLOCK_SLACK_MS;
  return isFuture(lastHappeningMs(evidence) ?? 0) ? happenings(evidence).filter(({ atMs }) => isFuture(atMs)) : [];
}

/**
 * For how long nothing can have happened, by what is written down alone; ms.
 * A process that cannot be tied to its conversation has nothing written down: 0, and only time seen by us can count.
 * One whose conversation Clay has deleted may have none of it left: it cannot be idle for longer than it lives.
 */
export function writtenIdleMs(evidence: Evidence, now: Now): number {
  if (evidence.sessionId === null) return 0;
  const last = lastHappeningMs(evidence);
  if (last === null) return evidence.journal.state === 'missing' ? evidence.ageMs : 0;
  return Math.max(0, now.wallMs - last);
}

/** What the last look at a process found of its idle time. */
export type IdleWatch = {
  readonly atMs: number;
  readonly idleMs: number;
  /** Something protected it then; it may have gone on until just before the next look. */
  readonly wasAtWork: boolean;
};

/**
 * The idle time at this look; ms. Between two looks it grows by what passed on the monotonic clock and by no more, so
 * that neither a clock that is set nor a night of suspension makes a process idle; what is written down can only shorten it.
 */
export function idleTime(last: IdleWatch | null, evidence: Evidence, now: Now): number {
  const writtenMs = writtenIdleMs(evidence, now);
  if (last === null) return writtenMs;
  const seenMs = last.wasAtWork ? 0 : last.idleMs + Math.max(0, now.monotonicMs - last.atMs);
  return evidence.sessionId === null ? seenMs : Math.min(seenMs, writtenMs);
}
