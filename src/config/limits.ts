import type { Limits } from '../judge/limits.ts';
import type { LoadedConfig } from './load.ts';
import type { Config } from './settings.ts';

/** The shorter waits, and the memory pressure from which on they hold. */
export type PressureLimits = Pick<Limits, 'gracePeriodMs' | 'parkedAfterMs'> & { readonly someAvg10: number };

/** The threshold where a `[pressure]` table names none: at it, a person notices that the machine stalls. */
const DEFAULT_SOME_AVG10 = 20;

/** The limits that judgements are made by; `now`: both waits are zero, everything else holds. */
export function limitsOf(config: Config, now = false): Limits {
  return {
    gracePeriodMs: now ? 0 : config.grace_period,
    parkedAfterMs: now ? 0 : config.parked_after,
    maxParked: config.max_parked,
    minAgeMs: config.min_age,
    cpuIdleBelow: config.cpu_idle_below,
    staleConnectionAfterMs: config.stale_connection_after,
    protectedProjects: config['protect.projects'],
    protectedSessions: config['protect.sessions'].map((id) => id.toLowerCase()),
  };
}

/** What holds under memory pressure, or null if the configuration says nothing of it. */
export function pressureLimitsOf({ config, sources }: LoadedConfig): PressureLimits | null {
  const given = (['pressure.some_avg10', 'pressure.grace_period', 'pressure.parked_after'] as const).some(
    (key) => sources[key] !== 'default',
  );
  if (!given) return null;
  return {
    someAvg10: config['pressure.some_avg10'] ?? DEFAULT_SOME_AVG10,
    gracePeriodMs: config['pressure.grace_period'],
    parkedAfterMs: config['pressure.parked_after'],
  };
}

/** The limits under memory pressure: the waits become shorter, and nothing else; what is kept for ever still is. */
export const underPressure = (limits: Limits, pressure: PressureLimits): Limits => ({
  ...limits,
  gracePeriodMs: Math.min(limits.gracePeriodMs, pressure.gracePeriodMs),
  parkedAfterMs:
    limits.parkedAfterMs === Number.POSITIVE_INFINITY
      ? limits.parkedAfterMs
      : Math.min(limits.parkedAfterMs, pressure.parkedAfterMs),
});
