import { fail, ok, type Result } from '../result.ts';
import { type Mount, newPathGuard, type PathGuard } from './path-guard.ts';

// The one place for distrust: what may be read, kept and spent for one user. Every reader of what a user wrote or can
// make long takes the budget of that user; one without it does not compile.

/** What reading for one user may cost in one sweep. */
export type BudgetLimits = {
  /** CPU time; the wall clock may show {@link WALL_FACTOR} times as much, for reading waits for the disk. */
  readonly ms: number;
  readonly bytes: number;
  /** What is kept: about 100 bytes each. */
  readonly items: number;
};

/**
 * An idle `claude` at rest takes 0.05 ms a sweep and keeps 20 items, the first look at one 1 ms. 100,000 items are 10 MB;
 * a user can open millions of sockets.
 */
export const SERVICE_LIMITS: BudgetLimits = { ms: 1_000, bytes: 256 * 1024 * 1024, items: 100_000 };

/** A person waits for a one-shot command, and nothing was read before. */
export const ONE_SHOT_LIMITS: BudgetLimits = { ms: 3_000, bytes: 1024 * 1024 * 1024, items: 100_000 };

const WALL_FACTOR = 8;

/** CPU time is measured only for a user who has taken this share of the time: getrusage(2) twice a read costs 5 % of a sweep. */
const MEASURED_SHARE = 0.1;

/** A user whose budget is exhausted is tried again after 2, 4, 8 … and then every 64 sweeps: that costs 16 ms a sweep. */
const MAX_MISSES = 6;

/** Transcripts are read ahead with half of the budget, so that a long one alone does not exhaust it. */
const READ_AHEAD_SHARE = 0.5;

/**
 * That half is for once: it holds 500 MB of an ordinary transcript (1 MB takes 0.5 ms to 1 ms). What is longer is read on with so
 * much of it a sweep, 1 ms for the service: a transcript without an end must not make every sweep a long one.
 */
const READ_AHEAD_REFILL = 0.002;

/** What may still be read for one user in this sweep. */
export type UserBudget = {
  readonly uid: number;
  /** Counts bytes that were read. */
  readonly charge: (bytes: number) => void;
  /** Reserves room for what is kept, in items of about 100 bytes; false if it exceeds the budget, and then it must not be kept. */
  readonly reserve: (items: number) => boolean;
  /** Whether nothing more may be read for this user in this sweep. */
  readonly exhausted: () => boolean;
  /** Whether reading on in a long file has to wait for the next sweep. */
  readonly readAheadExhausted: () => boolean;
  /** Runs one step of reading on in a long file. */
  readonly readAhead: <T>(read: () => T) => T;
  /** What is left for reading on, ms. */
  readonly readAheadLeftMs: () => number;
  /** Runs synchronous reading on this user's time. */
  readonly run: <T>(read: () => T) => T;
  /** Fails if touching a path could make the program wait for ever, see {@link PathGuard}, or if the budget is exhausted. */
  readonly checkPath: (path: string) => Result<true>;
  /** The guard for the mounts that this program sees. */
  readonly guard: () => PathGuard;
  /** The guard for another mount namespace, made once for each reading of the mounts. */
  readonly guardOf: (namespace: string, readMounts: () => Result<readonly Mount[]>) => PathGuard;
};

/** The budgets of all users, sweep after sweep. */
export type UserBudgets = {
  /** Renews the budgets, and reads which file systems are mounted. */
  readonly beginSweep: () => void;
  /**
   * Has the table of mounts read again before the next path is touched: needed after waiting for a user, who may have mounted
   * something meanwhile.
   */
  readonly forgetMounts: () => void;
  readonly of: (uid: number) => UserBudget;
  /** Why the processes of this user are left alone in this sweep, as a sentence; null: they are not. */
  readonly whyLeftAlone: (uid: number) => string | null;
  /** All users whose processes are left alone in this sweep. */
  readonly leftAlone: () => number[];
  /** For paths of which it is not known yet whose they are. */
  readonly guard: () => PathGuard;
};

/** What is said of a user whose budget is exhausted. */
export const BUDGET_EXHAUSTED = 'reading for its user takes more time, bytes or memory than one user may use up';

/**
 * Budgets of which nothing is used. `readMounts`: what is mounted now; without that list, no path is safe. Null for a
 * reaper of one user: it may wait for what that user has mounted.
 */
