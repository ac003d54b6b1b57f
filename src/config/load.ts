import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import leven from 'leven';
import { parse } from 'smol-toml';
import * as v from 'valibot';
import { type Config, environmentName, SETTING_KEYS, SETTINGS, type SettingKey } from './settings.ts';

/** An error in the configuration or on the command line: one line, exit status 2. */
export class UsageError extends Error {}

/** Where a value came from: its option, variable or file, or `default`. */
export type Sources = { readonly [Key in SettingKey]: string };

/** Each value as written in the file: a duration is still "5m". */
export type RawValues = { readonly [Key in SettingKey]: unknown };

/** The configuration in force, each value with its source; `file` is null if there is no configuration file. */
export type LoadedConfig = {
  readonly config: Config;
  readonly given: RawValues;
  readonly sources: Sources;
  readonly file: string | null;
};

/** Why nothing is ended, as `dry_run = true in FILE` or the option or variable that says so; null: processes are ended. */
export function dryRunSource({ config, sources }: Pick<LoadedConfig, 'config' | 'sources'>): string | null {
  if (!config.dry_run) return null;
  const source = sources.dry_run;
  return source.startsWith('/') || source.startsWith('.') ? `dry_run = true in ${source}` : source;
}

/** A value before it is checked. */
type Given = { readonly value: unknown; readonly source: string };

/** What overrides the defaults; later ones win: file, environment, options. */
export type ConfigInput = {
  /** From --config; null: the default path, where the file may be missing. */
  readonly file: string | null;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Options as text, by the key that they set; `name` is the option as typed. */
  readonly options: Partial<Record<SettingKey, { readonly text: string | readonly string[]; readonly name: string }>>;
  readonly asRoot: boolean;
  readonly home: string;
};

/** The default path of the configuration file. */
export function defaultConfigPath(input: Pick<ConfigInput, 'environment' | 'asRoot' | 'home'>): string {
  // Set by systemd: ConfigurationDirectory= in systemd.exec(5).
  const folder = input.environment.CONFIGURATION_DIRECTORY;
  if (folder) return `${folder.split(':')[0]}/config.toml`;
  if (input.asRoot) return '/etc/clay-reaper/config.toml';
  return `${input.environment.XDG_CONFIG_HOME || `${input.home}/.config`}/clay-reaper/config.toml`;
}

/** Loads the configuration; throws a {@link UsageError} that names source, key, value and what is allowed. */
export function loadConfig(input: ConfigInput): LoadedConfig {
  const path = input.file ?? defaultConfigPath(input);
  const file = readConfigFile(path, input.file === null);
  const given = new Map<SettingKey, Given>();
  for (const key of SETTING_KEYS) given.set(key, { value: SETTINGS[key].default, source: 'default' });
  for (const [key, value] of file ?? []) given.set(key, { value, source: path });
  for (const [key, value] of fromEnvironment(input.environment)) given.set(key, value);
  for (const [key, option] of Object.entries(input.options) as [
    SettingKey,
    { text: string | string[]; name: string },
  ][]) {
    const value = typeof option.text === 'string' ? SETTINGS[key].fromText(option.text) : option.text;
    given.set(key, { value, source: option.name });
  }
  const checked = SETTING_KEYS.map(
    (key) => [key, check(key, given.get(key) ?? { value: null, source: 'default' })] as const,
  );
  return {
    config: Object.fromEntries(checked) as Config,
    given: Object.fromEntries(SETTING_KEYS.map((key) => [key, given.get(key)?.value ?? null])) as RawValues,
    sources: Object.fromEntries(SETTING_KEYS.map((key) => [key, given.get(key)?.source ?? 'default'])) as Sources,
    file: file === null ? null : path,
  };
}

function check(key: SettingKey, { value, source }: Given): unknown {
  const { schema, expects } = SETTINGS[key];
  const parsed = v.safeParse(schema, value);
  if (parsed.success) return parsed.output;
  const name = source.startsWith('--') || source.startsWith('CLAY_REAPER_') ? source : `${source}: ${key}`;
  // TOML has NaN and infinity, JSON does not.
  const given = typeof value === 'number' ? String(value) : JSON.stringify(value);
  throw new UsageError(`${name} must be ${expects}, not ${given}`);
}

