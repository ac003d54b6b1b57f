import { stringify } from 'smol-toml';
import { assess, newAssessState } from '../assess.ts';
import { defaultConfigPath, type LoadedConfig, loadConfig } from '../config/load.ts';
import { pressurePolicyFrom } from '../config/policy.ts';
import { SETTING_KEYS, type SettingKey } from '../config/settings.ts';
import { ownHome } from '../fs/passwd.ts';
import { findProcRoot } from '../observe/clock.ts';
import { columns } from '../report/columns.ts';
import { EXIT } from '../report/exit-status.ts';
import { terminalStyle } from '../report/format.ts';
import { printJson } from '../report/json.ts';
import { unknownProjectWarnings } from '../report/messages.ts';
import { afterConfig } from '../report/next-steps.ts';
import { sanitize } from '../report/sanitize.ts';
import { wrapped } from '../report/sections.ts';
import { printError } from '../report/stderr.ts';
import { type CommonOptions, loadFromOptions, sweepSettings } from './options.ts';

type ConfigOptions = CommonOptions & { readonly check?: string | true; readonly json?: boolean };

/**
 * `config`: the configuration in force, each value with its source; `--check FILE`: the settings of that file alone; `--check`:
 * one line that says whether the configuration in force is valid.
 */
export async function config(options: ConfigOptions): Promise<number> {
  // A file is checked without variables and options, which could hide an error in it.
  const loaded = typeof options.check === 'string' ? loadAlone(options.check) : loadFromOptions(options);
  if (options.json) printJson(configReport(loaded));
  else if (options.check === true) process.stdout.write(`${validity(loaded)}\n`);
  else process.stdout.write(`${headline(options, loaded)}\n\n${settingsTable(loaded)}\n`);
  if (!options.json && options.check === undefined && process.stdout.isTTY)
    process.stdout.write(
      `\n${wrapped(sanitize(afterConfig(loaded.file ?? defaultPath())), terminalStyle(process.stdout))}\n`,
    );
  if (options.check !== undefined)
    for (const warning of await projectWarnings(loaded)) printError(`warning: ${warning}`);
  return EXIT.ok;
}

/** Asks the Clays that run whether they have the protected projects. */
async function projectWarnings(loaded: LoadedConfig): Promise<string[]> {
  if (loaded.config['protect.projects'].length === 0) return [];
  const procRoot = findProcRoot();
  if (!procRoot.ok) return [];
  return unknownProjectWarnings(await assess(sweepSettings(procRoot.value, loaded), newAssessState(procRoot.value)));
}

const loadAlone = (file: string): LoadedConfig => loadConfig({ ...thisUser(), file, environment: {}, options: {} });

const thisUser = () => ({ asRoot: process.geteuid?.() === 0, home: ownHome() });

/** `config --json`, schema 1. Values are written as in the file; null: not set. */
function configReport({ file, given, sources }: LoadedConfig) {
  return {
    schema: 1,
    file,
    settings: Object.fromEntries(SETTING_KEYS.map((key) => [key, { value: given[key], source: sources[key] }])),
  };
}

const defaultPath = (): string => defaultConfigPath({ ...thisUser(), environment: process.env });

function headline({ check }: ConfigOptions, { file }: LoadedConfig): string {
  if (typeof check === 'string') return sanitize(`${check} is valid. Effective settings:`);
  return sanitize(
    file === null ? `There is no configuration file (${defaultPath()}).` : `The configuration file is ${file}.`,
  );
}

const validity = ({ file }: LoadedConfig): string =>
  sanitize(file === null ? 'The configuration is valid; there is no file.' : `${file} is valid.`);

function settingsTable(loaded: LoadedConfig): string {
  const rows = SETTING_KEYS.map((key) => [key, formatValue(loaded.given[key]), sanitize(formatSource(loaded, key))]);
  return columns(['SETTING', 'VALUE', 'FROM'], rows);
}

/** A value as written in TOML. */
const formatValue = (value: unknown): string =>
  value === null
    ? 'not set'
    : sanitize(
        stringify({ value })
          .trim()
          .replace(/^value = /, ''),
      );

function formatSource(loaded: LoadedConfig, key: SettingKey): string {
  const isOff = key.startsWith('pressure.') && pressurePolicyFrom(loaded) === null;
  return isOff ? 'default (off: no key of [pressure] is set)' : loaded.sources[key];
}
