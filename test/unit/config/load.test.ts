import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type ConfigInput,
  defaultConfigPath,
  loadConfig,
  parseConfigFile,
  UsageError,
} from '../../../src/config/load.ts';
import { environmentName, SETTING_KEYS, SETTINGS, type SettingKey } from '../../../src/config/settings.ts';
import { HOUR, MINUTE, SECOND } from '../../helpers/evidence.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-config-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const write = (text: string): string => {
  const file = join(dir, 'config.toml');
  writeFileSync(file, text);
  return file;
};
const load = (input: Partial<ConfigInput> = {}) =>
  loadConfig({ file: null, environment: {}, options: {}, asRoot: false, home: dir, ...input });
const loadText = (text: string) => load({ file: write(text) });
const messageOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    return (error as UsageError).message;
  }
  throw new Error('no error');
};

describe('loadConfig without input', () => {
  it('returns the documented defaults', () => {
    const { config, sources, file } = load();
    expect(config).toMatchObject({
      poll_interval: 30 * SECOND,
      grace_period: 5 * MINUTE,
      parked_after: 30 * MINUTE,
      max_parked: null,
      kill_after: 30 * SECOND,
      min_age: MINUTE,
      cpu_idle_below: 5,
      stale_connection_after: HOUR,
      max_kills_per_sweep: 100,
      clay_home: [],
      dry_run: false,
      'protect.projects': [],
      'protect.sessions': [],
      'trust.packages': [],
      'pressure.grace_period': 30 * SECOND,
      'pressure.parked_after': 2 * MINUTE,
      'metrics.textfile': '',
      'log.level': 'info',
    });
    expect(new Set(Object.values(sources))).toEqual(new Set(['default']));
    expect(file).toBeNull();
  });
});

describe('the configuration file', () => {
  it('sets top-level keys and keys of tables', () => {
    const { config, sources, file } = loadText(`
      poll_interval = "10s"
      grace_period = "0"
      parked_after = "never"
      max_parked = 10
      cpu_idle_below = 2.5
      stale_connection_after = "never"
      clay_home = ["/srv/clay", "/home/ada/.clay"]
      dry_run = true
      [protect]
      projects = ["shop", "/srv/shop"]
      sessions = ["CD7ECE16-29e6-474a-94b5-bd0998c39c7c"]
      [pressure]
      some_avg10 = 20.0
      [metrics]
      textfile = "clay-reaper.prom"
      [log]
      level = "debug"
    `);
    expect(config).toMatchObject({
      poll_interval: 10 * SECOND,
      grace_period: 0,
      parked_after: Number.POSITIVE_INFINITY,
      max_parked: 10,
      cpu_idle_below: 2.5,
      stale_connection_after: Number.POSITIVE_INFINITY,
      clay_home: ['/srv/clay', '/home/ada/.clay'],
      dry_run: true,
      'protect.projects': ['shop', '/srv/shop'],
      'pressure.some_avg10': 20,
      'metrics.textfile': 'clay-reaper.prom',
      'log.level': 'debug',
      kill_after: 30 * SECOND,
    });
    expect(sources.max_parked).toBe(file);
    expect(sources.kill_after).toBe('default');
  });
  it('may be empty', () => expect(loadText('').config).toEqual(load().config));
  it('must exist if it was named with --config', () => {
    const path = join(dir, 'none.toml');
    expect(messageOf(() => load({ file: path }))).toBe(`${path}: the configuration cannot be read (ENOENT)`);
  });
  it('must be readable, at the default path too', () => {
    expect(messageOf(() => load({ file: dir }))).toBe(`${dir}: the configuration cannot be read (EISDIR)`);
    mkdirSync(join(dir, '.config/clay-reaper/config.toml'), { recursive: true });
    expect(messageOf(() => load())).toMatch(/config\.toml: the configuration cannot be read \(EISDIR\)$/);
  });
  it('may be missing at the default path', () => {
    expect(load({ home: join(dir, 'nobody') }).file).toBeNull();
    mkdirSync(join(dir, '.config/clay-reaper'), { recursive: true });
    writeFileSync(join(dir, '.config/clay-reaper/config.toml'), 'max_parked = 3');
    expect(load()).toMatchObject({
      config: { max_parked: 3 },
      file: join(dir, '.config/clay-reaper/config.toml'),
    });
  });
  it.each([
    ['a bad value', 'max_parked = ', 1],
    ['a line that is none', 'poll_interval = "30s"\n\nwhat is this\n', 3],
    ['a key twice', 'max_parked = 1\nmax_parked = 2', 2],
    ['a text without end', 'max_parked = 1\nlog = "x', 2],
    ['a number that cannot be kept', 'max_parked = 99999999999999999999', 1],
  ])('that is no TOML is refused with its line: %s', (_, text, line) => {
    const message = messageOf(() => loadText(text));
    expect(message.startsWith(`${join(dir, 'config.toml')}:${line}: `)).toBe(true);
    expect(message).not.toContain('\n');
  });
  it.each([
    ['pol_interval = "3s"', 'pol_interval (did you mean poll_interval?)'],
    ['[protect]\nproject = ["x"]', 'protect.project (did you mean protect.projects?)'],
    ['[log]\nlevels = "info"', 'log.levels (did you mean log.level?)'],
    ['textfile = "x"', 'textfile (did you mean metrics.textfile?)'],
    ['colour = true', 'colour'],
    ['protect = ["x"]', 'protect (did you mean protect.projects?)'],
    ['[[protect]]\nprojects = []', 'protect (did you mean protect.projects?)'],
    ['"constructor" = 1', 'constructor'],
  ])('with an unknown key is refused: %j', (text, key) => {
    const message = messageOf(() => loadText(text));
    expect(message).toMatch(/config\.toml: unknown key /);
    expect(message).toContain(`unknown key ${key}; the keys are poll_interval, grace_period`);
  });
  it('is refused if a value is a table', () => {
    expect(messageOf(() => loadText('[grace_period]\nvalue = "5m"'))).toMatch(/config\.toml: .*grace_period/);
  });
  it.each(['[protection]', '[presure]\n[log]\nlevel = "info"'])('is refused with an unknown table: %j', (text) => {
    expect(messageOf(() => loadText(text))).toContain('unknown key pr');
  });
});

