import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DoctorReport } from '../../src/report/doctor.ts';
import { type Clay, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { type Finished, runCli } from '../helpers/cli.ts';

describe('doctor', () => {
  let folder: string;
  let clay: Clay;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'clay-reaper-doctor-'));
    clay = await startClay({ projects: ['acme-merger'] });
    await clay.spawnClaude({ ...IDLE_NATIVE, project: 'acme-merger', title: 'Lay off everybody' });
  });
  afterAll(async () => {
    await clay.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const doctor = async (...args: string[]): Promise<Finished & { report: DoctorReport }> => {
    const finished = await runCli(['doctor', '--json', ...args]);
    return { ...finished, report: JSON.parse(finished.stdout) as DoctorReport };
  };
  const configFile = (text: string): string => {
    const path = join(folder, 'acme.toml');
    writeFileSync(path, text);
    return path;
  };

  it('--json has versions, rights, configuration and what it sees, and nothing private', async () => {
    const config = configFile('grace_period = "7m"\n[protect]\nprojects = ["acme-merger"]\n');
    const { status, stderr, stdout, report } = await doctor('--clay-home', clay.home, '--config', config);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(Object.keys(report)).toEqual([
      'schema',
      'at',
      'program',
      'machine',
      'rights',
      'services',
      'configuration',
      'clays',
      'otherClays',
      'problems',
    ]);
    expect(report.machine).toMatchObject({ node: process.versions.node, architecture: process.arch });
    expect(report.rights.uid).toBe(process.geteuid?.());
    expect(Object.keys(report.rights.capabilities)).toEqual(['CAP_DAC_OVERRIDE', 'CAP_KILL', 'CAP_SYS_PTRACE']);
    expect(report.configuration).toMatchObject({
      file: true,
      settings: {
        grace_period: { value: '7m', source: 'file' },
        'protect.projects': { value: '1 not shown', source: 'file' },
        clay_home: { value: '1 not shown', source: '--clay-home' },
      },
    });
    expect(report.clays).toEqual([
      expect.objectContaining({ pid: clay.pid, api: 'ok', projects: 1, processes: 1, sdks: ['0.3.330'] }),
    ]);
    const { stdout: text } = await runCli(['doctor', '--clay-home', clay.home, '--config', config]);
    for (const shown of [stdout, text]) {
      for (const secret of ['acme', 'merger', 'Lay off', clay.home, folder, tmpdir(), homedir()])
        expect(shown).not.toContain(secret);
    }
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(text).toContain(`Clay ${clay.pid}`);
  });

  it('exits with 2 and still reports if the configuration is invalid', async () => {
    const { status, stdout, report } = await doctor('--config', configFile('acme_secret = 1\n'));
    expect(status).toBe(2);
    expect(report.problems[0]).toMatchObject({ what: 'configuration' });
    expect(report.configuration.file).toBeNull();
    expect(stdout).not.toContain(folder);
  });

  it('exits with 3 if there is no Clay, and does not name where it looked', async () => {
    const { status, stdout, report } = await doctor('--clay-home', join(folder, 'nothing-here'));
    expect(status).toBe(3);
    expect(report.problems.map(({ what }) => what)).toContain('no-clay');
    expect(stdout).not.toContain('nothing-here');
  });

  it('exits with 4 and names a Clay whose daemon.json is gone', async () => {
    const file = join(clay.home, 'daemon.json');
    renameSync(file, `${file}.away`);
    const { status, stdout, report } = await doctor('--clay-home', clay.home);
    renameSync(`${file}.away`, file);
    expect(status).toBe(4);
    const messages = report.problems.filter(({ what }) => what === 'left-alone').map(({ message }) => message);
    expect(messages).toEqual([expect.stringContaining(`Clay ${clay.pid} was left alone`)]);
    expect(stdout).not.toContain(clay.home);
  });

  it('exits with 4 and says why if a Clay gives no usable answer', async () => {
    await clay.answerStatus({ mode: 'hangup' });
    const { status, report } = await doctor('--clay-home', clay.home);
    await clay.answerStatus({ mode: 'ok' });
    expect(status).toBe(4);
    expect(report.problems.map(({ what }) => what)).toContain('api');
    expect(report.clays[0]).toMatchObject({ api: 'unreachable', apiError: expect.any(String) });
  });
});

describe('--version', () => {
  it('names version, commit and Node', async () => {
    const { status, stdout } = await runCli(['--version']);
    expect(status).toBe(0);
    // A release is built in its repository; the commit is unknown elsewhere.
    expect(stdout).toMatch(/^\d+\.\d+\.\d+ \((commit [0-9a-f]{7,}, )?Node \d+\.\d+\.\d+\)\n$/);
    expect(stdout).toContain(`Node ${process.versions.node}`);
  });
});
