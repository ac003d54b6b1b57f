import * as v from 'valibot';
import { DURATION_FORM, parseDuration } from './duration.ts';

/** The longest time that Node's timers take (2^31 ms), which is as good as never for any of these. */
const MAX_MS = 24 * 24 * 3600 * 1000;

function duration(minMs: number, allowed: string, words: Readonly<Record<string, number>> = {}) {
  return v.pipe(
    v.string(allowed),
    v.rawTransform<string, number>(({ dataset, addIssue, NEVER }) => {
      const value = words[dataset.value] ?? parseDuration(dataset.value);
      if (value !== null && value >= minMs && (value <= MAX_MS || value === Number.POSITIVE_INFINITY)) return value;
      addIssue({ message: allowed });
      return NEVER;
    }),
  );
}

const NEVER = { never: Number.POSITIVE_INFINITY };

/** Environment and command line know only text: these make of it what TOML would have given. */
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
      .map((each) => each.trim())
      .filter((each) => each !== ''),
};

/** One setting: its key, default as it would stand in the file, what is allowed, and what it means. */
type Setting<T> = {
  readonly default: unknown;
  readonly schema: v.GenericSchema<unknown, T>;
  /** What is allowed, in words that follow "must be". */
  readonly allowed: string;
  readonly fromText: (text: string) => unknown;
  readonly meaning: string;
};

function setting<T>(
  defaultValue: unknown,
  allowed: string,
  schema: (allowed: string) => v.GenericSchema<unknown, T>,
  kind: keyof typeof fromText,
  meaning: string,
): Setting<T> {
  return { default: defaultValue, schema: schema(allowed), allowed, fromText: fromText[kind], meaning };
}

const positiveDuration = `${DURATION_FORM}, at least 100ms`;
const orNever = `${DURATION_FORM}, or "never"`;
const wholeNumber = (min: number) => (allowed: string) =>
  v.pipe(v.number(allowed), v.integer(allowed), v.minValue(min, allowed), v.maxValue(1_000_000, allowed));
const percent = (allowed: string) =>
  v.pipe(v.number(allowed), v.finite(allowed), v.minValue(0, allowed), v.maxValue(100, allowed));
const listOfText = (allowed: string) => v.array(v.pipe(v.string(allowed), v.minLength(1, allowed)), allowed);
const unsettable = <T>(schema: v.GenericSchema<unknown, T>): v.GenericSchema<unknown, T | null> => v.nullable(schema);

/** The one table of settings; file, environment, options, checks and documentation are all made from it. */
export const SETTINGS = {
  poll_interval: setting(
    '30s',
    positiveDuration,
    (allowed) => duration(100, allowed),
    'asIs',
    'Time between two sweeps.',
  ),
  grace_period: setting(
    '5m',
    DURATION_FORM,
    (allowed) => duration(0, allowed),
    'asIs',
    'How long a superseded, deleted or abandoned process has to be idle without a break.',
  ),
  parked_after: setting(
    '30m',
    orNever,
    (allowed) => duration(0, allowed, NEVER),
    'asIs',
    'The same for a parked one, whose conversation is still open in Clay.',
  ),
  max_parked: setting(
    null,
    'a whole number, 0 or more',
    (allowed) => unsettable(wholeNumber(0)(allowed)),
    'number',
    'Of the parked processes of a Clay beyond this many, those idle longest wait only grace_period. Unset: no such limit.',
  ),
  kill_after: setting(
    '30s',
    DURATION_FORM,
    (allowed) => duration(0, allowed),
    'asIs',
    'Time from SIGTERM to SIGKILL; longer than your longest SessionEnd hook.',
  ),
  min_age: setting(
    '1m',
    DURATION_FORM,
    (allowed) => duration(0, allowed),
    'asIs',
    'Younger processes are never touched.',
  ),
  cpu_idle_below: setting(
    1.0,
    'a number of percent from 0 to 100',
    percent,
    'number',
    'Percent of one core below which a process counts as idle.',
  ),
  stale_connection_after: setting(
    '1h',
    orNever,
    (allowed) => duration(0, allowed, NEVER),
    'asIs',
    "A TCP connection that was the very same for this long, with nothing else going on, is an MCP server's event stream and no longer counts.",
  ),
  max_kills_per_sweep: setting(
    100,
    'a whole number, 1 or more',
    wholeNumber(1),
    'number',
    'At most so many processes are ended in one sweep.',
  ),
  clay_home: setting(
    [],
    'a list of directories',
    listOfText,
    'list',
    'Clay homes to look at, and no others. Empty: they are found.',
  ),
  dry_run: setting(
    false,
    'true or false',
    (allowed) => v.boolean(allowed),
    'boolean',
    'Only log what would be reaped.',
  ),
  'protect.projects': setting(
    [],
    'a list of project slugs or paths',
    listOfText,
    'list',
    'Projects whose processes are never touched.',
  ),
  'protect.sessions': setting(
    [],
    'a list of session ids',
    listOfText,
    'list',
    'Conversations whose processes are never touched.',
  ),
  'pressure.some_avg10': setting(
    null,
    'a number of percent from 0 to 100',
    (allowed) => unsettable(percent(allowed)),
    'number',
    'When tasks were stalled for memory for so many percent of the last 10 s (/proc/pressure/memory), the shorter waits below hold. 20 if only another key of this table is given; off if none is.',
  ),
  'pressure.grace_period': setting(
    '30s',
    DURATION_FORM,
    (allowed) => duration(0, allowed),
    'asIs',
    'grace_period under memory pressure.',
  ),
  'pressure.parked_after': setting(
    '2m',
    orNever,
    (allowed) => duration(0, allowed, NEVER),
    'asIs',
    'parked_after under memory pressure.',
  ),
  'metrics.textfile': setting(
    '',
    'a path',
    (allowed) => v.string(allowed),
    'asIs',
    "File for node_exporter's textfile collector; a relative path lies in the service's runtime directory. Empty: none.",
  ),
  'log.level': setting(
    'info',
    'trace, debug, info, warn, error, fatal or silent',
    (allowed) => v.picklist(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], allowed),
    'asIs',
    'What to log.',
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
