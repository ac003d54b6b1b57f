import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { program } from '../faults/interference.ts';
import { type Clay, IDLE, IDLE_NATIVE, namespaceCommand, startClay } from '../helpers/clay.ts';
import { type CliOptions, NO_WAITS, runCli, runCliJson, startService } from '../helpers/cli.ts';
import { childrenOf, identify, kill } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { ADA } from './users.ts';

let clay: Clay;

beforeEach(async () => {
  clay = await startClay({ container: 'own', projects: ['rest', 'busy'] });
});
afterEach(() => clay?.stop());

/** As `docker exec` does: in all namespaces of the container, as a child of no process in it (ppid 0). */
const inside = (): CliOptions => ({
  via: ['nsenter', '--target', String(clay.pid), '--pid', '--mount', '--'],
  env: { HOME: clay.userHome },
});

describe('Clay as PID 1 of a container, seen from inside', () => {
  test('is a Clay like any other: the idle claude is ended, the waiting one spared', async () => {
    const idle = await clay.spawnClaude(IDLE_NATIVE);
    const waiting = await clay.spawnClaude({ project: 'busy', journal: 'permission' });
    const { status, report, stderr } = await runCliJson(['cleanup', '--yes', ...NO_WAITS], inside());
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(report.clay).toMatchObject([{ pid: 1, api: 'ok' }]);
    expect(report.processes.map(({ verdict, outcome, clayPid }) => ({ verdict, outcome, clayPid }))).toEqual([
      { verdict: 'reap', outcome: 'terminated', clayPid: 1 },
      { verdict: 'protected', outcome: undefined, clayPid: 1 },
    ]);
    expect([idle.isAlive(), waiting.isAlive()]).toEqual([false, true]);
  });

  test('has no abandoned processes, also if nothing leads to it: their parent, PID 1, is alive', async () => {
    const idle = await clay.spawnClaude(IDLE_NATIVE);
    rmSync(clay.configFile);
    const { status, stderr } = await runCli(['cleanup', '--yes', ...NO_WAITS], inside());
    expect({ status, stderr }).toMatchObject({ status: 4, stderr: expect.stringMatching(/Clay 1 was left alone/) });
    expect(idle.isAlive()).toBe(true);
  });
});

