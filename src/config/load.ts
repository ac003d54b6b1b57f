import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { parse } from 'smol-toml';
import * as v from 'valibot';
import { type Config, environmentName, SETTING_KEYS, SETTINGS, type SettingKey } from './settings.ts';

/** Something wrong with the configuration or the command line: one line, and exit status 2. */
export class UsageError extends Error {}

/** Where a value came from: its option, variable or file, or `default`. */
export type Sources = { readonly [Key in SettingKey]: string };

/** Each value as it was given, or would be in the file: a duration is still "5m". */
export type GivenValues = { readonly [Key in SettingKey]: unknown };

/** The configuration in force, each value with its source; `file`: the one that was read, or null if there is none. */
export type LoadedConfig = {
  readonly config: Config;
  readonly given: GivenValues;
  readonly sources: Sources;
  readonly file: string | null;
};

/** A value before it is checked. */
type Given = { readonly value: unknown; readonly source: string };

/** What the configuration is made of, the last one wins: defaults, file, environment, options. */
export type ConfigInput = {
  /** From --config; null: the usual place, where it may be missing. */
  readonly file: string | null;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Options as text, by the key that they set; `name` is what the person typed. */
  readonly options: Partial<Record<SettingKey, { readonly text: string | readonly string[]; readonly name: string }>>;
  readonly asRoot: boolean;
  readonly home: string;
};

/** The usual place of the configuration file. */
export function usualFile(input: Pick<ConfigInput, 'environment' | 'asRoot' | 'home'>): string {
  // systemd names the folder that it has made for the service.
  const folder = input.environment.CONFIGURATION_DIRECTORY;
  if (folder) return `${folder.split(':')[0]}/config.toml`;
  if (input.asRoot) return '/etc/clay-reaper/config.toml';
  return `${input.environment.XDG_CONFIG_HOME || `${input.home}/.config`}/clay-reaper/config.toml`;
}

/** Puts the configuration together; throws a {@link UsageError} that names place, key, value and what is allowed. */
export function loadConfig(input: ConfigInput): LoadedConfig {
  const path = input.file ?? usualFile(input);
  const file = readConfigFile(path, input.file === null);
  const given = new Map<SettingKey, Given>();
  for (const key of SETTING_KEYS) given.set(key, { value: SETTINGS[key].default, source: 'default' });
  for (const [key, value] of file ?? []) given.set(key, { value, source: path });
  for (const [key, each] of fromEnvironment(input.environment)) given.set(key, each);
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
    given: Object.fromEntries(SETTING_KEYS.map((key) => [key, given.get(key)?.value ?? null])) as GivenValues,
    sources: Object.fromEntries(SETTING_KEYS.map((key) => [key, given.get(key)?.source ?? 'default'])) as Sources,
    file: file === null ? null : path,
  };
}

function check(key: SettingKey, { value, source }: Given): unknown {
  const { schema, allowed } = SETTINGS[key];
  const parsed = v.safeParse(schema, value);
  if (parsed.success) return parsed.output;
  const name = source.startsWith('--') || source.startsWith('CLAY_REAPER_') ? source : `${source}: ${key}`;
  // JSON has no word for NaN and infinity, and TOML does.
  const given = typeof value === 'number' ? String(value) : JSON.stringify(value);
  throw new UsageError(`${name} must be ${allowed}, not ${given}`);
}

/** The settings in a file, by key; null if there is none and none was asked for. */
function readConfigFile(path: string, mayBeMissing: boolean): Map<SettingKey, unknown> | null {
  let text: string;
  try {
    text = readRegularFile(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (mayBeMissing && (code === 'ENOENT' || code === 'ENOTDIR')) return null;
    throw new UsageError(`${path}: the configuration cannot be read (${code})`);
  }
  return parseConfigFile(text, path);
}

/** A configuration with every comment that one can think of has some kB. */
const MAX_BYTES = 256 * 1024;

/**
 * The text of a file that the administrator named, through links too: it is his to say where it is. But a reload must not
 * wait for ever for a FIFO, nor read /dev/zero to its end. Throws as node:fs does, or with a code of that kind.
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

/** The settings in the text of a configuration file, by key; values are not checked yet. */
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
    const key = SETTING_KEYS.find((each) => each === name);
    if (key === undefined) throw new UsageError(`${path}: unknown key ${name}; there are ${SETTING_KEYS.join(', ')}`);
    settings.set(key, value);
  }
  return settings;
}

/** The entries of a file, those in a table with the table's name in front; a table that no setting is in is an entry itself. */
function flatten(root: Record<string, unknown>): [string, unknown][] {
  return Object.entries(root).flatMap(([name, value]): [string, unknown][] =>
    isTable(value) && SETTING_KEYS.some((key) => key.startsWith(`${name}.`))
      ? Object.entries(value).map(([inner, each]) => [`${name}.${inner}`, each])
      : [[name, value]],
  );
}

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

function fromEnvironment(environment: ConfigInput['environment']): [SettingKey, Given][] {
  return Object.entries(environment).flatMap(([name, text]): [SettingKey, Given][] => {
    if (!name.startsWith('CLAY_REAPER_') || text === undefined) return [];
    const key = SETTING_KEYS.find((each) => environmentName(each) === name);
    if (key === undefined)
      throw new UsageError(`${name} is no setting; there are ${SETTING_KEYS.map(environmentName).join(', ')}`);
    return [[key, { value: SETTINGS[key].fromText(text), source: name }]];
  });
}
