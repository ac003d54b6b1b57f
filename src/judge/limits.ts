/** The settings that a judgement depends on; times in ms. */
export type Limits = {
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

/** The moment of a look: on the wall clock, and on one that only runs forward and is not set by anybody; ms. */
export type Now = { readonly wallMs: number; readonly monotonicMs: number };
