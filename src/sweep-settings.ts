import { limitsOf, pressureLimitsOf } from './config/limits.ts';
import type { LoadedConfig } from './config/load.ts';
import { homesOfThisMachine } from './observe/homes.ts';
import type { Host } from './observe/host.ts';
import type { SweepSettings } from './sweep.ts';

/** What the configuration says, as the sweep wants it; `now`: both waits are zero. */
export function settingsOf(host: Host, loaded: LoadedConfig, now = false): SweepSettings {
  const { config } = loaded;
  return {
    host,
    homes: homesOfThisMachine(host.procRoot, config.clay_home),
    limits: limitsOf(config, now),
    pressure: pressureLimitsOf(loaded),
    killAfterMs: config.kill_after,
    maxKillsPerSweep: config.max_kills_per_sweep,
  };
}
