/** The settings that a judgement depends on; durations in ms. */
export type Policy = {
  readonly gracePeriodMs: number;
  /** Infinity: never. */
  readonly parkedAfterMs: number;
  readonly maxParked: number | null;
  readonly minAgeMs: number;
  /** Percent of one core. */
  readonly cpuIdleBelow: number;
  /** Infinity: never. */
  readonly staleConnectionAfterMs: number;
  /** Slugs or paths. */
  readonly protectedProjects: readonly string[];
  readonly protectedSessions: readonly string[];
};

/** The shorter waits, and the memory pressure (percent) from which they apply. */
export type PressurePolicy = Pick<Policy, 'gracePeriodMs' | 'parkedAfterMs'> & { readonly someAvg10: number };

/** The policy under memory pressure: only the waits change, they only get shorter, and never stays never. */
export const applyPressure = (policy: Policy, pressure: PressurePolicy): Policy => ({
  ...policy,
  gracePeriodMs: Math.min(policy.gracePeriodMs, pressure.gracePeriodMs),
  parkedAfterMs:
    policy.parkedAfterMs === Number.POSITIVE_INFINITY
      ? policy.parkedAfterMs
      : Math.min(policy.parkedAfterMs, pressure.parkedAfterMs),
});

/** The time of a sweep in ms, on the wall clock and on the monotonic clock, which nobody can set. */
export type Clock = { readonly wallMs: number; readonly monotonicMs: number };
