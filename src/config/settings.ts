import * as v from 'valibot';
import { DURATION_HELP, parseDuration } from './duration.ts';
import { LOG_LEVELS } from './log-levels.ts';

/** Just below the longest delay that Node's timers accept, 2^31 ms. */
const MAX_MS = 24 * 24 * 3600 * 1000;

function duration(minMs: number, expects: string, words: Readonly<Record<string, number>> = {}) {
  return v.pipe(
    v.string(expects),
    v.rawTransform<string, number>(({ dataset, addIssue, NEVER }) => {
      const value = words[dataset.value] ?? parseDuration(dataset.value);
      if (value !== null && value >= minMs && (value <= MAX_MS || value === Number.POSITIVE_INFINITY)) return value;
      addIssue({ message: expects });
      return NEVER;
    }),
  );
}

const NEVER = { never: Number.POSITIVE_INFINITY };

/** Converts the text of a variable or an option to the value that TOML would have; text that does not fit is left to the check. */
const fromText = {
  asIs: (text: string): unknown => text,
  number: (text: string): unknown => (text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text),
  boolean: (text: string): unknown =>
    new Map([
      ['true', true],
      ['1', true],
      ['false', false],
      ['0', false],
    ]).get(text) ?? text,
  list: (text: string): unknown =>
    text
      .split(',')
      .map((entry) => entry.trim())
      .filter((entry) => entry !== ''),
};

/** One setting; its default is written as in the file. */
type Setting<T> = {
  readonly default: unknown;
  readonly schema: v.GenericSchema<unknown, T>;
  /** What is allowed, to follow "must be". */
  readonly expects: string;
  readonly fromText: (text: string) => unknown;
  readonly meaning: string;
};

function setting<T>(
  defaultValue: unknown,
  expects: string,
  schema: (expects: string) => v.GenericSchema<unknown, T>,
  kind: keyof typeof fromText,
  meaning: string,
): Setting<T> {
  return { default: defaultValue, schema: schema(expects), expects, fromText: fromText[kind], meaning };
}

const positiveDuration = `${DURATION_HELP}, at least 100ms`;
const durationOrNever = `${DURATION_HELP}, or "never"`;
const wholeNumber = (min: number) => (expects: string) =>
  v.pipe(v.number(expects), v.integer(expects), v.minValue(min, expects), v.maxValue(1_000_000, expects));
const percent = (expects: string) =>
  v.pipe(v.number(expects), v.finite(expects), v.minValue(0, expects), v.maxValue(100, expects));
const listOfText = (expects: string) => v.array(v.pipe(v.string(expects), v.minLength(1, expects)), expects);
// "~" and relative paths would be resolved by the service, whose home and working directory are others than the administrator's.
const listOfDirectories = (expects: string) => v.array(v.pipe(v.string(expects), v.startsWith('/', expects)), expects);
const listOfUuids = (expects: string) => v.array(v.pipe(v.string(expects), v.uuid(expects)), expects);
const nullable = <T>(schema: v.GenericSchema<unknown, T>): v.GenericSchema<unknown, T | null> => v.nullable(schema);