/** The settings in a file, by key; null if there is no file and it is optional. */
function readConfigFile(path: string, optional: boolean): Map<SettingKey, unknown> | null {
  let text: string;
  try {
    text = readRegularFile(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (optional && (code === 'ENOENT' || code === 'ENOTDIR')) return null;
    throw new UsageError(`${path}: the configuration cannot be read (${code})`);
  }
  return parseConfigFile(text, path);
}

/** A configuration with all comments has some kB. */
const MAX_BYTES = 256 * 1024;

/**
 * Reads a regular file that the administrator named. Links are followed, but a reload must neither block on a FIFO nor read
 * /dev/zero. Throws as node:fs does, or with a code in the same form.
 */
function readRegularFile(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stat = fstatSync(fd);
    const code = stat.isDirectory()
      ? 'EISDIR'
      : !stat.isFile()
        ? 'not a regular file'
        : stat.size > MAX_BYTES
          ? 'EFBIG'
          : null;
    if (code !== null) throw Object.assign(new Error(code), { code });
    const buffer = Buffer.alloc(MAX_BYTES);
    let length = 0;
    for (let got = -1; got !== 0 && length < buffer.length; length += got) {
      got = readSync(fd, buffer, length, buffer.length - length, length);
    }
    return buffer.toString('utf8', 0, length);
  } finally {
    closeSync(fd);
  }
}

/** Parses a configuration file into settings by key; the values are not checked yet. */
export function parseConfigFile(text: string, path: string): Map<SettingKey, unknown> {
  let root: Record<string, unknown>;
  try {
    root = parse(text);
  } catch (error) {
    const [reason] = String((error as Error).message).split('\n');
    const { line } = error as { line?: number };
    throw new UsageError(`${path}${line ? `:${line}` : ''}: ${reason}`);
  }
  const settings = new Map<SettingKey, unknown>();
  for (const [name, value] of flatten(root)) {
    const key = SETTING_KEYS.find((known) => known === name);
    if (key === undefined)
      throw new UsageError(
        `${path}: unknown key ${name}${didYouMean(name, SETTING_KEYS)}; the keys are ${SETTING_KEYS.join(', ')}`,
      );
    settings.set(key, value);
  }
  return settings;
}

/** Share of the characters that may differ for a name to be taken for a typing error, as in git's and commander's hints. */
const MAX_TYPO_SHARE = 0.4;

/** No setting has a name half as long, and comparing takes time with the length. */
const MAX_TYPO_LENGTH = 100;

/** ` (did you mean X?)` for the most similar of `names`, or for one that `name` is the begin or the last part of. */
function didYouMean(name: string, names: readonly string[], prefix = ''): string {
  const short = name.slice(prefix.length);
  if (short.length > MAX_TYPO_LENGTH) return '';
  const distanceOf = (known: string): number =>
    known.startsWith(short) || known.endsWith(`.${short}`) ? 0 : leven(short, known);
  const [best] = names
    .map((full) => ({ full, known: full.slice(prefix.length) }))
    .map(({ full, known }) => ({ full, share: distanceOf(known) / Math.max(short.length, known.length) }))
    .filter(({ share }) => share <= MAX_TYPO_SHARE)
    .sort((a, b) => a.share - b.share);
  return best === undefined || short === '' ? '' : ` (did you mean ${best.full}?)`;
}

/** The entries of a file; those of a known table are named table.key, an unknown table is an entry itself. */
function flatten(root: Record<string, unknown>): [string, unknown][] {
  return Object.entries(root).flatMap(([name, value]): [string, unknown][] =>
    isTable(value) && SETTING_KEYS.some((key) => key.startsWith(`${name}.`))
      ? Object.entries(value).map(([key, entry]) => [`${name}.${key}`, entry])
      : [[name, value]],
  );
}

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

function fromEnvironment(environment: ConfigInput['environment']): [SettingKey, Given][] {
  return Object.entries(environment).flatMap(([name, text]): [SettingKey, Given][] => {
    if (!name.startsWith('CLAY_REAPER_') || text === undefined) return [];
    const key = SETTING_KEYS.find((candidate) => environmentName(candidate) === name);
    if (key === undefined)
      throw new UsageError(
        `${name} is not a setting${didYouMean(name, SETTING_KEYS.map(environmentName), 'CLAY_REAPER_')}; the settings are ${SETTING_KEYS.map(environmentName).join(', ')}`,
      );
    return [[key, { value: SETTINGS[key].fromText(text), source: name }]];
  });
}
