import type { Evidence } from './evidence.ts';
import type { Clock } from './policy.ts';

/** File times and the clock are not read at the same moment: a time ahead by less than this counts as now. */
const CLOCK_TOLERANCE_MS = 2_000;

/** A file that shows when something last happened in a conversation, and that time. */
export type Activity = { readonly what: string; readonly atMs: number };

/** The files that show when something last happened; they outlive a restart of the service. */
const ACTIVITY_SOURCES: readonly { readonly what: string; readonly atMs: (evidence: Evidence) => number | null }[] = [
  { what: 'the status in its session file', atMs: ({ statusUpdatedAtMs }) => statusUpdatedAtMs },
  { what: 'its journal in Clay', atMs: ({ journal }) => (journal.state === 'found' ? journal.changedAtMs : null) },
  { what: 'its transcript', atMs: ({ transcriptChangedAtMs }) => transcriptChangedAtMs },
];

/** When something last happened, by each file that shows it. */
export function recordedActivity(evidence: Evidence): Activity[] {
  const activity: Activity[] = [];
  for (const { what, atMs } of ACTIVITY_SOURCES) {
    const at = atMs(evidence);
    if (at !== null) activity.push({ what, atMs: at });
  }
  return activity;
}

/** When something last happened by any of these files, wall clock, ms; -Infinity if none shows it. `untilMs`: what is later does not count. */
const newestActivityMs = (evidence: Evidence, untilMs = Number.POSITIVE_INFINITY): number =>
  ACTIVITY_SOURCES.reduce((newestMs, source) => {
    const atMs = source.atMs(evidence) ?? Number.NEGATIVE_INFINITY;
    return atMs <= untilMs ? Math.max(newestMs, atMs) : newestMs;
  }, Number.NEGATIVE_INFINITY);

/** A time after this lies in the future: then a clock was set, and no idle time follows from it. Wall clock, ms. */
const latestPossibleMs = ({ wallMs }: Clock): number => wallMs + CLOCK_TOLERANCE_MS;

/** Recorded activity that lies in the future. */
export function futureActivity(evidence: Evidence, now: Clock): readonly Activity[] {
  const latestMs = latestPossibleMs(now);
  // Asked several times for each process in each sweep, and there is hardly ever any.
  if (newestActivityMs(evidence) <= latestMs) return NO_ACTIVITY;
  return recordedActivity(evidence).filter(({ atMs }) => atMs > latestMs);
}

const NO_ACTIVITY: readonly Activity[] = [];

/** The recorded activity that lies in the future, and since when it is unchanged. */
export type FutureTracking = { readonly key: string; readonly sinceMs: number };

/**
 * A wall clock that was set back leaves times in the future, for as long as it was set back: a year, perhaps. Times that do
 * not change for this long while the service observes are no activity: a program that writes to a file now gives it a time of now.
 */
const FUTURE_SETTLES_AFTER_MS = 10 * 60_000;

/** Continues the tracking; null if no activity lies in the future. */
export function trackFutureActivity(
  last: FutureTracking | null,
  evidence: Evidence,
  now: Clock,
): FutureTracking | null {
  const future = futureActivity(evidence, now);
  if (future.length === 0) return null;
  const key = future.map(({ what, atMs }) => `${what} ${atMs}`).join(',');
  return { key, sinceMs: last?.key === key ? last.sinceMs : now.monotonicMs };
}

/** Whether times in the future are old enough to be ignored. */
export const isSettled = (tracked: FutureTracking | null, now: Clock): boolean =>
  tracked !== null && now.monotonicMs - tracked.sinceMs >= FUTURE_SETTLES_AFTER_MS;

/**
 * The idle time by recorded activity alone, in ms. A process that cannot be tied to its conversation has none (0): only
 * the time that the service itself observed can count. If Clay has deleted the conversation and no record is left, it is
 * the age of the process. `ignoreFuture`: see {@link isSettled}.
 */
export function recordedIdleMs(evidence: Evidence, now: Clock, ignoreFuture = false): number {
  return evidence.sessionId === null ? 0 : longestIdleMs(evidence, now, ignoreFuture);
}

/** The longest idle time that recorded activity allows, in ms. */
function longestIdleMs(evidence: Evidence, now: Clock, ignoreFuture: boolean): number {
  const newestMs = newestActivityMs(evidence);
  const isNothingRecorded = newestMs === Number.NEGATIVE_INFINITY;
  if (isNothingRecorded && evidence.journal.state !== 'missing' && evidence.sessionId !== null) return 0;
  const lastMs = ignoreFuture ? newestActivityMs(evidence, latestPossibleMs(now)) : newestMs;
  const idleMs = lastMs === Number.NEGATIVE_INFINITY ? evidence.ageMs : now.wallMs - lastMs;
  return Math.max(0, wasClockSetForward(evidence, now) ? Math.min(idleMs, evidence.ageMs) : idleMs);
}

/** Whether the wall clock is ahead of the process's own start and age: then older times seem longer ago than they are. */
const wasClockSetForward = ({ startedAtMs, ageMs }: Evidence, now: Clock): boolean =>
  now.wallMs - ageMs > startedAtMs + CLOCK_TOLERANCE_MS;

/** The idle time of a process as the previous sweep found it. */
export type IdleTracking = {
  readonly atMs: number;
  readonly idleMs: number;
  /** A rule held then; what it saw may have gone on until just before this sweep. */
  readonly wasProtected: boolean;
};

/**
 * The idle time now, in ms. Between two sweeps it grows by at most the time that passed on the monotonic clock, so that
 * neither a clock that is set nor a night of suspension makes a process idle; recorded activity can only shorten it.
 */
export function idleTime(last: IdleTracking | null, evidence: Evidence, now: Clock, ignoreFuture = false): number {
  if (last === null) return recordedIdleMs(evidence, now, ignoreFuture);
  const observedMs = last.wasProtected ? 0 : last.idleMs + Math.max(0, now.monotonicMs - last.atMs);
  return Math.min(observedMs, longestIdleMs(evidence, now, ignoreFuture));
}