/** The one table of settings: file, environment, options, checks and documentation all follow from it. */
export const SETTINGS = {
  poll_interval: setting(
    '30s',
    positiveDuration,
    (expects) => duration(100, expects),
    'asIs',
    'Time between two sweeps.',
  ),
  grace_period: setting(
    '5m',
    DURATION_HELP,
    (expects) => duration(0, expects),
    'asIs',
    'How long a superseded, deleted or abandoned process must be idle without interruption before it is ended.',
  ),
  parked_after: setting(
    '30m',
    durationOrNever,
    (expects) => duration(0, expects, NEVER),
    'asIs',
    'The same for a parked process, whose conversation is still open in Clay.',
  ),
  max_parked: setting(
    null,
    'a whole number, 0 or more',
    (expects) => nullable(wholeNumber(0)(expects)),
    'number',
    'Maximum number of parked processes per Clay that wait for parked_after; the others, those idle longest, wait only for grace_period. Not set: no limit.',
  ),
  kill_after: setting(
    '30s',
    DURATION_HELP,
    (expects) => duration(0, expects),
    'asIs',
    'Time from SIGTERM to SIGKILL. Set it longer than your longest SessionEnd hook.',
  ),
  min_age: setting(
    '1m',
    DURATION_HELP,
    (expects) => duration(0, expects),
    'asIs',
    'Processes younger than this are never ended.',
  ),
  cpu_idle_below: setting(
    5.0,
    'a number of percent from 0 to 100',
    percent,
    'number',
    'Percent of one core below which a process counts as idle. Each of its children, with everything below it, may use twice as much.',
  ),
  stale_connection_after: setting(
    '1h',
    durationOrNever,
    (expects) => duration(0, expects, NEVER),
    'asIs',
    'A TCP connection unchanged for this long while nothing else is active is treated as an MCP event stream and ignored. So are connections made anew to the same address, if the files of the conversation are unchanged for as long.',
  ),
  max_kills_per_sweep: setting(
    100,
    'a whole number, 1 or more',
    wholeNumber(1),
    'number',
    'Maximum number of processes to end per sweep.',
  ),
  clay_home: setting(
    [],
    'a list of absolute directories',
    listOfDirectories,
    'list',
    'Clay homes to look at, and no others. Empty: clay-reaper finds them.',
  ),
  dry_run: setting(
    false,
    'true or false',
    (expects) => v.boolean(expects),
    'boolean',
    'Only report what would be ended.',
  ),
  'protect.projects': setting(
    [],
    'a list of project slugs or paths',
    listOfText,
    'list',
    'Projects whose processes are never ended.',
  ),
  'protect.sessions': setting(
    [],
    'a list of session ids (UUIDs)',
    listOfUuids,
    'list',
    'Conversations whose processes are never ended.',
  ),
  'trust.packages': setting(
    [],
    'a list of package names',
    listOfText,
    'list',
    "Packages whose daemon counts as Clay's, beside clay-server: forks of Clay that are installed under another name.",
  ),
  'pressure.some_avg10': setting(
    null,
    'a number of percent from 0 to 100',
    (expects) => nullable(percent(expects)),
    'number',
    'Memory pressure from which the shorter waits below apply: the percentage of the last 10 s in which tasks stalled for memory (/proc/pressure/memory). 20 if only another key of this table is set; off if none is.',
  ),
  'pressure.grace_period': setting(
    '30s',
    DURATION_HELP,
    (expects) => duration(0, expects),
    'asIs',
    'grace_period under memory pressure.',
  ),
  'pressure.parked_after': setting(
    '2m',
    durationOrNever,
    (expects) => duration(0, expects, NEVER),
    'asIs',
    'parked_after under memory pressure.',
  ),
  'metrics.textfile': setting(
    '',
    'a path',
    (expects) => v.string(expects),
    'asIs',
    "File for node_exporter's textfile collector; a relative path is below the service's runtime directory. Empty: none.",
  ),
  'hooks.on_reaped': setting(
    '',
    'an absolute path, or "" for none',
    (expects) =>
      v.pipe(
        v.string(expects),
        v.check((path) => path === '' || path.startsWith('/'), expects),
      ),
    'asIs',
    'Program to run after a process was ended, without arguments; variables REAPED_* describe the process. Empty: none.',
  ),
  'log.level': setting(
    'info',
    'trace, debug, info, warn, error, fatal or silent',
    (expects) => v.picklist(LOG_LEVELS, expects),
    'asIs',
    'The least severe messages that are logged.',
  ),
  'log.format': setting(
    'auto',
    'text, json or auto',
    (expects) => v.picklist(['text', 'json', 'auto'], expects),
    'asIs',
    'Sentences (text) or one JSON object per line with all fields (json). auto: text on a terminal and under systemd, else json.',
  ),
} as const;

/** A setting's key, dotted where it stands in a table of the file. */
export type SettingKey = keyof typeof SETTINGS;

/** All values, durations in ms. */
export type Config = { readonly [Key in SettingKey]: v.InferOutput<(typeof SETTINGS)[Key]['schema']> };

/** All keys, in the order in which they are documented. */
export const SETTING_KEYS = Object.keys(SETTINGS) as SettingKey[];

/** The environment variable of a setting: CLAY_REAPER_GRACE_PERIOD, CLAY_REAPER_PROTECT_PROJECTS. */
export const environmentName = (key: SettingKey): string => `CLAY_REAPER_${key.replace('.', '_').toUpperCase()}`;