export function newUserBudgets(limits: BudgetLimits, readMounts: (() => Result<readonly Mount[]>) | null): UserBudgets {
  let sweeps = 0;
  let guard: PathGuard | null = null;
  let reading = 0;
  let budgets = new Map<number, UserBudget>();
  const misses = new Map<number, { count: number; retryAt: number }>();
  const readAheadMs = limits.ms * READ_AHEAD_SHARE;
  /** What users have used up of it; nothing is kept of those who have used nothing. */
  const readAheadLeft = new Map<number, number>();

  const readGuard = (): PathGuard => {
    if (guard) return guard;
    guard = readMounts === null ? NO_GUARD : guardFrom(readMounts());
    return guard;
  };
  const forgetMounts = (): void => {
    guard = null;
    reading += 1;
  };
  const isSkipped = (uid: number): boolean => (misses.get(uid)?.retryAt ?? 0) > sweeps;

  return {
    beginSweep: () => {
      for (const [uid, budget] of budgets) {
        const leftMs = budget.readAheadLeftMs() + readAheadMs * READ_AHEAD_REFILL;
        if (leftMs < readAheadMs) readAheadLeft.set(uid, leftMs);
        else readAheadLeft.delete(uid);
        if (isSkipped(uid)) continue;
        const count = Math.min(MAX_MISSES, (misses.get(uid)?.count ?? 0) + 1);
        if (budget.exhausted()) misses.set(uid, { count, retryAt: sweeps + 1 + 2 ** count });
        else misses.delete(uid);
      }
      sweeps += 1;
      forgetMounts();
      budgets = new Map();
    },
    forgetMounts,
    of: (uid) => {
      const known = budgets.get(uid);
      if (known) return known;
      const leftMs = readAheadLeft.get(uid) ?? readAheadMs;
      const budget = newBudget(uid, limits, readGuard, () => reading, isSkipped(uid), leftMs);
      budgets.set(uid, budget);
      return budget;
    },
    whyLeftAlone: (uid) => {
      if (!budgets.get(uid)?.exhausted() && !isSkipped(uid)) return null;
      const { ms, bytes, items } = limits;
      return `reading for uid ${uid} takes more than ${ms} ms, ${bytes / 1024 / 1024} MB or ${items} items in a sweep: its processes are left alone, and it is tried again now and then`;
    },
    leftAlone: () => {
      const uids = [...budgets].filter(([, budget]) => budget.exhausted()).map(([uid]) => uid);
      return [...new Set([...uids, ...[...misses.keys()].filter(isSkipped)])];
    },
    guard: readGuard,
  };
}

const safe = (): Result<true> => ok(true);
const NO_GUARD: PathGuard = { check: safe, checkMounts: safe, checkMountId: safe };

/** Without the list of mounts, no path is safe. */
const guardFrom = (mounts: Result<readonly Mount[]>): PathGuard =>
  mounts.ok
    ? newPathGuard(mounts.value)
    : { check: () => mounts, checkMounts: () => mounts, checkMountId: () => mounts };

/** Monotonic time, ms. Not performance.now(): node:perf_hooks takes 3 % of the start of a command to load (measured). */
const elapsedMs = (): number => process.uptime() * 1000;

/** CPU time since an earlier reading, ms; 0 without one. */
function cpuSince(earlier: NodeJS.CpuUsage | null): number {
  if (earlier === null) return 0;
  const { user, system } = process.cpuUsage(earlier);
  return (user + system) / 1000;
}

function newBudget(
  uid: number,
  limits: BudgetLimits,
  guard: () => PathGuard,
  currentReading: () => number,
  isSkipped: boolean,
  readAheadMs: number,
): UserBudget {
  let readAheadLeftMs = readAheadMs;
  let [bytes, items, cpuMs, wallMs] = [0, 0, 0, 0];
  let isOver = isSkipped;
  const guards = new Map<string, { readonly reading: number; readonly guard: PathGuard }>();
  let running: { readonly atMs: number; cpu: NodeJS.CpuUsage | null } | null = null;

  const hasUsed = (share: number): boolean => {
    if (isOver || bytes > limits.bytes * share) return true;
    const wall = wallMs + (running ? elapsedMs() - running.atMs : 0);
    if (running && wall > limits.ms * MEASURED_SHARE) running.cpu ??= process.cpuUsage();
    if (wall <= limits.ms * share) return false;
    return wall > limits.ms * share * WALL_FACTOR || cpuMs + cpuSince(running?.cpu ?? null) > limits.ms * share;
  };
  const exhausted = (): boolean => {
    isOver = hasUsed(1);
    return isOver;
  };

  return {
    uid,
    charge: (read) => {
      bytes += read;
    },
    reserve: (count) => {
      items += count;
      if (items > limits.items) isOver = true;
      return !isOver;
    },
    exhausted,
    readAheadExhausted: () => readAheadLeftMs <= 0 || hasUsed(READ_AHEAD_SHARE),
    readAheadLeftMs: () => readAheadLeftMs,
    readAhead: (read) => {
      const startedMs = elapsedMs();
      try {
        return read();
      } finally {
        readAheadLeftMs -= elapsedMs() - startedMs;
      }
    },
    run: (read) => {
      if (running) return read();
      running = { atMs: elapsedMs(), cpu: wallMs > limits.ms * MEASURED_SHARE ? process.cpuUsage() : null };
      try {
        return read();
      } finally {
        const tookMs = elapsedMs() - running.atMs;
        // What was not measured counts as if it was all CPU time.
        cpuMs += running.cpu === null ? tookMs : cpuSince(running.cpu);
        wallMs += tookMs;
        running = null;
      }
    },
    checkPath: (path) => (exhausted() ? fail('invalid', BUDGET_EXHAUSTED) : guard().check(path)),
    guard,
    guardOf: (namespace, readMounts) => {
      const known = guards.get(namespace);
      if (known?.reading === currentReading()) return known.guard;
      const made = guardFrom(readMounts());
      guards.set(namespace, { reading: currentReading(), guard: made });
      return made;
    },
  };
}
