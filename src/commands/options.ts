import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { findHomes } from '../clay/homes.ts';
import { type ConfigInput, type LoadedConfig, loadConfig, UsageError } from '../config/load.ts';
import { sweepConfigFrom } from '../config/policy.ts';
import type { SettingKey } from '../config/settings.ts';
import { ownHome } from '../fs/passwd.ts';
import { findProcRoot } from '../observe/clock.ts';
import type { SweepSettings } from '../sweep.ts';

/** The options that all commands share, and the setting that each of them sets. */
const COMMON: readonly {
  readonly key: SettingKey;
  readonly flag: string;
  readonly meaning: string;
  readonly repeatable?: true;
}[] = [
  {
    key: 'clay_home',
    flag: '--clay-home <dir>',
    meaning: 'a Clay home to look at, and no others (repeatable)',
    repeatable: true,
  },
  { key: 'grace_period', flag: '--grace <time>', meaning: 'how long an orphan must be idle before it is ended (5m)' },
  {
    key: 'parked_after',
    flag: '--parked-after <time>',
    meaning: 'the same while its conversation is open in Clay (30m), or never',
  },
  { key: 'poll_interval', flag: '--poll <time>', meaning: 'time between two sweeps (30s)' },
  { key: 'kill_after', flag: '--kill-after <time>', meaning: 'time from SIGTERM to SIGKILL (30s)' },
  { key: 'min_age', flag: '--min-age <time>', meaning: 'younger processes are never touched (1m)' },
  {
    key: 'log.level',
    flag: '--log-level <level>',
    meaning: 'what to log: trace, debug, info, warn, error, fatal or silent (info)',
  },
];

/** Options as commander passes them. */
export type CommonOptions = { readonly config?: string; readonly [name: string]: unknown };

/** The heading above the common options in a command's help. */
export const COMMON_OPTIONS = 'Common options:';

/** Adds the common options to a command. */
export function withCommonOptions(command: Command): Command {
  command.addOption(new Option('--config <file>', 'the configuration file').helpGroup(COMMON_OPTIONS));
  for (const { flag, meaning, repeatable } of COMMON) {
    const option = new Option(flag, meaning).helpGroup(COMMON_OPTIONS);
    command.addOption(
      repeatable ? option.argParser((value: string, all: string[] = []) => [...all, absolute(value)]) : option,
    );
  }
  return command;
}

/** A directory on the command line is relative to the working directory; "~" that no shell has expanded is an error. */
const absolute = (directory: string): string =>
  directory === '' || directory.startsWith('~') ? directory : resolve(directory);

/** Loads the configuration with the options applied; `overrides`: settings that only this command has an option for. */
export function loadFromOptions(options: CommonOptions, overrides: ConfigInput['options'] = {}): LoadedConfig {
  const given = COMMON.flatMap(({ key, flag }) => {
    const name = flag.split(' ')[0] ?? flag;
    const text = options[camelCase(name)];
    return text === undefined ? [] : [[key, { text: text as string | string[], name }] as const];
  });
  return loadConfig({
    file: options.config ?? null,
    environment: process.env,
    options: { ...Object.fromEntries(given), ...overrides },
    asRoot: process.geteuid?.() === 0,
    home: ownHome(),
  });
}

const camelCase = (flag: string): string => flag.slice(2).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());

/** The path of this machine's /proc; throws a {@link UsageError} if it cannot be used. */
export function thisProcRoot(): string {
  const procRoot = findProcRoot();
  if (!procRoot.ok) throw new UsageError(`this machine's /proc cannot be used: ${procRoot.failure.detail}`);
  return procRoot.value;
}

/** The settings of a sweep on this machine; `now`: both waits are zero. */
export const sweepSettings = (procRoot: string, loaded: LoadedConfig, now = false): SweepSettings => ({
  ...sweepConfigFrom(loaded, now),
  procRoot,
  homes: () => findHomes(procRoot, loaded.config.clay_home, loaded.config['trust.packages']),
});
