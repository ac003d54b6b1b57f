import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isReparented, scanProcesses } from '../../../src/observe/process-scan.ts';
import { readStat } from '../../../src/proc/stat.ts';
import { noLimits } from '../../helpers/budget.ts';
import { type FakeProc, type FakeProcess, fakeProc } from '../../helpers/fake-proc.ts';

const uid = process.getuid?.() ?? 0;
let proc: FakeProc;
let home: string;
beforeEach(() => {
  proc = fakeProc();
  home = mkdtempSync(join(tmpdir(), 'clay-reaper-home-'));
  mkdirSync(join(home, '.clay'));
});
afterEach(() => {
  proc.end();
  rmSync(home, { recursive: true, force: true });
});

describe('scanProcesses', () => {
  const DAEMON = ['/usr/bin/node', '/usr/lib/node_modules/clay-server/lib/daemon.js'];
  const scan = async (onlyOwn = false) => {
    const found = await scanProcesses(proc.root, {
      onlyOwn,
      findDaemon: false,
      trustedPackages: [],
      budgets: noLimits,
    });
    return { ...found, homes: found.daemons.flatMap((daemon) => daemon.homes) };
  };
  const putAbandoned = (overrides: Partial<FakeProcess> = {}): void =>
    proc.put({
      pid: 500,
      uid,
      ppid: 1,
      startTicks: 77,
      environ: { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts', CLAY_HOME: join(home, '.clay') },
      ...overrides,
    });

  it.each([
    ['CLAY_HOME', { CLAY_HOME: '/srv/clay', HOME: '/home/ada' }, ['/srv/clay', '/home/ada/.clay']],
    [
      'the folder of CLAY_CONFIG',
      { CLAY_CONFIG: '/srv/etc/daemon.json', HOME: '/home/ada' },
      ['/srv/etc', '/home/ada/.clay'],
    ],
    ['HOME', { HOME: '/home/ada' }, ['/home/ada/.clay']],
  ])('finds the home of a running daemon by %s', async (_, environ, expected) => {
    proc.put({ pid: 400, comm: 'node', uid, cmdline: DAEMON, environ });
    expect(await scan()).toMatchObject({ homes: expected, problem: null });
  });
  it.each([
    ['/usr/lib/node_modules/clay-server/bin/cli.js', '--debug', '-p', '2633'],
    ['/opt/node_modules/clay-server/bin/cli.js', '--no-https', '--debug'],
  ])('finds the home of a daemon in the foreground: %s %s', async (...cmdline) => {
    proc.put({ pid: 400, comm: 'node', uid, cmdline: ['node', ...cmdline], environ: { HOME: '/home/ada' } });
    expect((await scan()).homes).toEqual(['/home/ada/.clay']);
  });
  it.each([
    ['node', true],
    ['bun', true],
    ['nodejs', true],
    ['vim.basic', false],
    ['strace', false],
  ])('tells whether what runs daemon.js is a runtime: %s', async (program, isClay) => {
    proc.put({ pid: 400, ppid: 1, comm: 'x', uid, cmdline: DAEMON, environ: { HOME: '/home/ada' } });
    symlinkSync(`/usr/bin/${program}`, join(proc.root, '400/exe'));
    expect((await scan()).daemons).toEqual([{ pid: 400, ppid: 1, homes: ['/home/ada/.clay'], isClay }]);
  });
  it('ignores other command line tools', async () => {
    const environ = { HOME: '/home/ada' };
    proc.put({ pid: 400, comm: 'node', uid, cmdline: ['node', '/x/clay-server/bin/cli.js', '--restart'], environ });
    proc.put({ pid: 401, comm: 'node', uid, cmdline: ['node', '/x/debugger.js', '--debug'], environ });
    expect((await scan()).homes).toEqual([]);
  });
  it('finds the home of a daemon.js of another package too: probing the home refuses it by name', async () => {
    proc.put({ pid: 400, comm: 'node', uid, cmdline: ['node', '/srv/other/lib/daemon.js'], environ: { HOME: '/h' } });
    expect((await scan()).homes).toEqual(['/h/.clay']);
  });
  it('ignores a daemon.js of another package in a container', async () => {
    proc.put({ pid: 400, pids: [400, 1], comm: 'node', uid, cmdline: ['node', '/srv/other/lib/daemon.js'] });
    expect(await scan()).toMatchObject({ homes: [], inContainers: null });
  });
  it('finds a claude that its dead Clay left behind', async () => {
    putAbandoned();
    expect((await scan()).abandoned).toEqual([{ pid: 500, startTicks: 77, uid, home: join(home, '.clay') }]);
  });
  it.each([
    ['has a living parent', { ppid: 499 }],
    ['is dead', { state: 'Z' }],
    ['the Agent SDK did not start', { environ: { CLAUDE_CODE_ENTRYPOINT: 'cli', CLAY_HOME: '/' } }],
    ['names no Clay home', { environ: { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts' } }],
    ['names a folder that is not there', { environ: { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts', CLAY_HOME: '/no/such' } }],
  ])('ignores a claude that %s', async (_, overrides) => {
    proc.put({ pid: 499, comm: 'node' });
    putAbandoned(overrides);
    expect((await scan()).abandoned).toEqual([]);
  });
  it.each([
    ['an MCP server, which inherits its environment', { comm: 'node' }],
    [
      'a program that one of its tools has started',
      { environ: { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts', CLAUDECODE: '1', CLAY_HOME: '/tmp' } },
    ],
  ])('ignores %s and outlived its Clay', async (_, overrides) => {
    const CLAY_HOME = join(home, '.clay');
    const environ = {
      CLAUDE_CODE_ENTRYPOINT: 'sdk-ts',
      HOME: home,
      ...('environ' in overrides ? overrides.environ : {}),
      CLAY_HOME,
    };
    putAbandoned({ ...overrides, environ });
    expect((await scan()).abandoned).toEqual([]);
  });
  it('finds an abandoned claude of another name by its session file', async () => {
    mkdirSync(join(home, '.claude/sessions'), { recursive: true });
    writeFileSync(join(home, '.claude/sessions/500.json'), '{}');
    const environ = { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts', HOME: home, CLAY_HOME: join(home, '.clay') };
    putAbandoned({ comm: '2.1.141', environ });
    expect((await scan()).abandoned).toMatchObject([{ pid: 500 }]);
  });
  describe('a claude of root whose dead Clay was started through sudo', () => {
    const OWNER = uid === 0 ? 61_803 : uid;
    const put = (environ: Readonly<Record<string, string>>): void => {
      if (uid === 0) chownSync(join(home, '.clay'), OWNER, OWNER);
      const CLAY_CONFIG = join(home, '.clay/daemon.json');
      putAbandoned({ uid: 0, environ: { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts', CLAY_CONFIG, ...environ } });
    };
    it('is found in the folder of the user whom its environment names', async () => {
      put({ SUDO_UID: String(OWNER) });
      expect((await scan()).abandoned).toMatchObject([{ pid: 500, uid: 0, home: join(home, '.clay') }]);
    });
    it.each([
      ['names no user', {}],
      ['names another user', { SUDO_UID: String(OWNER + 1) }],
    ])('is ignored if its environment %s', async (_, environ) => {
      put(environ);
      expect((await scan()).abandoned).toEqual([]);
    });
    it('is ignored if it runs a setuid program, whose environment its user chose', async () => {
      put({ SUDO_UID: String(OWNER) });
      const program = join(home, 'claude');
      writeFileSync(program, '');
      chmodSync(program, 0o4755);
      symlinkSync(program, join(proc.root, '500/exe'));
      expect((await scan()).abandoned).toEqual([]);
    });
  });
  it('names the Clay of a container and the two ways that work', async () => {
    proc.put({ pid: 400, pids: [400, 1], comm: 'node', uid, cmdline: DAEMON, environ: { HOME: '/root' } });
    expect(await scan()).toMatchObject({
      homes: [],
      inContainers: expect.stringMatching(/^Clay 400 .*container.*run clay-reaper in that container.*--pid container:/),
    });
  });
  it('ignores a claude that names the folder of another user', async () => {
    putAbandoned({ uid: uid + 1 });
    expect((await scan()).abandoned).toEqual([]);
  });
  it('lists daemons of other users apart when only own processes are wanted', async () => {
    proc.put({ pid: 400, comm: 'node', uid: uid + 1, cmdline: DAEMON, environ: { HOME: '/home/eve' } });
    expect(await scan(true)).toMatchObject({ homes: [], foreignDaemons: [400] });
    expect(await scan()).toMatchObject({ homes: ['/home/eve/.clay'], foreignDaemons: [] });
  });
  it('says why the process table cannot be read', async () => {
    proc.end();
    expect((await scan()).problem).toContain(proc.root);
  });
});

describe('isReparented', () => {
  const reparented = (ppid: number): boolean => {
    proc.put({ pid: 101, ppid });
    const stat = readStat(proc.root, 101);
    return stat.ok && isReparented(proc.root, stat.value);
  };
  it('is true below PID 1 and below the service manager of a user', () => {
    proc.put({ pid: 900, comm: 'systemd', ppid: 1 });
    expect([reparented(1), reparented(900)]).toEqual([true, true]);
  });
  it('is false for a child in the session of PID 1, which may be Clay in a container', () => {
    proc.put({ pid: 1, comm: 'node', ppid: 0, session: 16_199 });
    expect(reparented(1)).toBe(false);
    proc.put({ pid: 1, comm: 'init', ppid: 0, session: 1 });
    expect(reparented(1)).toBe(true);
  });
  it('is false if PID 1 cannot be read, and true if it is hidden (hidepid)', () => {
    proc.put({ pid: 1 });
    proc.write('1/stat', 'garbage');
    expect(reparented(1)).toBe(false);
    proc.remove(1);
    expect(reparented(1)).toBe(true);
  });
  it('is false while the parent lives, or if the parent cannot be read', () => {
    proc.put({ pid: 901, comm: 'node', ppid: 1 });
    proc.put({ pid: 902, comm: 'systemd-journal', ppid: 1 });
    expect([reparented(901), reparented(902), reparented(999)]).toEqual([false, false, false]);
  });
});
