import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { writeTextfile } from '../../src/service/metrics.ts';
import { program } from '../faults/interference.ts';
import { type Clay, type FakeClaude, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { type Finished, NO_WAITS, type RunningService, runCli, runCliJson, startService } from '../helpers/cli.ts';
import { isAlive, residentBytes } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
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

const idle = (): Promise<FakeClaude> => clay.spawnClaude(IDLE_NATIVE);

/** A file system of one's own, as small as it gets, for a state directory. */
function mountedState(options: string): string {
  mounts += 1;
  const path = join(common.path, `disk${mounts}`);
  mkdirSync(path);
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'state', path]);
  onTestFinished(() => void execFileSync('umount', ['--lazy', path]));
  return path;
}

function watch(env: Readonly<Record<string, string>>, ...args: readonly string[]): RunningService {
  const common_ = ['--clay-home', clay.home, '--poll', '100ms', '--log-level', 'debug', ...NO_WAITS];
  const running = startService([...common_, ...args], { env });
  onTestFinished(async () => void (await running.stop()));
  return running;
}

const sweepsOf = (running: RunningService): number => running.log.filter((line) => line.msg === 'swept').length;

const historyOf = async (directory: string): Promise<{ records: number; finished: Finished }> => {
  const finished = await runCli(['history', '--json'], { env: { STATE_DIRECTORY: directory } });
  const report = JSON.parse(finished.stdout) as { reaped?: unknown[]; processes?: unknown[]; records?: unknown[] };
  return { records: (report.reaped ?? report.processes ?? report.records ?? []).length, finished };
};

