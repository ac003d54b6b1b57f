import type { Evidence } from './evidence.ts';
import type { Now } from './limits.ts';

/** File times and the clock are not read at the same moment; times ahead by less than this are now. */
const CLOCK_SLACK_MS = 2_000;

/** A time at which something last happened in a conversation, and where it is written. */
export type Happening = { readonly what: string; readonly atMs: number };

/** What is written down of when something last happened; it outlives a restart of the service. */
export function happenings(evidence: Evidence): Happening[] {
  const list: Happening[] = [];
  if (evidence.statusUpdatedAtMs !== null)
    list.push({ what: 'the status in its session file', atMs: evidence.statusUpdatedAtMs });
  if (evidence.journal.state === 'found')
    list.push({ what: 'its journal in Clay', atMs: evidence.journal.changedAtMs });
  if (evidence.transcriptChangedAtMs !== null)
    list.push({ what: 'its transcript', atMs: evidence.transcriptChangedAtMs });
  return list;
}

/** The happenings that lie in the future: a clock was set, and no idle time can be told from them. */
export function futureHappenings(evidence: Evidence, now: Now): Happening[] {
  return happenings(evidence).filter((each) => each.atMs > now.wallMs + CLOCK_SLACK_MS);
}

/**
 * For how long nothing can have happened, by what is written down alone; ms.
 * A process that cannot be tied to its conversation has nothing written down: 0, and only time seen by us can count.
 * One whose conversation Clay has deleted may have none of it left: it cannot be idle for longer than it lives.
 */
export function writtenIdleMs(evidence: Evidence, now: Now): number {
  const written = happenings(evidence);
  if (evidence.sessionId === null) return 0;
  if (written.length === 0) return evidence.journal.state === 'missing' ? evidence.ageMs : 0;
  return Math.max(0, now.wallMs - Math.max(...written.map((each) => each.atMs)));
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
