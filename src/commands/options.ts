import { homedir } from 'node:os';
import { type Command, Option } from 'commander';
import { type ConfigInput, type LoadedConfig, loadConfig, UsageError } from '../config/load.ts';
import type { SettingKey } from '../config/settings.ts';
import { type Host, readHost } from '../observe/host.ts';

/** The options that all commands have, by the setting that they set. */
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
  { key: 'grace_period', flag: '--grace <time>', meaning: 'how long an orphan has to be idle (5m)' },
  {
    key: 'parked_after',
    flag: '--parked-after <time>',
    meaning: 'the same if its conversation is still open in Clay (30m), or never',
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

/** Options as commander hands them over. */
export type CommonOptions = { readonly config?: string; readonly [name: string]: unknown };

/** The heading above the common options in the help of a command. */
export const COMMON_OPTIONS = 'Common options:';

/** Gives a command the options that all have. */
export function withCommonOptions(command: Command): Command {
  command.addOption(new Option('--config <file>', 'the configuration file').helpGroup(COMMON_OPTIONS));
  for (const { flag, meaning, repeatable } of COMMON) {
    const option = new Option(flag, meaning).helpGroup(COMMON_OPTIONS);
    command.addOption(repeatable ? option.argParser((value: string, all: string[] = []) => [...all, value]) : option);
  }
  return command;
}

/** Reads the configuration as the options say; `more`: settings that only this command has an option for. */
export function loadFor(options: CommonOptions, more: ConfigInput['options'] = {}): LoadedConfig {
  const given = COMMON.flatMap(({ key, flag }) => {
    const name = flag.split(' ')[0] ?? flag;
    const text = options[camelCase(name)];
    return text === undefined ? [] : [[key, { text: text as string | string[], name }] as const];
  });
  return loadConfig({
    file: options.config ?? null,
    environment: process.env,
    options: { ...Object.fromEntries(given), ...more },
    asRoot: process.geteuid?.() === 0,
    home: homedir(),
  });
}

const camelCase = (flag: string): string => flag.slice(2).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());

/** This machine, or a {@link UsageError} if it is none that this program can work on. */
export function thisHost(): Host {
  const host = readHost();
  if (!host.ok) throw new UsageError(`this machine's /proc cannot be used: ${host.failure.detail}`);
  return host.value;
}
