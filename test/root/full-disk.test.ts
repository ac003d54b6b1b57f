import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { writeTextfile } from '../../src/service/metrics.ts';
import { program } from '../faults/interference.ts';
import { type Clay, type Sham, startClay } from '../support/clay.ts';
import { isAlive } from '../support/processes.ts';
import { type Finished, type RunningReaper, reaper, startReaper } from '../support/reaper.ts';
import { until } from '../support/until.ts';
import { residentBytes } from './memory.ts';
import { ADA, commonFolder } from './users.ts';

const MIB = 1024 * 1024;
const common = commonFolder();
let clay: Clay;
let mounts = 0;

beforeAll(async () => {
  clay = await startClay({ user: ADA, projects: ['rest', 'busy'] });
});
afterAll(async () => {
  await clay?.stop();
  common.remove();
});

const idle = (): Promise<Sham> => clay.sham({ project: 'rest', shape: 'native', idleSeconds: 3600 });
const RUTHLESS = ['--min-age', '0s', '--parked-after', '0s', '--grace', '0s'];

/** A file system of one's own, as small as it gets, for a state directory. */
function mountedState(options: string): string {
  mounts += 1;
  const path = join(common.path, `disk${mounts}`);
  mkdirSync(path);
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'state', path]);
  onTestFinished(() => void execFileSync('umount', ['--lazy', path]));
  return path;
}

function watch(env: Readonly<Record<string, string>>, ...args: readonly string[]): RunningReaper {
  const common_ = ['--clay-home', clay.home, '--poll', '100ms', '--log-level', 'debug', ...RUTHLESS];
  const running = startReaper([...common_, ...args], { env });
  onTestFinished(async () => void (await running.stop()));
  return running;
}

const sweepsOf = (running: RunningReaper): number => running.log.filter((line) => line.msg === 'swept').length;

const historyOf = async (directory: string): Promise<{ records: number; finished: Finished }> => {
  const finished = await reaper(['history', '--json'], { env: { STATE_DIRECTORY: directory } });
  const report = JSON.parse(finished.stdout) as { reaped?: unknown[]; processes?: unknown[]; records?: unknown[] };
  return { records: (report.reaped ?? report.processes ?? report.records ?? []).length, finished };
};

describe('8. a disk that', () => {
  test('is full (ENOSPC) keeps nothing from being reaped, and is told once; what was kept stays readable', async () => {
    const directory = mountedState('size=8k');
    // One page is the filler's; the other is the history's, and is full in the middle of a line.
    writeFileSync(join(directory, 'filler'), Buffer.alloc(4096));
    const running = watch({ STATE_DIRECTORY: directory });
    for (let each = 0; each < 30; each += 1) {
      const sham = await idle();
      await running.logged('reaped', (line) => line.pid === sham.pid);
    }
    const troubles = running.log.filter((line) => line.event === 'trouble');
    expect(troubles).toMatchObject([{ error: expect.stringContaining('ENOSPC') }]);
    const full = await historyOf(directory);
    expect(full.finished.status).toBe(0);
    expect(full.records).toBeGreaterThan(10);

    rmSync(join(directory, 'filler'));
    const last = await idle();
    await running.logged('reaped', (line) => line.pid === last.pid);
    await until('it is kept again', async () => (await historyOf(directory)).records > full.records);
  });

  test('is read-only (EROFS) keeps nothing from being reaped, and is told once', async () => {
    const directory = mountedState('size=64k');
    execFileSync('mount', ['-o', 'remount,ro', directory]);
    const running = watch({ STATE_DIRECTORY: directory });
    for (let each = 0; each < 3; each += 1) {
      const sham = await idle();
      await running.logged('reaped', (line) => line.pid === sham.pid);
    }
    const troubles = running.log.filter((line) => line.event === 'trouble');
    expect(troubles).toMatchObject([{ error: expect.stringContaining('EROFS') }]);
    const once = await reaper(['cleanup', '--yes', '--clay-home', clay.home, ...RUTHLESS], {
      env: { STATE_DIRECTORY: directory },
    });
    expect(once.status).toBe(0);
  });

  test('takes no metrics is told once, and keeps nothing from being reaped', async () => {
    const directory = mountedState('size=64k');
    execFileSync('mount', ['-o', 'remount,ro', directory]);
    const running = watch({ CLAY_REAPER_METRICS_TEXTFILE: join(directory, 'reaper.prom') });
    const sham = await idle();
    await running.logged('reaped', (line) => line.pid === sham.pid);
    const before = sweepsOf(running);
    await until('some more sweeps', () => sweepsOf(running) > before + 4);
    expect(running.log.filter((line) => line.event === 'trouble')).toMatchObject([
      { error: expect.stringContaining('metrics') },
    ]);
  });

  test('has room for a part of the metrics only (ENOSPC) keeps the old ones whole', () => {
    const directory = mountedState('size=16k');
    const path = join(directory, 'reaper.prom');
    expect(writeTextfile(path, 'old\n')).toBeUndefined();
    // It takes 12 KiB of this without complaint.
    expect(writeTextfile(path, 'x'.repeat(20_000))).toContain('ENOSPC');
    expect(readFileSync(path, 'utf8')).toBe('old\n');
    expect(readdirSync(directory)).toEqual(['reaper.prom']);
  });

  test('takes no log (/dev/full) does not stop the service, nor make it grow', async () => {
    const full = openSync('/dev/full', 'w');
    const args = ['run', '--clay-home', clay.home, '--poll', '100ms', '--log-level', 'trace', ...RUTHLESS];
    const child = spawn(process.execPath, [program, ...args], {
      env: { PATH: process.env.PATH, STATE_DIRECTORY: join(common.path, 'state') },
      stdio: ['ignore', 'ignore', full],
    });
    const exited = new Promise<number | null>((resolve) => child.once('exit', (status) => resolve(status)));
    onTestFinished(async () => {
      child.kill('SIGKILL');
      await exited;
    });
    const first = await idle();
    await first.gone();
    const before = residentBytes(child.pid ?? 0);
    for (let each = 0; each < 10; each += 1) await (await idle()).gone();
    expect(residentBytes(child.pid ?? 0) - before).toBeLessThan(20 * MIB);
    child.kill('SIGTERM');
    expect(await exited).toBe(0);
  });

  test('takes no output (/dev/full) is told in one line, and the exit status is not 0', async () => {
    for (const command of [['status', '--json'], ['status'], ['history', '--json'], ['config', '--json']]) {
      const args = command[0] === 'history' ? command : [...command, '--clay-home', clay.home];
      const child = spawn(process.execPath, [program, ...args], {
        env: { PATH: process.env.PATH, STATE_DIRECTORY: join(common.path, 'state') },
        stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'],
      });
      let stderr = '';
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
      });
      const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
      expect({ command, status, stderr }).toEqual({
        command,
        status: 1,
        stderr: expect.stringMatching(/^clay-reaper: [^\n]*ENOSPC[^\n]*\n$/),
      });
    }
  });
});

