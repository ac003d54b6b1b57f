import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type Daemon,
  daemonScript,
  isWorkerOf,
  lookAtHome,
  parseDaemonFile,
  projectFolders,
} from '../../src/clay/daemon.ts';
import { readStat, type Stat } from '../../src/proc/stat.ts';
import { type FakeProc, type FakeProcess, fakeProc } from './fake-proc.ts';

const uid = process.getuid?.() ?? 0;
const DAEMON_JS = '/usr/lib/node_modules/clay-server/lib/daemon.js';
const parse = (file: unknown) => parseDaemonFile(JSON.stringify(file), '/home/ada/.clay/daemon.json');

describe('parseDaemonFile', () => {
  it('reads pid and projects, and no secret', () => {
    const file = {
      ...{ pid: 16_199, port: 2633, pinHash: 'secret', tls: true, debug: false, keepAwake: false },
      projects: [{ path: '/srv/projects/alpha', slug: 'alpha', title: null, addedAt: 1 }],
    };
    expect(parse(file)).toEqual({
      ok: true,
      value: { pid: 16_199, projects: [{ path: '/srv/projects/alpha', slug: 'alpha' }] },
    });
  });
  it('takes one without projects', () => {
    expect(parse({ pid: 2 })).toEqual({ ok: true, value: { pid: 2, projects: [] } });
  });
  it('leaves out projects that are not named in full', () => {
    const file = parse({ pid: 2, projects: [{ slug: 'a' }, { path: '/b' }, { slug: 'c', path: '/c' }, {}] });
    expect(file.ok && projectFolders(file.value)).toEqual([{ slug: 'c', path: '/c' }]);
  });
  it.each([
    ['no pid', {}],
    ['the pid of the kernel’s first process', { pid: 1 }],
    ['the pid of all processes of a user', { pid: -1 }],
    ['a pid of none', { pid: 0 }],
    ['a pid that no kernel gives', { pid: 2 ** 22 + 1 }],
    ['half a pid', { pid: 16_199.5 }],
    ['a pid as text', { pid: '16199' }],
    ['null for a pid', { pid: null }],
    ['projects that are no list', { pid: 2, projects: {} }],
    ['a project that is none', { pid: 2, projects: [5] }],
    ['a list', []],
    ['null', null],
  ])('refuses %s', (_, file) => expect(parse(file)).toMatchObject({ ok: false, failure: { why: 'odd' } }));
  it.each(['', '{"pid":161', 'pid 16199'])('refuses %j, and names the file', (text) => {
    expect(parseDaemonFile(text, '/x/daemon.json')).toEqual({
      ok: false,
      failure: { why: 'odd', detail: '/x/daemon.json is not JSON' },
    });
  });
});

