import type { Evidence } from './evidence.ts';
import type { Now } from './limits.ts';

/** The CPU use of a process and all below it as far as it was watched. */
export type CpuWatch = {
  readonly atMs: number;
  readonly cpuMs: number;
  readonly byProcess: ReadonlyMap<string, number>;
  /** CPU time that it may use without counting as busy; see {@link watchCpu}. */
  readonly allowanceMs: number;
};

/** What was measured since the last look; `percent` of one core. */
export type CpuUse = { readonly percent: number; readonly overMs: number; readonly busy: boolean };

/**
 * An idle 0.2.92 uses 0.2 s at once about every minute, and an idle 0.3.330 9 ticks in 30 s (measured): looked at every
 * 30 s, both stay below 1 %; looked at every second, each burst would look like work. So what a process did not use of
 * its `cpu_idle_below` it may use later, as much as gathers in this time, which is the default poll interval.
 */
const BURST_WINDOW_MS = 30_000;

/** Starts watching: nothing is measured yet. */
export function beginCpuWatch(evidence: Evidence, now: Now): CpuWatch {
  return { atMs: now.monotonicMs, cpuMs: evidence.cpuMs, byProcess: evidence.cpuMsByProcess, allowanceMs: 0 };
}

/** Measures what was used since the last look, and whether that is more than an idle process uses. */
export function watchCpu(
  last: CpuWatch,
  evidence: Evidence,
  now: Now,
  cpuIdleBelow: number,
): { use: CpuUse; watch: CpuWatch } {
  const overMs = Math.max(0, now.monotonicMs - last.atMs);
  const usedMs = cpuUsedSince(last, evidence);
  const share = cpuIdleBelow / 100;
  const allowedMs = Math.min(last.allowanceMs + share * overMs, share * Math.max(BURST_WINDOW_MS, overMs));
  // Times in ticks are multiples of 10 ms; an allowance that is short by the last bits of a sum is none.
  const busy = usedMs > allowedMs + 1e-6;
  return {
    use: { percent: overMs > 0 ? (usedMs / overMs) * 100 : 0, overMs, busy },
    watch: { ...beginCpuWatch(evidence, now), allowanceMs: busy ? 0 : allowedMs - usedMs },
  };
}

/**
 * The sum over all processes misses what one used that died without being waited for, and the sum over those that still
 * live misses what the dead used: the larger of both misses least.
 */
function cpuUsedSince(last: CpuWatch, evidence: Evidence): number {
  let byTheLiving = 0;
  evidence.cpuMsByProcess.forEach((cpuMs, key) => {
    byTheLiving += Math.max(0, cpuMs - (last.byProcess.get(key) ?? 0));
  });
  return Math.max(evidence.cpuMs - last.cpuMs, byTheLiving);
}
