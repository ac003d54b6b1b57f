import { homedir } from 'node:os';
import { stringify } from 'smol-toml';
import { pressureLimitsOf } from '../config/limits.ts';
import { type LoadedConfig, loadConfig, usualFile } from '../config/load.ts';
import { SETTING_KEYS, type SettingKey } from '../config/settings.ts';
import { columns } from '../output/columns.ts';
import { EXIT } from '../output/exit-status.ts';
import { printJson } from '../output/report.ts';
import { safeText } from '../output/safe-text.ts';
import { type CommonOptions, loadFor } from './options.ts';

type ConfigOptions = CommonOptions & { readonly check?: string; readonly json?: boolean };

/** `config`: the configuration in force, each value with its source; `--check FILE`: what that file alone says. */
export function config(options: ConfigOptions): number {
  // Alone: a variable or an option that is set just now would hide what is wrong in the file.
  const loaded = options.check === undefined ? loadFor(options) : loadAlone(options.check);
  if (options.json) printJson(configReport(loaded));
  else process.stdout.write(`${headline(options, loaded)}\n\n${settingsTable(loaded)}\n`);
  return EXIT.done;
}

const loadAlone = (file: string): LoadedConfig => loadConfig({ ...thisUser(), file, environment: {}, options: {} });

const thisUser = () => ({ asRoot: process.geteuid?.() === 0, home: homedir() });

/** `config --json`, schema 1. Values are as they would stand in the file, null for one that is not set. */
function configReport({ file, given, sources }: LoadedConfig) {
  return {
    schema: 1,
    file,
    settings: Object.fromEntries(SETTING_KEYS.map((key) => [key, { value: given[key], source: sources[key] }])),
  };
}

function headline({ check }: ConfigOptions, { file }: LoadedConfig): string {
  if (check !== undefined) return safeText(`${check} is good; with it alone, this would be in force:`);
  const usual = usualFile({ ...thisUser(), environment: process.env });
  return safeText(file === null ? `There is no configuration file (${usual}).` : `The configuration file is ${file}.`);
}

function settingsTable(loaded: LoadedConfig): string {
  const rows = SETTING_KEYS.map((key) => [key, valueInWords(loaded.given[key]), safeText(sourceInWords(loaded, key))]);
  return columns(['SETTING', 'VALUE', 'FROM'], rows);
}

/** A value as TOML has it. */
const valueInWords = (value: unknown): string =>
  value === null
    ? 'not set'
    : safeText(
        stringify({ value })
          .trim()
          .replace(/^value = /, ''),
      );

function sourceInWords(loaded: LoadedConfig, key: SettingKey): string {
  const isOff = key.startsWith('pressure.') && pressureLimitsOf(loaded) === null;
  return isOff ? 'default (off: no key of [pressure] is given)' : loaded.sources[key];
}