describe('8. an installation onto a disk that', () => {
  const UNIT = 'systemd/user/clay-reaper.service';
  const install = (directory: string): Promise<Finished> =>
    reaper(['install', '--user', '--force'], { env: { HOME: directory, XDG_CONFIG_HOME: directory } });
  const withOldUnit = (options: string): string => {
    const directory = mountedState(options);
    mkdirSync(dirname(join(directory, UNIT)), { recursive: true });
    writeFileSync(join(directory, UNIT), 'old');
    return directory;
  };
  const expectRefusal = async (directory: string, code: string): Promise<void> => {
    const { status, stderr } = await install(directory);
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: expect.stringMatching(new RegExp(`^clay-reaper: not installed: [^\\n]*${code}[^\\n]*\\n$`)),
    });
    expect(readFileSync(join(directory, UNIT), 'utf8')).toBe('old');
    expect(readdirSync(dirname(join(directory, UNIT)))).toEqual(['clay-reaper.service']);
  };

  test('is full (ENOSPC) says so in one line, and leaves the old unit whole', async () => {
    const directory = withOldUnit('size=8k');
    writeFileSync(join(directory, 'filler'), Buffer.alloc(4096));
    await expectRefusal(directory, 'ENOSPC');
  });

  test('is read-only (EROFS) says so in one line, and leaves the old unit whole', async () => {
    const directory = withOldUnit('size=64k');
    execFileSync('mount', ['-o', 'remount,ro', directory]);
    await expectRefusal(directory, 'EROFS');
  });
});

describe('8. a service that', () => {
  test('has no descriptor left (EMFILE) ends nothing, and goes on when it has some again', async () => {
    const running = watch({}, '--dry-run');
    await until('it sweeps', () => sweepsOf(running) > 2);
    const limit = (nofile: number): void =>
      void execFileSync('prlimit', ['--pid', String(running.pid), `--nofile=${nofile}:20000`]);
    limit(3);
    const [sham, waiting] = [
      await idle(),
      await clay.sham({ project: 'busy', shape: 'native', journal: 'permission' }),
    ];
    const failed = (): number =>
      running.log.filter(
        (line) =>
          line.event === 'sweep-failed' ||
          line.event === 'blind' ||
          line.event === 'api-unreachable' ||
          line.event === 'clay-refused',
      ).length;
    await until('it notices', () => failed() > 0);
    const before = running.log.length;
    await until('it goes on', () => running.log.length > before + 3);
    limit(20_000);
    await running.logged('would-reap', (line) => line.pid === sham.pid);
    expect(running.log.filter((line) => line.event === 'would-reap' && line.pid === waiting.pid)).toEqual([]);
    expect([sham, waiting].map(isAlive)).toEqual([true, true]);
  });

  test('runs out of descriptors while it ends processes ends none that is at work', async () => {
    const running = watch({}, '--kill-after', '300ms');
    await until('it sweeps', () => sweepsOf(running) > 2);
    const waiting = await clay.sham({ project: 'busy', shape: 'native', journal: 'permission' });
    for (const nofile of [3, 20_000, 12, 20_000, 20, 20_000, 25, 20_000, 30, 20_000]) {
      const sham = await clay.sham({
        project: 'rest',
        shape: 'native',
        idleSeconds: 3600,
        start: { ignoreSigterm: true },
      });
      execFileSync('prlimit', ['--pid', String(running.pid), `--nofile=${nofile}:20000`]);
      const before = running.log.length;
      if (nofile < 20_000) await until('it goes on', () => running.log.length > before + 3);
      else await running.logged('reaped', (line) => line.pid === sham.pid);
    }
    expect(waiting.isAlive()).toBe(true);
    expect(readFileSync(`/proc/${running.pid}/comm`, 'utf8')).toBeTruthy();
  });
});