describe('environment variables', () => {
  it('set the setting of the same name in capitals', () => {
    expect(environmentName('grace_period')).toBe('CLAY_REAPER_GRACE_PERIOD');
    expect(environmentName('metrics.textfile')).toBe('CLAY_REAPER_METRICS_TEXTFILE');
    expect(environmentName('protect.projects')).toBe('CLAY_REAPER_PROTECT_PROJECTS');
    expect(new Set(SETTING_KEYS.map(environmentName)).size).toBe(SETTING_KEYS.length);
  });
  it('are converted from text to the type of the setting', () => {
    const { config, sources } = load({
      environment: {
        CLAY_REAPER_GRACE_PERIOD: '10s',
        CLAY_REAPER_PARKED_AFTER: 'never',
        CLAY_REAPER_MAX_PARKED: '7',
        CLAY_REAPER_CPU_IDLE_BELOW: '0.5',
        CLAY_REAPER_DRY_RUN: '1',
        CLAY_REAPER_PROTECT_PROJECTS: 'shop, /srv/a b ,',
        CLAY_REAPER_CLAY_HOME: '',
        CLAY_REAPER_LOG_LEVEL: 'warn',
        CLAY_HOME: '/elsewhere',
        PATH: '/bin',
      },
    });
    expect(config).toMatchObject({
      grace_period: 10 * SECOND,
      parked_after: Number.POSITIVE_INFINITY,
      max_parked: 7,
      cpu_idle_below: 0.5,
      dry_run: true,
      'protect.projects': ['shop', '/srv/a b'],
      clay_home: [],
      'log.level': 'warn',
    });
    expect(sources.grace_period).toBe('CLAY_REAPER_GRACE_PERIOD');
  });
  it.each([
    ['true', true],
    ['1', true],
    ['false', false],
    ['0', false],
  ])('dry_run = %s', (text, expected) => {
    expect(load({ environment: { CLAY_REAPER_DRY_RUN: text } }).config.dry_run).toBe(expected);
  });
  it('are refused if they name no setting', () => {
    const message = messageOf(() => load({ environment: { CLAY_REAPER_GRACE: '5m' } }));
    expect(message).toContain(
      'CLAY_REAPER_GRACE is not a setting (did you mean CLAY_REAPER_GRACE_PERIOD?); the settings are CLAY_REAPER_POLL_INTERVAL,',
    );
  });
});

