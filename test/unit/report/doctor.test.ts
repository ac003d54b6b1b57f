import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import {
  clayOfDoctor,
  configurationOfDoctor,
  type DoctorReport,
  doctorText,
  exitOfDoctor,
  type Problem,
} from '../../../src/report/doctor.ts';
import { clayLook } from '../../helpers/assessment.ts';
import { ruleInput } from '../../helpers/evidence.ts';

const problem = (what: Problem['what']): Problem => ({ what, message: `about ${what}` });

const REPORT: DoctorReport = {
  schema: 1,
  at: '2026-01-01T00:00:00.000Z',
  program: { version: '1.2.3', commit: 'abcdef0' },
  machine: { node: '22.1.0', kernel: '6.1.0', architecture: 'x64', system: 'Debian GNU/Linux 12', systemd: 252 },
  rights: { uid: 1000, capabilities: { CAP_KILL: false }, otherUsers: false },
  services: [
    {
      scope: 'system',
      installed: true,
      active: 'active (running)',
      failed: false,
      enabled: 'enabled',
      result: 'success',
      restarts: 0,
      needsReload: true,
      unit: 'edited',
      dropIns: 1,
      status: 'watching Clay 142',
      running: {
        pid: 77,
        node: '/usr/bin/node',
        program: '/usr/lib/node_modules/clay-reaper/dist/clay-reaper.js',
        version: '1.2.2',
        commit: null,
        isThisProgram: false,
        outdated: true,
      },
    },
    {
      scope: 'user',
      installed: false,
      active: 'inactive (dead)',
      failed: false,
      enabled: 'no',
      result: 'success',
      restarts: 0,
      needsReload: false,
      unit: 'missing',
      dropIns: 0,
      status: '',
      running: null,
    },
  ],
  configuration: configurationOfDoctor(null),
  clays: [],
  otherClays: [{ pid: 142, uid: 0 }],
  problems: [problem('service-outdated'), problem('no-clay')],
};

describe('configurationOfDoctor', () => {
  const withEnvironment = (environment: Record<string, string>) =>
    configurationOfDoctor(loadConfig({ file: null, environment, options: {}, asRoot: false, home: '/nonexistent' }));

  it('counts what names projects, conversations and homes', () => {
    const { settings } = withEnvironment({
      CLAY_REAPER_PROTECT_PROJECTS: 'merger,acme',
      CLAY_REAPER_CLAY_HOME: '/home/anna/.clay',
      CLAY_REAPER_HOOKS_ON_REAPED: '/home/anna/bin/tell',
      CLAY_REAPER_METRICS_TEXTFILE: 'acme.prom',
      CLAY_REAPER_TRUST_PACKAGES: '@acme/clay',
      CLAY_REAPER_GRACE_PERIOD: '7m',
    });
    expect(JSON.stringify(settings)).not.toMatch(/merger|acme|anna/);
    expect(settings['protect.projects']).toEqual({ value: '2 not shown', source: 'CLAY_REAPER_PROTECT_PROJECTS' });
    expect(settings['hooks.on_reaped']?.value).toBe('1 not shown');
    expect(settings['protect.sessions']?.value).toBeNull();
    expect(settings.grace_period).toEqual({ value: '7m', source: 'CLAY_REAPER_GRACE_PERIOD' });
  });

  it('says what makes it a dry run, without the path of the file', () => {
    expect(withEnvironment({ CLAY_REAPER_DRY_RUN: 'true' }).dryRun).toBe('CLAY_REAPER_DRY_RUN');
    const loaded = loadConfig({ file: null, environment: {}, options: {}, asRoot: false, home: '/nonexistent' });
    const fromFile = configurationOfDoctor({
      ...loaded,
      config: { ...loaded.config, dry_run: true },
      sources: { ...loaded.sources, dry_run: '/home/anna/c.toml' },
      file: '/home/anna/c.toml',
    });
    expect(fromFile).toMatchObject({ file: true, dryRun: 'file', settings: { dry_run: { source: 'file' } } });
  });
});

describe('clayOfDoctor', () => {
  it('names releases and numbers, and no project', () => {
    const evidence = ['0.3.330', '0.2.92', '0.3.330', 'merger 1.2.3'].map(
      (sdkVersion) => ruleInput({ sdkVersion }).evidence,
    );
    const clay = clayOfDoctor(clayLook(), evidence, (text) => text);
    expect(clay).toMatchObject({ release: '2.41.1', api: 'ok', projects: 2, processing: 1, processes: 4 });
    expect(clay.sdks).toEqual(['0.3.330', '0.2.92', null]);
    expect(JSON.stringify(clay)).not.toMatch(/alpha|beta|merger|srv|home/);
  });

  it('conceals what is private in errors', () => {
    const clay = clayOfDoctor(clayLook({ error: 'no /home/anna', blind: 'not /home/anna' }), [], () => 'concealed');
    expect(clay).toMatchObject({ api: 'unreachable', apiError: 'concealed', blind: 'concealed' });
  });

  it('does not name the package of a fork', () => {
    const { daemon, ...look } = clayLook();
    const fork = { ...daemon, installation: { ...daemon.installation, packageName: '@acme/clay' } };
    expect(clayOfDoctor({ ...look, daemon: fork }, [], (text) => text).release).toBeNull();
  });
});

describe('exitOfDoctor', () => {
  it.each<[Problem['what'][], number, number]>([
    [[], 0, 0],
    [['other-users', 'refused', 'systemd'], 0, 0],
    [['no-clay'], 3, 3],
    [['api'], 4, 4],
    [['proc'], 0, 4],
    [['service-outdated', 'api'], 4, 1],
    [['service-failed'], 0, 1],
    [['configuration', 'service-failed'], 3, 2],
  ])('with %j and a status that exits with %i is %i', (whats, status, exit) => {
    expect(exitOfDoctor(whats.map(problem), status)).toBe(exit);
  });
});

describe('doctorText', () => {
  it('fits the terminal and says what works, what does not, and what to do with it', () => {
    const text = doctorText(REPORT, { columns: 80, colour: false });
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    const line = text.replace(/\s+/g, ' ');
    expect(line).toContain('clay-reaper 1.2.3 (commit abcdef0), Node 22.1.0, Linux 6.1.0 x64, systemd 252');
    expect(line).toContain('pid 77 runs 1.2.2');
    expect(line).toContain('in an older version');
    expect(line).toContain('its unit was edited');
    expect(line).toContain('user not installed');
    expect(line).toContain('Clay 142 uid 0: not looked after');
    expect(line).toContain('2 things do not work here: service-outdated about service-outdated no-clay about no-clay');
    expect(line).toContain('--json');
  });

  it('says that everything works', () => {
    const text = doctorText({ ...REPORT, problems: [] }, { columns: 80, colour: false });
    expect(text).toContain('Everything works that is needed here.');
  });

  it('strips control characters', () => {
    const evil = { ...REPORT, problems: [{ what: 'refused', message: 'a \u001b[31mred\u202e one' } as const] };
    expect(doctorText(evil, { columns: 80, colour: false })).not.toMatch(/\p{Cc}(?<!\n)|\u202e/u);
  });
});