describe('Clay as PID 1 of a container, seen from another one in its pid namespace', () => {
  /** As `docker run --pid container:clay` does: a mount namespace of its own, with these mounts. */
  const beside = (...mounts: readonly string[]): CliOptions => ({
    via: [
      ...['nsenter', '--target', String(clay.pid), '--pid', '--', 'unshare', '--mount', 'sh', '-ec'],
      ['mount -t proc proc /proc', ...mounts, 'exec "$@"'].join('\n'),
      'sh',
    ],
    env: { HOME: '/nonexistent' },
  });

  test('is found by --clay-home, which is the path that clay-reaper sees', async () => {
    const idle = await clay.spawnClaude(IDLE_NATIVE);
    const waiting = await clay.spawnClaude({ project: 'busy', journal: 'permission' });
    const elsewhere = join(clay.directory, 'elsewhere');
    mkdirSync(elsewhere);
    const { status, report, stderr } = await runCliJson(
      ['cleanup', '--yes', '--clay-home', elsewhere, ...NO_WAITS],
      beside(
        `mount --bind ${clay.home} ${elsewhere}`,
        `mount -o remount,ro,bind ${elsewhere}`,
        `mount -t tmpfs none ${clay.home}`,
      ),
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(report.clay).toMatchObject([{ pid: 1, home: elsewhere, api: 'ok' }]);
    expect([idle.isAlive(), waiting.isAlive()]).toEqual([false, true]);
  });

  test("protects the processes whose session files it does not see, for Claude's folder is not mounted", async () => {
    const idle = await clay.spawnClaude(IDLE_NATIVE);
    const { status, report } = await runCliJson(
      ['cleanup', '--yes', '--clay-home', clay.home, ...NO_WAITS],
      beside(`mount -t tmpfs none ${clay.userHome}/.claude`),
    );
    expect(status).toBe(0);
    const [reason] = report.processes[0]?.reasons ?? [];
    expect(reason).toMatchObject({ code: 'unverified', detail: expect.stringMatching(/\.claude is another folder/) });
    expect(idle.isAlive()).toBe(true);
  });
});

describe('Clay as PID 1 of a container, seen from the host', () => {
  test('is named in one line with the two ways that work, and its processes are left alone', async () => {
    const idle = await clay.spawnClaude(IDLE_NATIVE);
    for (const command of [['status'], ['cleanup', '--yes', '--now']]) {
      const { status, stderr } = await runCli([...command, '--min-age', '0s'], { env: { HOME: clay.userHome } });
      expect(status).toBe(4);
      expect(stderr).toMatch(new RegExp(`${clay.pid}.*container.*--pid container:.*docs/containers.md`));
    }
    expect(idle.isAlive()).toBe(true);
  });

  test('is named also beside a Clay that works, whose idle claude is ended', async () => {
    const other = await startClay({ projects: ['rest'] });
    onTestFinished(other.stop);
    const inside = await clay.spawnClaude(IDLE_NATIVE);
    const outside = await other.spawnClaude(IDLE_NATIVE);
    const { status, stderr } = await runCli(['cleanup', '--yes', ...NO_WAITS], { env: { HOME: other.userHome } });
    expect({ status, stderr }).toEqual({ status: 4, stderr: expect.stringMatching(/container/) });
    expect([inside.isAlive(), outside.isAlive()]).toEqual([true, false]);
  });
});

describe('the capabilities that docs/containers.md gives a container', () => {
  const withCapabilities = (...names: readonly string[]): CliOptions => {
    const bounding = ['-all', ...names.map((name) => `+${name}`)].join(',');
    const { via = [], env } = inside();
    return { via: [...via, 'setpriv', '--bounding-set', bounding, '--'], ...(env && { env }) };
  };

  test('are enough for Clay with OS users, and without one of them it says which is missing', async () => {
    const idle = await clay.spawnClaude({ ...IDLE_NATIVE, worker: ADA });
    const documented =
      /cap_add: \[(.*)\]/.exec(readFileSync('docs/containers.md', 'utf8'))?.[1]?.toLowerCase().split(', ') ?? [];
    expect(documented).toContain('sys_ptrace');
    const without = await runCli(['status'], withCapabilities(...documented.filter((name) => name !== 'sys_ptrace')));
    expect(without).toMatchObject({ status: 4, stderr: expect.stringMatching(/CAP_SYS_PTRACE/) });
    const { status, stderr } = await runCliJson(['cleanup', '--yes', ...NO_WAITS], withCapabilities(...documented));
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(idle.isAlive()).toBe(false);
  });
});

describe('clay-reaper run in a container', () => {
  test('needs neither systemd nor perl nor ps, and works as a child of PID 1, which is Clay', async () => {
    await clay.quit();
    const log = join(clay.directory, 'log');
    // In the PATH is what the image of Node alone has: none of the programs that others would call.
    const bin = join(clay.directory, 'bin');
    mkdirSync(bin);
    const reaper = [process.execPath, program, 'run', ...NO_WAITS, '--poll', '200ms'].join(' ');
    const joined = await startClay({
      after: clay,
      container: 'own',
      projects: ['rest'],
      alongside: `PATH=${bin} ${reaper} >${log} 2>&1`,
    });
    const idle = await joined.spawnClaude(IDLE_NATIVE);
    // Its lines are written at the end of the sweep that ended it.
    const text = await waitFor('it is logged', () =>
      [readFileSync(log, 'utf8')].find((all) => all.includes('"reaped"')),
    );
    expect(idle.isAlive()).toBe(false);
    const events = text
      .split('\n')
      .filter(Boolean)
      .map((line) => (JSON.parse(line) as { event: string }).event);
    const told = events.filter((event) => event !== 'waiting' && event !== 'watching');
    expect(told).toEqual(['started', 'clay-found', 'candidate', 'reaped']);
  });

  test('says as PID 1 that it collects no zombies; it ends what a dead Clay left behind, and stops on SIGTERM', async () => {
    await clay.quit();
    const service = startService(['--clay-home', clay.home, ...NO_WAITS, '--poll', '200ms'], {
      via: namespaceCommand('own'),
    });
    onTestFinished(async () => void (await service.stop()));
    expect(await service.logged('warning')).toMatchObject({ error: expect.stringMatching(/PID 1.*zombies.*--init/) });
    const [pid1] = childrenOf(service.pid);
    const first = identify(pid1 ?? 0);
    if (!first) throw new Error('there is no PID 1');
    const joined = await startClay({ after: clay, container: first, projects: ['rest'] });
    const parked = await joined.spawnClaude(IDLE_NATIVE);
    await service.logged('reaped', (line) => line.orphan === 'parked');
    expect(parked.isAlive()).toBe(false);

    await joined.spawnClaude({ ...IDLE, start: { outliveDaemon: true, toolShell: 'sleep 2' } });
    await joined.crash();
    await service.logged('reaped', (line) => line.orphan === 'abandoned');
    kill(first, 'SIGTERM');
    await service.logged('stopped');
  });
});
