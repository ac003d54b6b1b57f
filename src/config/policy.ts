import type { Policy, PressurePolicy } from '../judge/policy.ts';
import type { LoadedConfig } from './load.ts';
import type { Config } from './settings.ts';

/** The default threshold in percent: a person notices these stalls. */
const DEFAULT_SOME_AVG10 = 20;

/** The policy that a configuration sets; `now`: both waits are zero, everything else stays. */
export function policyFrom(config: Config, now = false): Policy {
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

/** The policy under memory pressure; null if the configuration has no key of `[pressure]`. */
export function pressurePolicyFrom({ config, sources }: LoadedConfig): PressurePolicy | null {
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

/** What the configuration says about a sweep. */
export type ConfiguredSweep = {
  readonly policy: Policy;
  readonly pressure: PressurePolicy | null;
  readonly killAfterMs: number;
  readonly maxKillsPerSweep: number;
  readonly dryRun: boolean;
};

/** The part of a sweep's settings that the configuration sets; `now`: both waits are zero. */
export const sweepConfigFrom = (loaded: LoadedConfig, now = false): ConfiguredSweep => ({
  policy: policyFrom(loaded.config, now),
  pressure: pressurePolicyFrom(loaded),
  killAfterMs: loaded.config.kill_after,
  maxKillsPerSweep: loaded.config.max_kills_per_sweep,
  dryRun: loaded.config.dry_run,
});
