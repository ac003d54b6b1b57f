import { execFile, execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { injectFault, program } from '../faults/interference.ts';
import { type Clay, type FakeClaude, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { NO_WAITS, type RunningService, runCli, runCliJson, startService } from '../helpers/cli.ts';
import { childrenOf, identify, isAlive, kill, parentOf, withEnvironment } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
import {
  ADA,
  claudeProgram,
  clayScript,
  commOf,
  commonFolder,
  everyUsersHome,
  fakeClay,
  fileOf,
  folderOf,
  listenAs,
  MALLORY,
  parseClaudeEnvironment,
  saying,
  startAs,
  unchanged,
} from './users.ts';

/** Whatever is not protected is ended at once. */

let common: ReturnType<typeof commonFolder>;
let ada: { readonly clay: Clay; readonly idle: FakeClaude; readonly waiting: FakeClaude };
let homes = 0;

beforeAll(async () => {
  common = commonFolder();
  const clay = await startClay({ user: ADA, projects: ['rest', 'busy'] });
  // The first would be reaped if anybody looked at ada's home; the second never may be.
  const idle = await clay.spawnClaude(IDLE_NATIVE);
  const waiting = await clay.spawnClaude({ project: 'busy', shape: 'native', journal: 'permission' });
  ada = { clay, idle, waiting };
});
afterAll(async () => {
  await ada?.clay.stop();
  common?.remove();
});

/** A Clay home of mallory's with what she likes in its daemon.json. */
function homeOfMallory(config: unknown): string {
  homes += 1;
  const home = folderOf(MALLORY, join(folderOf(MALLORY, join(common.path, `mallory${homes}`)), '.clay'), 0o700);
  fileOf(MALLORY, join(home, 'daemon.json'), JSON.stringify(config));
  return home;
}

/** Runs the service on some homes, and ends it with the test. */
function watch(paths: readonly string[], ...more: readonly string[]): RunningService {
  const homesOf = paths.flatMap((path) => ['--clay-home', path]);
  const running = startService([...homesOf, ...NO_WAITS, '--poll', '100ms', '--log-level', 'debug', ...more]);
  onTestFinished(async () => void (await running.stop()));
  return running;
}

/** So many sweeps more, that began after now. */
async function sweeps(running: RunningService, count: number): Promise<void> {
  const done = (): number => running.log.filter((line) => line.msg === 'swept').length;
  const before = done();
  await waitFor(`${count} sweeps`, () => done() > before + count);
}

describe('daemon.json written by another user', () => {
  const named: readonly [what: string, pid: (reaper: RunningService) => unknown, reason: RegExp][] = [
    ["ada's Clay", () => ada.clay.pid, /does not belong to uid 61802/],
    ["ada's claude", () => ada.idle.pid, /does not belong to uid 61802/],
    ['PID 1', () => 1, /does not belong to uid 61802/],
    ['clay-reaper itself', (running) => running.pid, /does not belong to uid 61802/],
    ['2^31', () => 2 ** 31, /not as expected \(pid\)/],
    ['-1, which kill(2) takes for everybody', () => -1, /not as expected \(pid\)/],
    ['0, which kill(2) takes for the group', () => 0, /not as expected \(pid\)/],
    ['"1; rm"', () => '1; rm', /not as expected \(pid\)/],
    ['a fraction', (running) => running.pid + 0.5, /not as expected \(pid\)/],
    ['a list', () => [ada.clay.pid], /not as expected \(pid\)/],
  ];

  test.each(named)('is refused with a reason if it names %s', async (_, pid, reason) => {
    const home = homeOfMallory('nothing yet');
    const running = watch([home]);
    await running.logged('started');
    const config = { pid: pid(running), projects: [] };
    fileOf(MALLORY, join(home, 'daemon.json'), JSON.stringify(config));
    await running.logged('clay-refused', (line) => line.home === home && reason.test(String(line.reason)));
    await sweeps(running, 3);
    expect(running.log.filter((line) => line.event === 'clay-found')).toEqual([]);
    expect([ada.clay, ada.idle, ada.waiting].map(isAlive)).toEqual([true, true, true]);
    expect(isAlive(identify(running.pid) ?? { pid: 0, startTicks: 0 })).toBe(true);
  });

  test('is ignored, with a message, if no process has its pid', async () => {
    const home = homeOfMallory({ pid: 2 ** 22 - 1 });
    const waiting = await watch([home]).logged('waiting');
    expect(waiting.msg).toMatch(/names pid 4194303, which does not run/);
    const { status, stderr } = await runCli(['cleanup', '--yes', '--clay-home', home, ...NO_WAITS]);
    expect(status).toBe(3);
    expect(stderr).toMatch(/names pid 4194303, which does not run/);
  });

  test('is that of a stopped Clay if it names no pid', async () => {
    const waiting = await watch([homeOfMallory({ pid: null })]).logged('waiting');
    expect(waiting.msg).toMatch(/names no pid: that Clay was stopped/);
  });

  test("is refused with exit status 3 if it names another user's shell", async () => {
    const shell = await startAs(ADA, ['/bin/sh', '-c', 'while :; do sleep 3600; done']);
    onTestFinished(shell.end);
    const home = homeOfMallory({ pid: shell.pid });
    const { status, stderr } = await runCli(['cleanup', '--yes', '--clay-home', home, ...NO_WAITS]);
    expect(status).toBe(3);
    expect(stderr).toMatch(/does not belong to uid 61802/);
    expect(shell.isAlive()).toBe(true);
  });

  test("is refused if root owns it in a user's home", async () => {
    const home = homeOfMallory({ pid: ada.clay.pid });
    fileOf({ uid: 0, gid: 0 }, join(home, 'daemon.json'), JSON.stringify({ pid: ada.clay.pid }), 0o644);
    const { status, stderr } = await runCli(['cleanup', '--yes', '--clay-home', home, ...NO_WAITS]);
    expect(status).toBe(3);
    expect(stderr).toMatch(/that process does not belong to uid 0/);
  });
});

describe('Clay of another user', () => {
  test("is refused if its home and socket claim a victim's pid", async () => {
    const home = homeOfMallory({ pid: ada.clay.pid, projects: [] });
    const socket = await listenAs(MALLORY, join(home, 'daemon.sock'), saying(unchanged(ada.clay.pid)));
    onTestFinished(socket.close);
    const { status, stderr } = await runCli(['cleanup', '--yes', '--now', '--clay-home', home, ...NO_WAITS]);
    expect(status).toBe(3);
    expect(stderr).toMatch(/does not belong to uid 61802/);
    expect(socket.connections()).toBe(0);
    expect([ada.idle, ada.waiting].map(isAlive)).toEqual([true, true]);
  });

  test('is resolved once if its home is a link, and a later change of the link has no effect', async () => {
    // Hers: everything at rest, and no conversation known.
    const hers = homeOfMallory({ pid: ada.clay.pid, projects: [] });
    folderOf(MALLORY, join(hers, 'sessions'));
    const socket = await listenAs(MALLORY, join(hers, 'daemon.sock'), saying(unchanged(ada.clay.pid)));
    onTestFinished(socket.close);
    const link = join(common.path, 'mallory-link');
    const turn = (target: string): void => {
      symlinkSync(target, `${link}.new`);
      renameSync(`${link}.new`, link);
    };
    turn(ada.clay.home);
    // In the worst moment: right after the check of the socket, and right before the next check of the home.
    const swap = (target: string): string => `ln -s ${target} ${link}.new && mv -T ${link}.new ${link}`;
    const rules = [
      { call: '^lstatSync .*/daemon\\.sock$', when: 'after', run: swap(hers) },
      { call: '^(lstatSync|realpathSync) (.*/daemon\\.json|.*mallory-link)$', run: swap(ada.clay.home) },
    ] as const;
    const interference = injectFault(rules);
    onTestFinished(interference.remove);
    const { report } = await runCliJson(['cleanup', '--yes', '--now', '--clay-home', link, ...NO_WAITS], {
      env: { ...interference.env, CLAY_REAPER_PROTECT_PROJECTS: 'rest' },
    });
    expect(interference.calls().filter((call) => call.endsWith('/daemon.sock'))).not.toEqual([]);
    expect(ada.waiting.isAlive()).toBe(true);
    expect(socket.connections()).toBe(0);
    expect(report.clay).toMatchObject([{ pid: ada.clay.pid, home: ada.clay.home, api: 'ok' }]);
  });

  test('is refused if a parent directory of its home is writable by others', async () => {
    // Ada's own files, in a folder of hers, below one that mallory can put another in the place of.
    const open = folderOf(ADA, join(folderOf(MALLORY, join(common.path, 'market')), 'stall'));
    fileOf(ADA, join(open, 'daemon.json'), JSON.stringify({ pid: ada.clay.pid }));
    const anybodys = folderOf(ADA, join(common.path, 'anybodys'), 0o777);
    fileOf(ADA, join(anybodys, 'daemon.json'), JSON.stringify({ pid: ada.clay.pid }));
    const { status, stderr } = await runCli(['cleanup', '--yes', '--clay-home', open, '--clay-home', anybodys]);
    expect(status).toBe(3);
    expect(stderr).toMatch(/market belongs to uid 61802/);
    expect(stderr).toMatch(/anybody may write to .*anybodys/);
  });

  /** A Clay of mallory's that passes for one: process, daemon.json and socket are hers. */
  async function clayOfMallory(
    children: readonly string[],
    status: (pid: number) => Record<string, unknown> = unchanged,
  ) {
    homes += 1;
    const folder = folderOf(MALLORY, join(common.path, `mallory${homes}`));
    const claude = claudeProgram(join(folder, 'bin'));
    const commands = children.map((command) => command.replaceAll('CLAUDE', claude));
    const clay = await fakeClay(MALLORY, folder, commands, (pid) => saying(status(pid)));
    onTestFinished(clay.end);
    return { ...clay, children: clay.daemon.claudes };
  }

  test('control: has its own idle processes ended', async () => {
    const { home, children } = await clayOfMallory(['exec CLAUDE 86400']);
    const { status, report } = await runCliJson(['cleanup', '--yes', '--now', '--clay-home', home, ...NO_WAITS]);
    expect(status).toBe(0);
    expect(report.processes).toMatchObject([{ pid: children[0]?.pid, uid: MALLORY.uid, outcome: 'terminated' }]);
    expect(children.map(isAlive)).toEqual([false]);
  });

  test("counts as unreachable if it answers with a victim's pid", async () => {
    const { home, children } = await clayOfMallory(['exec CLAUDE 86400'], () => unchanged(ada.clay.pid));
    const { status, report } = await runCliJson(['cleanup', '--yes', '--now', '--clay-home', home, ...NO_WAITS]);
    expect(status).toBe(4);
    expect(report.clay).toMatchObject([{ api: 'unreachable', apiError: expect.stringContaining('answers, not') }]);
    expect(children.map(isAlive)).toEqual([true]);
  });

  test("cannot mark a victim's project as idle", async () => {
    const busy = [{ slug: 'busy', path: ada.clay.projectPath('busy') }];
    const { home } = await clayOfMallory([], (pid) => unchanged(pid, busy));
    const restore = everyUsersHome(
      [
        [MALLORY, join(home, '..')],
        [ADA, ada.clay.userHome],
      ],
      common.path,
    );
    onTestFinished(restore);
    const { report } = await runCliJson(['cleanup', '--yes', '--now', ...NO_WAITS], {
      env: { HOME: '/nonexistent', CLAY_REAPER_PROTECT_PROJECTS: 'rest' },
    });
    expect(report.clay.map((daemon) => daemon.uid).sort()).toEqual([ADA.uid, MALLORY.uid]);
    expect(report.processes.find((process) => process.pid === ada.waiting.pid)).toMatchObject({
      verdict: 'protected',
      reasons: [{ code: 'turn' }, { code: 'processing' }],
    });
    expect(ada.waiting.isAlive()).toBe(true);
  });

  test("cannot supersede a victim's process by claiming its session id", async () => {
    const parked = await ada.clay.spawnClaude({ project: 'rest', shape: 'native', idleSeconds: 60 });
    const { home, folder, children } = await clayOfMallory(['exec CLAUDE 86400']);
    const [claude] = children;
    folderOf(MALLORY, join(folder, '.claude'));
    folderOf(MALLORY, join(folder, '.claude', 'sessions'));
    const session = { pid: claude?.pid, sessionId: parked.sessionId, startedAt: Date.now() - 86_400_000 };
    fileOf(MALLORY, join(folder, '.claude', 'sessions', `${claude?.pid}.json`), JSON.stringify(session));
    const homesOf = ['--clay-home', home, '--clay-home', ada.clay.home];
    const { report } = await runCliJson([
      'status',
      ...homesOf,
      '--min-age',
      '0s',
      '--parked-after',
      '1h',
      '--grace',
      '0s',
    ]);
    const verdicts = new Map(report.processes.map((process) => [process.pid, process]));
    expect(verdicts.get(claude?.pid ?? 0)).toMatchObject({ sessionId: parked.sessionId });
    expect(verdicts.get(parked.pid)).toMatchObject({ verdict: 'grace', orphan: 'parked' });
  });

  test('cannot have a setuid or root process named claude ended', async () => {
    // Effective root with mallory's real uid, and root in all four.
    const setuid = claudeProgram(join(common.path, 'setuid'), '/usr/bin/setpriv', 0o4755);
    const sleep = claudeProgram(join(common.path, 'plain'));
    const { home, children } = await clayOfMallory([
      `exec ${claudeProgram(join(common.path, 'sleeper'), '/bin/sleep', 0o4755)} 86400`,
      `exec ${setuid} --reuid 0 --regid 0 --clear-groups ${sleep} 86400`,
    ]);
    await waitFor('root has taken over', () => children.map(({ pid }) => uids(pid)).join() === '61802 0 0 0,0 0 0 0');
    const { report } = await runCliJson(['cleanup', '--yes', '--now', '--clay-home', home, ...NO_WAITS]);
    expect(report.processes).toHaveLength(2);
    for (const process of report.processes) {
      expect(process).toMatchObject({ verdict: 'protected', reasons: [{ code: 'unverified' }] });
      expect(process.reasons[0]?.detail).toContain('does not run under uid 61802');
    }
    expect(children.map(isAlive)).toEqual([true, true]);
  });

  test('cannot have a root program killed that its claude becomes on SIGTERM', async () => {
    const setuid = claudeProgram(join(common.path, 'sudo'), '/usr/bin/setpriv', 0o4755);
    const sleep = claudeProgram(join(common.path, 'roots'));
    const shell = claudeProgram(join(common.path, 'shell'), '/bin/sh');
    const becomeRoot = `exec ${setuid} --reuid 0 --regid 0 --clear-groups ${sleep} 86400`;
    // Ready only when the trap is set: it is named claude from then on.
    const waiting = `exec ${shell} -c 'trap "${becomeRoot}" TERM; while :; do read line <${join(common.path, 'never')}; done'`;
    execFileSync('mkfifo', ['-m', '666', join(common.path, 'never')]);
    const { home, children } = await clayOfMallory([waiting]);
    const [claude] = children;
    const args = ['cleanup', '--yes', '--now', '--clay-home', home, '--kill-after', '1s', ...NO_WAITS];
    const { report } = await runCliJson(args);
    expect(uids(claude?.pid ?? 0)).toBe('0 0 0 0');
    expect(children.map(isAlive)).toEqual([true]);
    expect(report.processes).toMatchObject([{ outcome: 'spared' }]);
  });

  test('cannot have a setuid descendant of a killed claude ended', async () => {
    const shell = claudeProgram(join(common.path, 'shell-with-child'), '/bin/sh');
    const sleeper = claudeProgram(join(common.path, 'setuid-child'), '/bin/sleep', 0o4755);
    const { home, children } = await clayOfMallory([`exec ${shell} -c 'trap "" TERM; ${sleeper} 86400 & wait'`]);
    const pid = children[0]?.pid ?? 0;
    await waitFor('its child is root', () => childrenOf(pid).some((child) => uids(child) === '61802 0 0 0'));
    const [left] = childrenOf(pid).map(identify);
    onTestFinished(() => void (left && kill(left)));
    const args = ['cleanup', '--yes', '--now', '--clay-home', home, '--kill-after', '100ms', ...NO_WAITS];
    const { report } = await runCliJson(args);
    expect(report.processes).toMatchObject([{ outcome: 'killed' }]);
    expect(left && isAlive(left)).toBe(true);
  });

  test('spares a claude that becomes another program on SIGTERM', async () => {
    const shell = claudeProgram(join(common.path, 'shell-to-leave'), '/bin/sh');
    const never = join(common.path, 'never-written');
    execFileSync('mkfifo', ['-m', '666', never]);
    const waiting = `exec ${shell} -c 'trap "exec sleep 86400" TERM; while :; do read line <${never}; done'`;
    const { home, children } = await clayOfMallory([waiting]);
    const args = ['cleanup', '--yes', '--now', '--clay-home', home, '--kill-after', '1s', ...NO_WAITS];
    const { report } = await runCliJson(args);
    expect(children.map(({ pid }) => commOf(pid))).toEqual(['sleep']);
    expect(children.map(isAlive)).toEqual([true]);
    expect(report.processes).toMatchObject([{ outcome: 'spared' }]);
  });

  test.each([
    ['before it is opened', '^lstatSync SOCKET$', 0],
    // What was opened is what is connected to, wherever the path leads by then.
    ['before it is connected to', '^openSync SOCKET$', 1],
  ])('does not follow a socket replaced by a link right %s', async (_, call, connections) => {
    const { home, socket: hers } = await clayOfMallory([]);
    const roots = await listenAs({ uid: 0, gid: 0 }, join(common.path, `roots${homes}.sock`), saying({ ok: true }));
    onTestFinished(roots.close);
    const path = join(home, 'daemon.sock');
    const swap = `ln -sf ${join(common.path, `roots${homes}.sock`)} ${path}`;
    const rule = { call: call.replace('SOCKET', path), from: 1, to: 1, when: 'after', run: swap } as const;
    const interference = injectFault([rule]);
    onTestFinished(interference.remove);
    const { report, stderr } = await runCliJson(['status', '--clay-home', home], { env: interference.env });
    expect(readlinkSync(path)).toContain('roots');
    expect(roots.connections()).toBe(0);
    expect(hers.connections()).toBe(connections);
    // At the second sample of its CPU use the home is probed again, and the link is refused.
    expect(report.clay).toEqual([]);
    expect(stderr).toContain('daemon.sock is not a socket');
  });

  test('spares a claude that becomes another program right before the recheck', async () => {
    const shell = claudeProgram(join(common.path, 'editor'), '/bin/sh');
    const never = join(common.path, 'nothing');
    execFileSync('mkfifo', ['-m', '666', never]);
    const program = `trap "exec sleep 86400" USR1; while :; do read line <${never}; done`;
    const { home, children } = await clayOfMallory([`exec ${shell} -c '${program}'`]);
    const [claude] = children;
    // Its Clay is asked for the third time when its processes are about to be ended.
    const become = `kill -USR1 ${claude?.pid}; for n in $(seq 500); do [ "$(cat /proc/${claude?.pid}/comm)" = sleep ] && exit; sleep 0.01; done; exit 1`;
    const interference = injectFault([{ call: `^openSync ${home}/daemon.sock$`, from: 3, to: 3, run: become }]);
    onTestFinished(interference.remove);
    const { report } = await runCliJson(['cleanup', '--yes', '--now', '--clay-home', home, ...NO_WAITS], {
      env: interference.env,
    });
    expect(report.processes).toMatchObject([{ outcome: 'spared' }]);
    expect(children.map(isAlive)).toEqual([true]);
  });

  test('is refused if it runs in another pid namespace', async () => {
    const home = homeOfMallory('nothing yet');
    const script = clayScript(MALLORY, join(home, '..'));
    const inside = `exec setpriv --reuid ${MALLORY.uid} --regid ${MALLORY.gid} --clear-groups sh -c 'sleep 86400; :' sh ${script}`;
    const outside = await startAs({ uid: 0, gid: 0 }, [
      'unshare',
      '--pid',
      '--fork',
      '--kill-child',
      'sh',
      '-c',
      inside,
    ]);
    onTestFinished(outside.end);
    const daemon = await waitFor('the daemon runs', () =>
      childrenOf(outside.pid).find((pid) => uids(pid) === '61802 61802 61802 61802'),
    );
    // A change of the uid takes back what --kill-child has ordered (prctl(2), PR_SET_PDEATHSIG).
    const inner = identify(daemon);
    onTestFinished(() => {
      if (inner) kill(inner);
    });
    fileOf(MALLORY, join(home, 'daemon.json'), JSON.stringify({ pid: daemon }));
    const { status, stderr } = await runCli(['cleanup', '--yes', '--clay-home', home, ...NO_WAITS]);
    expect(status).toBe(3);
    expect(stderr).toMatch(/lives in another pid namespace/);
  });

  test("an abandoned claude that names another user's home, or whose Clay is alive, is no candidate", async () => {
    const claude = claudeProgram(join(common.path, 'leftover'));
    const environment = parseClaudeEnvironment('/nonexistent', ada.clay.home);
    // Its parent ends at once, so PID 1 gets it.
    await startAs(MALLORY, ['/bin/sh', '-c', `${claude} 4242 & exit`], environment);
    const orphan = await waitFor('it is handed on', () =>
      withEnvironment('CLAUDE_CODE_ENTRYPOINT=sdk-ts').find(
        ({ pid }) => commOf(pid) === 'claude' && parentOf(pid) === 1,
      ),
    );
    onTestFinished(() => kill(orphan));
    const { report } = await runCliJson(['cleanup', '--yes', '--now', ...NO_WAITS], {
      env: { HOME: '/nonexistent', CLAY_REAPER_PROTECT_PROJECTS: 'rest' },
    });
    expect(report.processes.map((process) => process.pid)).not.toContain(orphan.pid);
    expect(isAlive(orphan)).toBe(true);
  });
});

describe('clay-reaper in a pid namespace', () => {
  test('refuses to use the /proc of another pid namespace', async () => {
    const inside = [process.execPath, program, 'cleanup', '--yes', '--now', '--clay-home', ada.clay.home, ...NO_WAITS];
    const finished = await new Promise<{ status: number | null; stderr: string }>((resolve) => {
      const args = ['--pid', '--fork', '--kill-child', ...inside];
      const child = execFile('unshare', args, { env: { PATH: process.env.PATH } }, (_, __, stderr) =>
        resolve({ status: child.exitCode, stderr }),
      );
    });
    expect(finished.status).toBe(2);
    expect(finished.stderr).toMatch(/pid namespace/);
    expect(ada.idle.isAlive()).toBe(true);
  });
});

/** Real, effective, saved and file system uid of a process. */
function uids(pid: number): string {
  try {
    return /^Uid:\t(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]?.replaceAll('\t', ' ') ?? '';
  } catch {
    return '';
  }
}

describe('root without CAP_SYS_PTRACE', () => {
  test('names the capability instead of calling the daemon something else', async () => {
    const args = ['--bounding-set=-sys_ptrace', process.execPath, program, 'status', '--clay-home', ada.clay.home];
    const { stderr } = await new Promise<{ stderr: string }>((resolve) =>
      execFile('setpriv', args, (_error, _stdout, text) => resolve({ stderr: text })),
    );
    expect(stderr).toContain('CAP_SYS_PTRACE');
    expect(stderr).not.toContain("does not run Clay's daemon");
  });
});