describe('with files and processes', () => {
  let home: string;
  let proc: FakeProc;
  let servers: Server[];
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'clay-reaper-home-'));
    proc = fakeProc();
    servers = [];
  });
  afterEach(async () => {
    for (const server of servers) await new Promise((resolve) => server.close(resolve));
    rmSync(home, { recursive: true, force: true });
    proc.end();
  });

  const daemon = (overrides: Partial<FakeProcess> = {}): void =>
    proc.put({ pid: 16_199, comm: 'node', uid, startTicks: 100_000, cmdline: ['node', DAEMON_JS], ...overrides });
  const config = (content: unknown = { pid: 16_199 }, name = 'daemon.json'): void =>
    writeFileSync(join(home, name), typeof content === 'string' ? content : JSON.stringify(content));
  const listen = async (name = 'daemon.sock'): Promise<void> => {
    const server = createServer();
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(join(home, name), resolve));
  };
  const look = () => lookAtHome(proc.root, home);

  describe('lookAtHome', () => {
    it('finds the daemon that daemon.json names', async () => {
      daemon();
      config({ pid: 16_199, projects: [{ slug: 'alpha', path: '/srv/projects/alpha' }] });
      await listen();
      expect(look()).toEqual({
        home,
        daemons: [
          {
            ...{ pid: 16_199, startTicks: 100_000, uid, home, socketPath: join(home, 'daemon.sock') },
            libDir: '/usr/lib/node_modules/clay-server/lib',
            projects: [{ slug: 'alpha', path: '/srv/projects/alpha' }],
          },
        ],
        refusals: [],
        nothing: null,
      });
    });
    it('finds one in dev mode, too, beside an ordinary one', async () => {
      daemon();
      daemon({ pid: 16_300 });
      config();
      config({ pid: 16_300 }, 'daemon-dev.json');
      await listen();
      await listen('daemon-dev.sock');
      expect(look().daemons.map(({ pid, socketPath }) => [pid, socketPath])).toEqual([
        [16_199, join(home, 'daemon.sock')],
        [16_300, join(home, 'daemon-dev.sock')],
      ]);
    });
    it('finds one that has no socket (yet): then it will not answer', () => {
      daemon();
      config();
      expect(look().daemons).toHaveLength(1);
    });
    it('finds nothing, and has nothing to complain of, where there is none', () => {
      expect(look()).toMatchObject({ daemons: [], refusals: [], nothing: expect.stringContaining('is not there') });
    });
    it.each([
      ['does not run', () => {}],
      ['is dead', () => daemon({ state: 'Z' })],
    ])('takes the files of a crashed one for nothing: its process %s', (words, start) => {
      start();
      config();
      expect(look()).toMatchObject({ daemons: [], refusals: [], nothing: expect.stringContaining(words) });
    });

    const refusals: readonly (readonly [string, () => void, RegExp])[] = [
      ['a pid that is another program’s by now', () => daemon({ cmdline: ['sshd'] }), /does not run Clay/],
      [
        'a daemon.js of something else',
        () => daemon({ cmdline: ['node', '/srv/other/lib/daemon.js'] }),
        /does not run Clay/,
      ],
      ['a process of another user', () => daemon({ uid: uid + 1 }), /does not belong to uid/],
      ['a process in another pid namespace', () => daemon({ pids: [16_199, 7] }), /another pid namespace/],
      [
        'a socket that is none',
        () => {
          daemon();
          writeFileSync(join(home, 'daemon.sock'), '');
        },
        /not a socket/,
      ],
      [
        'a socket that is a link',
        () => {
          daemon();
          symlinkSync('/run/other.sock', join(home, 'daemon.sock'));
        },
        /not a socket/,
      ],
    ];
    it.each(refusals)('refuses %s', (_, start, words) => {
      start();
      config();
      const found = look();
      expect(found).toMatchObject({ daemons: [], nothing: null });
      expect(found.refusals).toEqual([expect.stringMatching(words)]);
    });
    it('refuses a daemon.json that is a link, a folder, or no daemon.json', () => {
      daemon();
      config({ pid: 16_199 }, 'elsewhere.json');
      symlinkSync('elsewhere.json', join(home, 'daemon.json'));
      expect(look().refusals).toHaveLength(1);
      rmSync(join(home, 'daemon.json'));
      mkdirSync(join(home, 'daemon.json'));
      expect(look().refusals).toHaveLength(1);
      rmSync(join(home, 'daemon.json'), { recursive: true });
      config('{');
      expect(look().refusals).toEqual([expect.stringContaining('is not JSON')]);
    });
    it('refuses a home that anybody could put another one in place of', async () => {
      daemon();
      const open = join(home, 'open');
      mkdirSync(open);
      chmodSync(open, 0o777);
      mkdirSync(join(open, 'home'));
      writeFileSync(join(open, 'home/daemon.json'), JSON.stringify({ pid: 16_199 }));
      expect(lookAtHome(proc.root, join(open, 'home'))).toMatchObject({
        daemons: [],
        refusals: [expect.stringContaining('anybody may write')],
      });
    });
    it('finds a daemon beside a file of another one that is refused', async () => {
      daemon();
      config();
      config('{', 'daemon-dev.json');
      expect(look()).toMatchObject({ daemons: [{ pid: 16_199 }], refusals: [expect.any(String)], nothing: null });
    });
  });

  describe('daemonScript', () => {
    const script = (cmdline: readonly string[], cwd = '/srv'): unknown => {
      proc.put({ pid: 7, cmdline, cwd });
      return daemonScript(proc.root, 7);
    };
    it.each([
      [['node', DAEMON_JS], DAEMON_JS],
      [['/usr/bin/node', '--max-old-space-size=512', DAEMON_JS, '--port', '2633'], DAEMON_JS],
      [['node', '/opt/x/../clay-server/lib/daemon.js'], '/opt/clay-server/lib/daemon.js'],
    ])('%j', (cmdline, expected) => expect(script(cmdline)).toEqual({ ok: true, value: expected }));
    it('is found from where the process works', () => {
      expect(script(['node', 'lib/daemon.js'], '/opt/clay-server')).toEqual({
        ok: true,
        value: '/opt/clay-server/lib/daemon.js',
      });
    });
    it.each([
      [['node', '/srv/other/lib/daemon.js']],
      [['node', '/opt/clay-server/lib/server.js']],
      [['node', '/opt/clay-server/lib/daemon.js.bak']],
      [['node', '/opt/clay-server/xlib/daemon.js']],
      [[DAEMON_JS]],
      [[]],
    ])('%j is none', (cmdline) => expect(script(cmdline)).toEqual({ ok: true, value: null }));
    it('in a checkout is known by its package.json, as the process sees it', () => {
      const folder = join(home, 'checkout');
      mkdirSync(folder);
      const found = (): unknown => {
        proc.put({ pid: 7, cmdline: ['node', `${folder}/lib/daemon.js`] });
        symlinkSync('/', join(proc.root, '7/root'));
        return daemonScript(proc.root, 7);
      };
      writeFileSync(join(folder, 'package.json'), '{"name":"clay-server","version":"4.8.0"}');
      expect(found()).toEqual({ ok: true, value: `${folder}/lib/daemon.js` });
      for (const content of ['{"name":"other"}', '{"name":["clay-server"]}', 'clay-server', '']) {
        writeFileSync(join(folder, 'package.json'), content);
        expect(found(), content).toEqual({ ok: true, value: null });
      }
    });
    it('says if the process is gone', () => {
      expect(daemonScript(proc.root, 7)).toMatchObject({ ok: false, failure: { why: 'gone' } });
    });
  });

  describe('isWorkerOf', () => {
    const of: Daemon = {
      ...{ pid: 16_199, startTicks: 1, uid: 0, home: '/root/.clay', socketPath: '/root/.clay/daemon.sock' },
      ...{ libDir: '/usr/lib/node_modules/clay-server/lib', projects: [] },
    };
    const worker = (overrides: Partial<FakeProcess>): boolean => {
      const cmdline = ['node', '/usr/lib/node_modules/clay-server/lib/sdk-worker.js', '/tmp/w.sock'];
      proc.put({ pid: 16_400, comm: 'node', ppid: 16_199, cmdline, ...overrides });
      const stat = readStat(proc.root, 16_400) as { value: Stat };
      return isWorkerOf(proc.root, stat.value, of);
    };
    it('is its child that runs the script beside its own', () => expect(worker({})).toBe(true));
    it.each([
      ['somebody else’s child', { ppid: 1 }],
      ['a script of another folder', { cmdline: ['node', '/home/eve/clay-server/lib/sdk-worker.js'] }],
      ['another script', { cmdline: ['node', '/usr/lib/node_modules/clay-server/lib/daemon.js'] }],
      ['a claude', { comm: 'claude', cmdline: ['claude', '', ''] }],
    ] as const)('is not %s', (_, overrides) => expect(worker(overrides)).toBe(false));
  });
});