describe('precedence', () => {
  const environment = { CLAY_REAPER_GRACE_PERIOD: '2m' };
  const options = { grace_period: { text: '3m', name: '--grace' } };
  const grace = (input: Partial<ConfigInput>) => {
    const { config, sources } = load(input);
    return [config.grace_period / MINUTE, sources.grace_period];
  };
  it('is defaults, file, environment, options', () => {
    const file = write('grace_period = "1m"');
    expect(grace({})).toEqual([5, 'default']);
    expect(grace({ file })).toEqual([1, file]);
    expect(grace({ file, environment })).toEqual([2, 'CLAY_REAPER_GRACE_PERIOD']);
    expect(grace({ file, environment, options })).toEqual([3, '--grace']);
    expect(grace({ file, options })).toEqual([3, '--grace']);
    expect(grace({ environment, options })).toEqual([3, '--grace']);
  });
  it('does not check a value that is overridden', () => {
    expect(grace({ file: write('grace_period = "soon"'), environment })).toEqual([2, 'CLAY_REAPER_GRACE_PERIOD']);
  });
  it('replaces lists as a whole', () => {
    const file = write('clay_home = ["/a"]');
    const given = { clay_home: { text: ['/b', '/c,d'], name: '--clay-home' } };
    expect(load({ file, options: given }).config.clay_home).toEqual(['/b', '/c,d']);
  });
  it('returns the values as they were written', () => {
    const { given } = load({ file: write('grace_period = "90s"\nmax_parked = 2'), options });
    expect(given).toMatchObject({ grace_period: '3m', max_parked: 2, parked_after: '30m', clay_home: [] });
  });
});

