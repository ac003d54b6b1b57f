import { chownSync, lchownSync, renameSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { injectFault } from '../faults/interference.ts';
import { type Clay, type FakeClaude, IDLE_NATIVE, startClay, type User } from '../helpers/clay.ts';
import { type CliOptions, type LogLine, NO_WAITS, runCli, runCliJson, startService } from '../helpers/cli.ts';
import { waitFor } from '../helpers/wait-for.ts';
import {
  ADA,
  claudeProgram,
  clayScript,
  commonFolder,
  everyUsersHome,
  fileOf,
  folderOf,
  MALLORY,
  startAs,
} from './users.ts';

const ROOT: User = { uid: 0, gid: 0 };

let clay: Clay;
let idle: FakeClaude;
let waiting: FakeClaude;
let common: ReturnType<typeof commonFolder>;
/** Root's Clay behind sudo, in the home of ada; .clay and what is in it are root's. */
async function start(env: Readonly<Record<string, string>> = {}): Promise<void> {
  clay = await startClay({ sudo: ADA, projects: ['rest', 'busy'], env });
  idle = await clay.spawnClaude(IDLE_NATIVE);
  waiting = await clay.spawnClaude({ project: 'busy', shape: 'native', journal: 'permission' });
}
beforeEach(() => {
  common = commonFolder();
});
afterEach(async () => {
  await clay?.stop();
  common.remove();
});

const cleanup = (home = clay.home, options: CliOptions = {}) =>
  runCli(['cleanup', '--yes', '--now', '--clay-home', home, ...NO_WAITS], options);

async function expectRefusal(reason: RegExp, home = clay.home, options: CliOptions = {}): Promise<void> {
  const { status, stderr } = await cleanup(home, options);
  expect({ status, stderr }).toEqual({ status: 3, stderr: expect.stringMatching(reason) });
  expect([idle, waiting].map((claude) => claude.isAlive())).toEqual([true, true]);
}

describe("root's Clay behind sudo, in the home of the user who called it", () => {
  test.each([
    ['by its home', (home: string) => ['--clay-home', home], []],
    ['in the homes of all users', () => [], [ADA]],
    ['through the process table, by CLAY_CONFIG', () => [], []],
  ] as const)('is found %s; the idle claude is ended, the waiting one spared', async (_, options, users) => {
    await start();
    const userHome = dirname(clay.home);
    onTestFinished(
      everyUsersHome(
        users.map((user) => [user, userHome] as const),
        common.path,
      ),
    );
    const { status, report, stderr } = await runCliJson(
      ['cleanup', '--yes', '--now', ...options(clay.home), ...NO_WAITS],
      { env: { HOME: '/nonexistent' } },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(report.clay).toMatchObject([{ pid: clay.pid, uid: 0, home: clay.home, api: 'ok' }]);
    expect([idle, waiting].map((claude) => claude.isAlive())).toEqual([false, true]);
  });

  test('is found if .clay itself belongs to the user, and if a link of root leads to the home', async () => {
    await start();
    chownSync(clay.home, ADA.uid, ADA.gid);
    const link = join(common.path, 'link');
    symlinkSync(dirname(clay.home), link);
    const { report } = await runCliJson(['status', '--clay-home', join(link, '.clay')]);
    expect(report.clay).toMatchObject([{ pid: clay.pid, home: clay.home, api: 'ok' }]);
  });

  test.each([
    ['the home', (home: string) => dirname(home)],
    ['.clay', (home: string) => home],
  ])('is refused if %s belongs to another user', async (_, folder) => {
    await start();
    chownSync(folder(clay.home), MALLORY.uid, MALLORY.gid);
    await expectRefusal(/belongs to uid 61802/);
  });

  test('is refused if its environment names nobody', async () => {
    await start({ SUDO_UID: '' });
    await expectRefusal(/SUDO_UID in its environment is no uid/);
  });

  test('is refused if its environment names two users', async () => {
    await start({ SUDO_USER: 'root' });
    await expectRefusal(/SUDO_UID and SUDO_USER in its environment name two users, uid 61801 and uid 0/);
  });

  test('is refused if its environment names another user than the one whose home it is', async () => {
    await start({ SUDO_UID: String(MALLORY.uid) });
    await expectRefusal(/belongs to uid 61801/);
  });

  test.each([
    ['.clay', (home: string) => home],
    ['the home', (home: string) => dirname(home)],
  ])('is refused if %s is a link of the user', async (_, part) => {
    await start();
    const real = join(dirname(part(clay.home)), 'moved');
    renameSync(part(clay.home), real);
    symlinkSync(real, part(clay.home));
    lchownSync(part(clay.home), ADA.uid, ADA.gid);
    await expectRefusal(/is a symbolic link of uid 61801/);
  });

  test('is refused if .clay was exchanged for one of the user, before and while it is looked at', async () => {
    await start();
    const theirs = folderOf(ADA, join(dirname(clay.home), 'theirs'), 0o700);
    fileOf(ADA, join(theirs, 'daemon.json'), JSON.stringify({ pid: clay.pid, projects: [] }));
    const exchange = `mv ${clay.home} ${clay.home}.old && mv ${theirs} ${clay.home}`;
    const rule = { call: '^realpathSync .*/sudo-home/\\.clay$', to: 1, run: exchange } as const;
    const interference = injectFault([rule]);
    onTestFinished(interference.remove);
    await expectRefusal(/does not belong to uid 61801/, clay.home, { env: interference.env });
    expect(interference.calls().filter((call) => call.includes('daemon.sock'))).toEqual([]);
    await expectRefusal(/does not belong to uid 61801/);
  });
});

describe('what is not behind sudo', () => {
  test("is refused: a file of root's in the home of another user that names the Clay behind sudo", async () => {
    await start();
    const home = folderOf(MALLORY, join(folderOf(MALLORY, join(common.path, 'mallory')), '.clay'), 0o700);
    fileOf(ROOT, join(home, 'daemon.json'), JSON.stringify({ pid: clay.pid, projects: [] }));
    await expectRefusal(/mallory(\/\.clay)? belongs to uid 61802/, home);
  });

  /** Mallory's home with a daemon.json of root's that names a process of hers. */
  async function homeNaming(command: readonly string[]): Promise<string> {
    const folder = folderOf(MALLORY, join(common.path, 'mallory'));
    const home = folderOf(MALLORY, join(folder, '.clay'), 0o700);
    const environment = { SUDO_UID: String(MALLORY.uid), CLAY_CONFIG: join(home, 'daemon.json'), HOME: '/root' };
    const daemon = await startAs(MALLORY, [...command, clayScript(MALLORY, folder)], environment);
    onTestFinished(daemon.end);
    fileOf(ROOT, join(home, 'daemon.json'), JSON.stringify({ pid: daemon.pid, projects: [] }));
    return home;
  }

  test('is refused: a process of a user that has forged SUDO_UID', async () => {
    await start();
    const home = await homeNaming(['/bin/sh', '-c', 'while :; do sleep 3600; done', 'sh']);
    await expectRefusal(/that process does not belong to uid 0/, home);
  });

  test('is refused: a setuid program that a user has started with a forged SUDO_UID', async () => {
    await start();
    // In all four uids root's, unlike a setuid program at its start.
    claudeProgram(join(common.path, 'bin'), '/usr/bin/perl', 0o4755);
    const home = await homeNaming([join(common.path, 'bin/claude'), '-e', '$< = $>; $( = $); sleep 3600 while 1']);
    await expectRefusal(/that process runs a setuid program/, home);
  });

  test('is refused: root’s own Clay in the home of a user, without sudo', async () => {
    const own = await startClay({ projects: ['rest'] });
    onTestFinished(own.stop);
    chownSync(own.userHome, ADA.uid, ADA.gid);
    const { status, stderr } = await cleanup(own.home);
    expect({ status, stderr }).toEqual({ status: 3, stderr: expect.stringMatching(/belongs to uid 61801/) });
  });
});

describe('a home that vanishes while its Clay runs', () => {
  test.each([
    ['named', (home: string) => ['--clay-home', home]],
    ['found', () => []],
  ] as const)('is said in one line if it was %s, and nothing is ended', async (_, options) => {
    await start();
    onTestFinished(everyUsersHome([], common.path));
    renameSync(clay.home, `${clay.home}.old`);
    const { status, stderr } = await runCli(['cleanup', '--yes', '--now', ...options(clay.home), ...NO_WAITS], {
      env: { HOME: '/nonexistent' },
    });
    expect(status).toBe(4);
    expect(stderr.trim().split('\n')).toEqual([expect.stringContaining(`Clay ${clay.pid} was left alone`)]);
    expect([idle, waiting].map((claude) => claude.isAlive())).toEqual([true, true]);
  });

  test('is logged once by the service, which finds it again', async () => {
    await start();
    onTestFinished(everyUsersHome([], common.path));
    const running = startService(['--clay-home', clay.home, '--poll', '100ms']);
    onTestFinished(async () => void (await running.stop()));
    await running.logged('clay-found');
    renameSync(clay.home, `${clay.home}.old`);
    const isLost = (line: LogLine): boolean => String(line.reason).includes(`Clay ${clay.pid} was left alone`);
    await running.logged('clay-refused', isLost);
    renameSync(`${clay.home}.old`, clay.home);
    await waitFor('it is found again', () => running.log.filter(({ event }) => event === 'clay-found').length === 2);
    expect(running.log.filter(isLost)).toHaveLength(1);
  });
});
