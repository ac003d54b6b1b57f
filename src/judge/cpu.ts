import { keyOf } from '../proc/process-id.ts';
import type { CpuPart, Evidence } from './evidence.ts';
import type { Clock } from './policy.ts';

/** What is kept of a part from one sweep to the next. */
type PartSample = {
  readonly part: CpuPart;
  /** CPU time that it may use without counting as busy, ms; below 0 if it used more. */
  readonly allowanceMs: number;
  /** The same if the machine were not loaded. */
  readonly unloadedAllowanceMs: number;
};

/** The CPU use of a process and its descendants up to a sweep, by part. */
export type CpuSample = { readonly atMs: number; readonly parts: ReadonlyMap<string, PartSample> };

/**
 * A part that used more than an idle one does; `percent` and `limit` of one core. `isDoubtful`: an idle one may use that much,
 * but on a machine so loaded it may as well be a computation that gets no more.
 */
export type BusyPart = {
  readonly pid: number;
  readonly percent: number;
  readonly limit: number;
  readonly isDoubtful: boolean;
};

/** What was used since the previous sweep, by all parts together; `percent` of one core. */
export type CpuUse = { readonly percent: number; readonly overMs: number; readonly busy: BusyPart | null };

/**
 * An idle 0.2.92 uses 0.2 s at once about every minute, and an MCP server that polls every 30 s can do so twice between two
 * sweeps. So a part may use later what it did not use, as much as accumulates in this time.
 */
const BURST_WINDOW_MS = 60_000;

/**
 * Idle MCP servers use 1 to 2 % of a core each (public reports), and five times that on a small board; `claude` itself uses
 * 0.8 % at most (measured on 12 releases).
 */
const CHILD_FACTOR = 2;

/** Starts the measurement: nothing is measured yet. */
export const firstCpuSample = (evidence: Evidence, now: Clock): CpuSample => ({
  atMs: now.monotonicMs,
  parts: new Map([...evidence.cpuParts].map(([key, part]) => [key, { part, allowanceMs: 0, unloadedAllowanceMs: 0 }])),
});

/**
 * Measures what each part used since the previous sweep, and whether that is more than an idle one uses. The parts are
 * `claude` itself and each of its children with everything below it. Where many processes want each core, a computation gets
 * but a share of it and looks like a server that polls: 3 % at a load of 11 per core, 7 to 20 % at 4 (measured). So a child
 * may use the less the more the machine is loaded.
 */
export function measureCpu(
  last: CpuSample,
  evidence: Evidence,
  now: Clock,
  cpuIdleBelow: number,
): { use: CpuUse; tracked: CpuSample } {
  const overMs = Math.max(0, now.monotonicMs - last.atMs);
  const self = keyOf(evidence.id);
  const exitedMs = cpuOfExitedParts(last, evidence);
  const parts = new Map<string, PartSample>();
  let totalMs = 0;
  let busy: BusyPart | null = null;
  evidence.cpuParts.forEach((part, key) => {
    const before = last.parts.get(key) ?? newPart(part);
    const isSelf = key === self;
    const usedMs = cpuUsedBy(part, before.part, isSelf ? exitedMs : 0);
    totalMs += usedMs;
    const unloadedLimit = isSelf ? cpuIdleBelow : cpuIdleBelow * CHILD_FACTOR;
    const limit = isSelf ? cpuIdleBelow : unloadedLimit / Math.max(1, evidence.loadPerCore);
    // Bursts of claude are known, and forgotten. A child has to make up for one, so that a one-shot, which observes for some
    // seconds, judges by all that it saw.
    const spend = (allowanceMs: number, percent: number) =>
      spendAllowance(allowanceMs, percent / 100, usedMs, overMs, isSelf);
    const account = spend(before.allowanceMs, limit);
    const unloaded = spend(before.unloadedAllowanceMs, unloadedLimit);
    if (account.isExceeded) {
      busy = busiest(busy, {
        pid: part.pid,
        percent: percentOf(usedMs, overMs),
        limit,
        isDoubtful: !unloaded.isExceeded,
      });
    }
    parts.set(key, { part, allowanceMs: account.allowanceMs, unloadedAllowanceMs: unloaded.allowanceMs });
  });
  return { use: { percent: percentOf(totalMs, overMs), overMs, busy }, tracked: { atMs: now.monotonicMs, parts } };
}

/** Takes what was used from what may be used; `forgets`: what was used beyond that need not be made up for. */
function spendAllowance(
  allowanceMs: number,
  share: number,
  usedMs: number,
  overMs: number,
  forgets: boolean,
): { isExceeded: boolean; allowanceMs: number } {
  const allowedMs = Math.min(allowanceMs + share * overMs, share * Math.max(BURST_WINDOW_MS, overMs));
  // Tolerate floating-point error.
  const isExceeded = usedMs > allowedMs + 1e-6;
  const leftMs = isExceeded && forgets ? 0 : Math.max(allowedMs - usedMs, -share * BURST_WINDOW_MS);
  return { isExceeded, allowanceMs: leftMs };
}

const percentOf = (usedMs: number, overMs: number): number => (overMs > 0 ? (usedMs / overMs) * 100 : 0);

/** A child that began since the previous sweep: everything that it ever used counts. */
const newPart = (part: CpuPart): PartSample => ({
  part: { ...part, cpuMs: 0, ownMsByProcess: new Map() },
  allowanceMs: 0,
  unloadedAllowanceMs: 0,
});

/** The part that is further above its limit; one without doubt comes first. */
function busiest(a: BusyPart | null, b: BusyPart): BusyPart {
  if (a === null) return b;
  if (a.isDoubtful !== b.isDoubtful) return a.isDoubtful ? b : a;
  return a.percent - a.limit >= b.percent - b.limit ? a : b;
}

/** What children that have exited had used up to the previous sweep: it counts as used by `claude` once it waited for them. */
function cpuOfExitedParts(last: CpuSample, evidence: Evidence): number {
  let exitedMs = 0;
  last.parts.forEach(({ part }, key) => {
    if (!evidence.cpuParts.has(key)) exitedMs += part.cpuMs;
  });
  return exitedMs;
}

/**
 * Neither total sees everything: the total of a part misses children that died without being waited for, the sum over its
 * living processes misses the dead. Use the larger.
 */
function cpuUsedBy(part: CpuPart, before: CpuPart, exitedMs: number): number {
  let usedByLiving = 0;
  part.ownMsByProcess.forEach((cpuMs, key) => {
    usedByLiving += Math.max(0, cpuMs - (before.ownMsByProcess.get(key) ?? 0));
  });
  return Math.max(part.cpuMs - before.cpuMs - exitedMs, usedByLiving);
}
