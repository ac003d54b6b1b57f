import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startClay } from '../helpers/clay.ts';
import { type CliOptions, runCli } from '../helpers/cli.ts';

const shipped = fileURLToPath(new URL('../../systemd/config.toml', import.meta.url));

describe('config', () => {
  let folder: string;
  let file: string;
  const config = (args: readonly string[], options?: CliOptions) => runCli(['config', ...args], options);
  /** Its lines as [setting, value, source]. */
  const rowsOf = (stdout: string): string[][] => stdout.split('\n').map((line) => line.trim().split(/ {2,}/));

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'config-'));
    file = join(folder, 'config.toml');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('shows every effective setting and its source', async () => {
    writeFileSync(file, 'grace_period = "90s"\nmin_age = "2m"\n[protect]\nprojects = ["shop", "blog"]\n');
    const env = { CLAY_REAPER_KILL_AFTER: '45s', CLAY_REAPER_MIN_AGE: '3m', CLAY_REAPER_PROTECT_PROJECTS: '/a,/b' };
    const { status, stdout, stderr } = await config(['--config', file, '--parked-after', 'never'], { env });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const rows = rowsOf(stdout);
    expect(rows[0]).toEqual([`The configuration file is ${file}.`]);
    for (const row of [
      ['SETTING', 'VALUE', 'FROM'],
      ['poll_interval', '"30s"', 'default'],
      ['grace_period', '"90s"', file],
      ['parked_after', '"never"', '--parked-after'],
      ['max_parked', 'not set', 'default'],
      ['kill_after', '"45s"', 'CLAY_REAPER_KILL_AFTER'],
      ['min_age', '"3m"', 'CLAY_REAPER_MIN_AGE'],
      ['protect.projects', '[ "/a", "/b" ]', 'CLAY_REAPER_PROTECT_PROJECTS'],
    ])
      expect(rows).toContainEqual(row);
  });

  it('--check warns of a protected project that no Clay has', async () => {
    const clay = await startClay({ projects: ['rest'] });
    try {
      writeFileSync(file, `clay_home = ["${clay.home}"]\n[protect]\nprojects = ["rest", "shopp"]\n`);
      const { status, stderr } = await config(['--check', file]);
      expect(status).toBe(0);
      expect(stderr).toBe('clay-reaper: warning: no Clay has the project "shopp" of [protect]; there are rest\n');
    } finally {
      await clay.stop();
    }
  });

  it('prints settings and sources with --json', async () => {
    writeFileSync(file, 'grace_period = "90s"\n[log]\nlevel = "debug"\n');
    const { status, stdout } = await config(['--json', '--config', file, '--clay-home', '/a', '--clay-home', '/b']);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      schema: 1,
      file,
      settings: {
        grace_period: { value: '90s', source: file },
        parked_after: { value: '30m', source: 'default' },
        max_parked: { value: null, source: 'default' },
        cpu_idle_below: { value: 5, source: 'default' },
        clay_home: { value: ['/a', '/b'], source: '--clay-home' },
        'log.level': { value: 'debug', source: file },
      },
    });
  });

  it('names the default path if there is no file, and reads the file if there is one', async () => {
    const env = { CONFIGURATION_DIRECTORY: folder };
    const without = await config([], { env });
    expect(without.stdout).toContain(`There is no configuration file (${file}).`);
    writeFileSync(file, 'poll_interval = "1m"\n');
    const { stdout } = await config([], { env });
    expect(rowsOf(stdout)).toContainEqual(['poll_interval', '"1m"', file]);
  });

  it('--check accepts a valid file and the shipped one', async () => {
    writeFileSync(file, '[pressure]\nsome_avg10 = 10\n');
    const checked = await config(['--check', file]);
    expect(checked).toMatchObject({ status: 0, stderr: '' });
    expect(checked.stdout).toContain(`${file} is valid. Effective settings:`);
    expect(rowsOf(checked.stdout)).toContainEqual(['pressure.some_avg10', '10', file]);
    expect(await config(['--check', shipped])).toMatchObject({ status: 0, stderr: '' });
  });

  it.each([
    ['grace_period = "soon"', /config\.toml: grace_period must be a duration .*not "soon"/],
    [
      'grace_perod = "5m"',
      /config\.toml: unknown key grace_perod \(did you mean grace_period\?\); the keys are .*grace_period/,
    ],
    ['[protect]\nprojects = "shop"', /config\.toml: protect\.projects must be a list .*not "shop"/],
    ['[protect\n', /config\.toml:1: /],
  ])('--check refuses %j in one line', async (text, line) => {
    writeFileSync(file, text);
    // What is set elsewhere does not hide it.
    const { status, stdout, stderr } = await config(['--check', file, '--grace', '5m', '--json'], {
      env: { CLAY_REAPER_GRACE_PERIOD: '5m' },
    });
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(line);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });

  it('--check fails if the file does not exist', async () => {
    const { status, stderr } = await config(['--check', file]);
    expect(status).toBe(2);
    expect(stderr).toBe(`clay-reaper: ${file}: the configuration cannot be read (ENOENT)\n`);
  });

  it('shows memory pressure settings as off unless one is given', async () => {
    const off = await config([]);
    expect(off.stdout).toMatch(/^pressure\.grace_period +"30s" +default \(off/m);
    writeFileSync(file, '[pressure]\nsome_avg10 = 10\n');
    const on = await config(['--config', file]);
    expect(rowsOf(on.stdout)).toContainEqual(['pressure.grace_period', '"30s"', 'default']);
  });

  it('fits 80 columns unless a value or path is longer', async () => {
    const { stdout } = await config([]);
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
  });
});