describe('disk errors', () => {
  test('a full disk (ENOSPC) does not stop reaping, is logged once, and keeps the history readable', async () => {
    const directory = mountedState('size=8k');
    // One page is the filler's; the other is the history's, and is full in the middle of a line.
    writeFileSync(join(directory, 'filler'), Buffer.alloc(4096));
    const running = watch({ STATE_DIRECTORY: directory });
    for (let n = 0; n < 30; n += 1) {
      const claude = await idle();
      await running.logged('reaped', (line) => line.pid === claude.pid);
    }
    const warnings = running.log.filter((line) => line.event === 'warning');
    expect(warnings).toMatchObject([{ error: expect.stringContaining('ENOSPC') }]);
    const full = await historyOf(directory);
    expect(full.finished.status).toBe(0);
    // A page holds four records.
    expect(full.records).toBeGreaterThan(1);

    rmSync(join(directory, 'filler'));
    const last = await idle();
    await running.logged('reaped', (line) => line.pid === last.pid);
    await waitFor('it is kept again', async () => (await historyOf(directory)).records > full.records);
  });

  test('a read-only disk (EROFS) does not stop reaping, and is logged once', async () => {
    const directory = mountedState('size=64k');
    execFileSync('mount', ['-o', 'remount,ro', directory]);
    const running = watch({ STATE_DIRECTORY: directory });
    for (let n = 0; n < 3; n += 1) {
      const claude = await idle();
      await running.logged('reaped', (line) => line.pid === claude.pid);
    }
    const warnings = running.log.filter((line) => line.event === 'warning');
    expect(warnings).toMatchObject([{ error: expect.stringContaining('EROFS') }]);
    const once = await runCli(['cleanup', '--yes', '--clay-home', clay.home, ...NO_WAITS], {
      env: { STATE_DIRECTORY: directory },
    });
    expect(once.status).toBe(0);
  });

  test('an unwritable metrics file does not stop reaping, and is logged once', async () => {
    const directory = mountedState('size=64k');
    execFileSync('mount', ['-o', 'remount,ro', directory]);
    const running = watch({ CLAY_REAPER_METRICS_TEXTFILE: join(directory, 'reaper.prom') });
    const claude = await idle();
    await running.logged('reaped', (line) => line.pid === claude.pid);
    const before = sweepsOf(running);
    await waitFor('some more sweeps', () => sweepsOf(running) > before + 4);
    expect(running.log.filter((line) => line.event === 'warning')).toMatchObject([
      { error: expect.stringContaining('metrics') },
    ]);
  });

  test('a disk with room for a part of the metrics (ENOSPC) keeps the old file whole', () => {
    const directory = mountedState('size=16k');
    const path = join(directory, 'reaper.prom');
    expect(writeTextfile(path, 'old\n')).toBeUndefined();
    // It takes 12 KiB of this without complaint.
    expect(writeTextfile(path, 'x'.repeat(20_000))).toContain('ENOSPC');
    expect(readFileSync(path, 'utf8')).toBe('old\n');
    expect(readdirSync(directory)).toEqual(['reaper.prom']);
  });

  test('an unwritable log (/dev/full) neither stops the service nor leaks memory', async () => {
    const full = openSync('/dev/full', 'w');
    const args = ['run', '--clay-home', clay.home, '--poll', '100ms', '--log-level', 'trace', ...NO_WAITS];
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
    await first.exited();
    const before = residentBytes(child.pid ?? 0);
    for (let n = 0; n < 10; n += 1) await (await idle()).exited();
    expect(residentBytes(child.pid ?? 0) - before).toBeLessThan(20 * MIB);
    child.kill('SIGTERM');
    expect(await exited).toBe(0);
  });

  test('unwritable output (/dev/full) is reported in one line with a non-zero exit status', async () => {
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

describe('a full disk of Clay', () => {
  test('protects what is idle by its journal while its project is in a turn', async () => {
    const own = await startClay({ user: ADA, projects: ['full'] });
    onTestFinished(own.stop);
    const journals = join(own.home, 'sessions');
    mkdirSync(journals, { mode: 0o777 });
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=2m,uid=${ADA.uid},mode=0700`, 'journals', journals]);
    onTestFinished(() => void execFileSync('umount', ['--lazy', journals]));
    const { pid } = await own.spawnClaude({ ...IDLE_NATIVE, project: 'full' });
    await own.setProject('full', { isProcessing: true });
    const look = async () => {
      const { report } = await runCliJson(['status', '--clay-home', own.home, ...NO_WAITS]);
      return report.processes.find((row) => row.pid === pid);
    };
    expect(await look()).toMatchObject({ verdict: 'reap' });
    const filler = join(journals, 'filler');
    expect(() => writeFileSync(filler, Buffer.alloc(4 * MIB))).toThrow('ENOSPC');
    const full = await look();
    expect(full).toMatchObject({ verdict: 'protected', reasons: [{ code: 'processing' }] });
    expect(full?.reasons[0]?.detail).toContain('the disk is full');
    await own.setProject('full', { isProcessing: false });
    expect(await look()).toMatchObject({ verdict: 'reap' });
  });
});

describe('install with disk errors', () => {
  const UNIT = 'systemd/user/clay-reaper.service';
  const install = (directory: string): Promise<Finished> =>
    runCli(['install', '--user', '--force'], { env: { HOME: directory, XDG_CONFIG_HOME: directory } });
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

  test('reports a full disk (ENOSPC) in one line and keeps the old unit', async () => {
    const directory = withOldUnit('size=8k');
    writeFileSync(join(directory, 'filler'), Buffer.alloc(4096));
    await expectRefusal(directory, 'ENOSPC');
  });

  test('reports a read-only disk (EROFS) in one line and keeps the old unit', async () => {
    const directory = withOldUnit('size=64k');
    execFileSync('mount', ['-o', 'remount,ro', directory]);
    await expectRefusal(directory, 'EROFS');
  });
});

describe('service without descriptors', () => {
  test('ends nothing while it has no descriptor left (EMFILE), and recovers', async () => {
    const running = watch({}, '--dry-run');
    await waitFor('it sweeps', () => sweepsOf(running) > 2);
    const limit = (nofile: number): void =>
      void execFileSync('prlimit', ['--pid', String(running.pid), `--nofile=${nofile}:20000`]);
    limit(3);
    const [claude, waiting] = [
      await idle(),
      await clay.spawnClaude({ project: 'busy', shape: 'native', journal: 'permission' }),
    ];
    const failed = (): number =>
      running.log.filter(
        (line) =>
          line.event === 'sweep-failed' ||
          line.event === 'blind' ||
          line.event === 'api-unreachable' ||
          line.event === 'clay-refused',
      ).length;
    await waitFor('it notices', () => failed() > 0);
    const before = running.log.length;
    await waitFor('it goes on', () => running.log.length > before + 3);
    limit(20_000);
    await running.logged('would-reap', (line) => line.pid === claude.pid);
    expect(running.log.filter((line) => line.event === 'would-reap' && line.pid === waiting.pid)).toEqual([]);
    expect([claude, waiting].map(isAlive)).toEqual([true, true]);
  });

  test('ends no process at work if descriptors run out during a reap', async () => {
    const running = watch({}, '--kill-after', '300ms');
    await waitFor('it sweeps', () => sweepsOf(running) > 2);
    const waiting = await clay.spawnClaude({ project: 'busy', shape: 'native', journal: 'permission' });
    for (const nofile of [3, 20_000, 12, 20_000, 20, 20_000, 25, 20_000, 30, 20_000]) {
      const claude = await clay.spawnClaude({
        project: 'rest',
        shape: 'native',
        idleSeconds: 3600,
        start: { ignoreSigterm: true },
      });
      execFileSync('prlimit', ['--pid', String(running.pid), `--nofile=${nofile}:20000`]);
      const before = running.log.length;
      if (nofile < 20_000) await waitFor('it goes on', () => running.log.length > before + 3);
      else await running.logged('reaped', (line) => line.pid === claude.pid);
    }
    expect(waiting.isAlive()).toBe(true);
    expect(readFileSync(`/proc/${running.pid}/comm`, 'utf8')).toBeTruthy();
  });
});
