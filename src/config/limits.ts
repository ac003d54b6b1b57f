import type { Limits } from '../judge/limits.ts';
import type { Config } from './settings.ts';

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