describe('an invalid value', () => {
  const bad: readonly (readonly [SettingKey, readonly string[]])[] = [
    ['poll_interval', ['"0"', '"99ms"', '"25d"', '30', '"never"', '"soon"', 'true', '[]', '""']],
    ['grace_period', ['"-1s"', '5', '"never"', '"5"', '"25d"', '2026-11-22T12:00:00Z']],
    ['parked_after', ['"Never"', '1', '"forever"', 'false']],
    ['max_parked', ['-1', '1.5', '"3"', '"never"', '1000001', 'nan']],
    ['kill_after', ['"never"', '30', '"1 year"']],
    ['min_age', ['"never"', '60']],
    ['cpu_idle_below', ['-0.1', '100.1', '"1"', 'nan', 'inf']],
    ['stale_connection_after', ['"always"', '3600']],
    ['max_kills_per_sweep', ['0', '1.5', '-1', '"all"']],
    ['clay_home', ['"/home/ada/.clay"', '[1]', '[""]', '[["/a"]]', '["~/.clay"]', '[".clay"]']],
    ['dry_run', ['"yes"', '1', '"true"']],
    ['protect.projects', ['"shop"', '[1]', '[""]']],
    ['protect.sessions', ['"x"', '[true]', '["zzz"]']],
    ['trust.packages', ['"clay-fork"', '[1]', '[""]']],
    ['pressure.some_avg10', ['-1', '101', '"20"']],
    ['pressure.grace_period', ['30', '"never"']],
    ['pressure.parked_after', ['30']],
    ['metrics.textfile', ['1', '["x"]']],
    ['hooks.on_reaped', ['"notify.sh"', '"~/x"', '1']],
    ['log.level', ['"loud"', '1', '"INFO"']],
    ['log.format', ['"pretty"', '1']],
  ];
  it('is tested for every setting', () => expect(bad.map(([key]) => key).sort()).toEqual([...SETTING_KEYS].sort()));
  const inFile = bad.flatMap(([key, values]) => values.map((value) => [key, value] as const));
  it.each(inFile)('in the file is refused: %s = %s', (key, value) => {
    const [table, name] = key.split('.');
    const text = name === undefined ? `${key} = ${value}` : `[${table}]\n${name} = ${value}`;
    const message = messageOf(() => loadText(text));
    // File, key, what is allowed.
    expect(message.startsWith(`${join(dir, 'config.toml')}: ${key} must be ${SETTINGS[key].expects}, not `)).toBe(true);
    expect(message).not.toMatch(/not (null|undefined)$/);
    expect(message).not.toContain('\n');
  });
  it('is named in the message with its file and key', () => {
    expect(messageOf(() => loadText('grace_period = "soon"'))).toMatch(/not "soon"$/);
    expect(messageOf(() => loadText('max_parked = -1'))).toMatch(/not -1$/);
    expect(messageOf(() => loadText('cpu_idle_below = nan'))).toMatch(/not NaN$/);
    expect(messageOf(() => loadText('clay_home = [1]'))).toMatch(/not \[1\]$/);
  });
  it.each([
    ['CLAY_REAPER_GRACE_PERIOD', 'soon'],
    ['CLAY_REAPER_GRACE_PERIOD', ''],
    ['CLAY_REAPER_MAX_PARKED', 'many'],
    ['CLAY_REAPER_MAX_PARKED', ''],
    ['CLAY_REAPER_CPU_IDLE_BELOW', '1 %'],
    ['CLAY_REAPER_CPU_IDLE_BELOW', 'Infinity'],
    ['CLAY_REAPER_DRY_RUN', 'yes'],
    ['CLAY_REAPER_DRY_RUN', 'constructor'],
    ['CLAY_REAPER_LOG_LEVEL', 'loud'],
  ])('in the environment is named: %s=%s', (name, value) => {
    const message = messageOf(() => load({ environment: { [name]: value } }));
    expect(message.startsWith(`${name} must be `)).toBe(true);
    expect(message.split(', not ').at(-1)).toContain(value);
  });
  it('of an option is named as it was typed', () => {
    const options = { parked_after: { text: 'soon', name: '--parked-after' } };
    expect(messageOf(() => load({ options }))).toBe(
      `--parked-after must be ${SETTINGS.parked_after.expects}, not "soon"`,
    );
  });
  it('is not confused with the smallest and largest valid value', () => {
    const text =
      'poll_interval = "100ms"\ngrace_period = "24d"\nmax_parked = 0\ncpu_idle_below = 100\nmax_kills_per_sweep = 1';
    expect(loadText(text).config).toMatchObject({
      poll_interval: 100,
      grace_period: 24 * 24 * HOUR,
      max_parked: 0,
      cpu_idle_below: 100,
      max_kills_per_sweep: 1,
    });
    expect(loadText('cpu_idle_below = 0').config.cpu_idle_below).toBe(0);
  });
});

describe('defaultConfigPath', () => {
  const usual = (environment: ConfigInput['environment'], asRoot = false): string =>
    defaultConfigPath({ environment, asRoot, home: '/home/ada' });
  it('is below /etc for root and below the home for other users', () => {
    expect(usual({}, true)).toBe('/etc/clay-reaper/config.toml');
    expect(usual({ XDG_CONFIG_HOME: '/x' }, true)).toBe('/etc/clay-reaper/config.toml');
    expect(usual({})).toBe('/home/ada/.config/clay-reaper/config.toml');
    expect(usual({ XDG_CONFIG_HOME: '/x' })).toBe('/x/clay-reaper/config.toml');
    expect(usual({ XDG_CONFIG_HOME: '' })).toBe('/home/ada/.config/clay-reaper/config.toml');
  });
  it('is below CONFIGURATION_DIRECTORY if systemd set it', () => {
    expect(usual({ CONFIGURATION_DIRECTORY: '/etc/clay-reaper' })).toBe('/etc/clay-reaper/config.toml');
    expect(usual({ CONFIGURATION_DIRECTORY: '/a:/b', XDG_CONFIG_HOME: '/x' }, true)).toBe('/a/config.toml');
  });
});

describe('parseConfigFile', () => {
  it('returns the settings of the file unchecked', () => {
    expect([...parseConfigFile('max_parked = "x"\n[log]\nlevel = 5', 'f')]).toEqual([
      ['max_parked', 'x'],
      ['log.level', 5],
    ]);
  });
});
