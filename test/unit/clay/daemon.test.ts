import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { homesOfDaemon, newHomeProber, parseDaemonFile, projectFolders } from '../../../src/clay/daemon.ts';
import { noLimit, noLimits } from '../../helpers/budget.ts';
import { type FakeProc, type FakeProcess, fakeProc } from '../../helpers/fake-proc.ts';

const uid = process.getuid?.() ?? 0;
const DAEMON_JS = '/usr/lib/node_modules/clay-server/lib/daemon.js';
const parse = (file: unknown) => parseDaemonFile(JSON.stringify(file), '/home/ada/.clay/daemon.json');

describe('parseDaemonFile', () => {
  it('reads pid and projects, and no secret', () => {
    const file = {
      pid: 16_199,
      port: 2633,
      pinHash: 'secret',
      tls: true,
      debug: false,
      keepAwake: false,
      projects: [{ path: '/srv/projects/alpha', slug: 'alpha', title: null, addedAt: 1 }],
    };
    expect(parse(file)).toEqual({
      ok: true,
      value: { pid: 16_199, projects: [{ path: '/srv/projects/alpha', slug: 'alpha' }] },
    });
  });
  it('accepts a file without projects', () => {
    expect(parse({ pid: 2 })).toEqual({ ok: true, value: { pid: 2, projects: [] } });
  });
  it.each([
    ['absent', { projects: [] }],
    ['null', { pid: null, projects: [] }],
  ])('accepts a pid that is %s: Clay was stopped', (_, file) => {
    expect(parse(file)).toEqual({ ok: true, value: { pid: null, projects: [] } });
  });
  it('omits projects without a slug or a path', () => {
    const file = parse({ pid: 2, projects: [{ slug: 'a' }, { path: '/b' }, { slug: 'c', path: '/c' }, {}] });
    expect(file.ok && projectFolders(file.value)).toEqual([{ slug: 'c', path: '/c' }]);
  });
  it.each([
    ['pid 0, which kill(2) takes for the group', { pid: 0 }],
    ['the pid of all processes of a user', { pid: -1 }],
    ['a pid of none', { pid: 0 }],
    ['a pid that no kernel gives', { pid: 2 ** 22 + 1 }],
    ['half a pid', { pid: 16_199.5 }],
    ['a pid as text', { pid: '16199' }],
    ['projects that are no list', { pid: 2, projects: {} }],
    ['a project that is none', { pid: 2, projects: [5] }],
    ['a list', []],
    ['null', null],
  ])('refuses %s', (_, file) => expect(parse(file)).toMatchObject({ ok: false, failure: { code: 'invalid' } }));
  it.each(['', '{"pid":161', 'pid 16199'])('refuses %j, and names the file', (text) => {
    expect(parseDaemonFile(text, '/x/daemon.json')).toEqual({
      ok: false,
      failure: { code: 'invalid', detail: '/x/daemon.json is not JSON' },
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
  const probe = (path = home, trusted: readonly string[] = []) =>
    newHomeProber(proc.root, noLimits, trusted).probe(path);

  describe('newHomeProber', () => {
    it('finds the daemon that daemon.json names', async () => {
      daemon();
      config({ pid: 16_199, projects: [{ slug: 'alpha', path: '/srv/projects/alpha' }] });
      await listen();
      expect(probe()).toEqual({
        home,
        daemons: [
          {
            pid: 16_199,
            startTicks: 100_000,
            uid,
            home,
            socketPath: join(home, 'daemon.sock'),
            installation: { folder: '/usr/lib/node_modules/clay-server', packageName: null, release: null },
            insideTool: false,
            projects: [{ slug: 'alpha', path: '/srv/projects/alpha' }],
          },
        ],
        refusals: [],
        absentReason: null,
      });
    });
    it('finds a daemon in dev mode beside an ordinary one', async () => {
      daemon();
      daemon({ pid: 16_300 });
      config();
      config({ pid: 16_300 }, 'daemon-dev.json');
      await listen();
      await listen('daemon-dev.sock');
      expect(probe().daemons.map(({ pid, socketPath }) => [pid, socketPath])).toEqual([
        [16_199, join(home, 'daemon.sock')],
        [16_300, join(home, 'daemon-dev.sock')],
      ]);
    });
    it('finds a daemon without a socket, which will not answer', () => {
      daemon();
      config();
      expect(probe().daemons).toHaveLength(1);
    });
    it('finds nothing and refuses nothing in an empty home', () => {
      expect(probe()).toMatchObject({
        daemons: [],
        refusals: [],
        absentReason: expect.stringContaining('is not there'),
      });
    });
    it.each([
      ['does not run', () => {}],
      ['is dead', () => daemon({ state: 'Z' })],
    ])('reports a crashed daemon as absent: its process %s', (words, start) => {
      start();
      config();
      expect(probe()).toMatchObject({ daemons: [], refusals: [], absentReason: expect.stringContaining(words) });
    });

    it('does not refuse the home of a Clay that was stopped', () => {
      config({ pid: null });
      expect(probe()).toMatchObject({
        daemons: [],
        refusals: [],
        absentReason: expect.stringContaining('was stopped'),
      });
    });

    const refusals: readonly (readonly [string, () => void, RegExp])[] = [
      ['a pid that is another program’s by now', () => daemon({ cmdline: ['sshd'] }), /does not run Clay/],
      [
        'a daemon.js of something else',
        () => daemon({ cmdline: ['node', '/srv/other/lib/daemon.js'] }),
        /runs the daemon of package "other"/,
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
      const found = probe();
      expect(found).toMatchObject({ daemons: [], absentReason: null });
      expect(found.refusals).toEqual([expect.stringMatching(words)]);
    });
    it('refuses a daemon.json that is a link, a directory, or of another form', () => {
      daemon();
      config({ pid: 16_199 }, 'elsewhere.json');
      symlinkSync('elsewhere.json', join(home, 'daemon.json'));
      expect(probe().refusals).toHaveLength(1);
      rmSync(join(home, 'daemon.json'));
      mkdirSync(join(home, 'daemon.json'));
      expect(probe().refusals).toHaveLength(1);
      rmSync(join(home, 'daemon.json'), { recursive: true });
      config('{');
      expect(probe().refusals).toEqual([expect.stringContaining('is not JSON')]);
    });
    it('refuses a home that others can replace', async () => {
      daemon();
      const open = join(home, 'open');
      mkdirSync(open);
      chmodSync(open, 0o777);
      mkdirSync(join(open, 'home'));
      writeFileSync(join(open, 'home/daemon.json'), JSON.stringify({ pid: 16_199 }));
      expect(probe(join(open, 'home'))).toMatchObject({
        daemons: [],
        refusals: [expect.stringContaining('anybody may write')],
      });
    });
    it('finds a daemon beside the refused file of another daemon', async () => {
      daemon();
      config();
      config('{', 'daemon-dev.json');
      expect(probe()).toMatchObject({ daemons: [{ pid: 16_199 }], refusals: [expect.any(String)], absentReason: null });
    });
  });

  it('verifies a daemon again only if it or its daemon.json has changed', () => {
    const prober = newHomeProber(proc.root, noLimits);
    const pids = (): number[] => prober.probe(home).daemons.map(({ pid }) => pid);
    daemon();
    config();
    // File times within the last 2 s are too coarse to be trusted.
    utimesSync(join(home, 'daemon.json'), 1, 1);
    expect(pids()).toEqual([16_199]);
    daemon({ startTicks: 7, cmdline: ['sshd'] });
    expect(pids()).toEqual([]);
    daemon({ pid: 16_300 });
    config({ pid: 16_300 });
    expect(pids()).toEqual([16_300]);
  });
  it('refuses the daemon of another package, and names it and the setting that would trust it', () => {
    const folder = join(home, 'node_modules/clay-fork');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{"name":"clay-fork","version":"1.2.3"}');
    daemon({ cmdline: ['node', `${folder}/lib/daemon.js`] });
    symlinkSync('/', join(proc.root, '16199/root'));
    config();
    expect(probe().refusals).toEqual([expect.stringMatching(/"clay-fork".*\[trust\] packages = \["clay-fork"\]/)]);
    expect(probe(home, ['clay-fork']).daemons).toMatchObject([{ installation: { release: '1.2.3' } }]);
  });
  it('says that a stopped Clay names no pid', () => {
    config({ projects: [] });
    expect(probe()).toMatchObject({ daemons: [], refusals: [], absentReason: expect.stringContaining('no pid') });
  });
  it('takes socket and journals from CLAY_HOME where CLAY_CONFIG leads to another folder', () => {
    const data = join(home, 'data');
    mkdirSync(data);
    daemon({ environ: { CLAY_CONFIG: join(home, 'daemon.json'), CLAY_HOME: data } });
    config();
    expect(probe().daemons).toMatchObject([{ home: data, socketPath: join(data, 'daemon.sock') }]);
  });
  it('finds a daemon whose home is a link', () => {
    daemon();
    config();
    symlinkSync(home, `${home}-link`);
    try {
      expect(probe(`${home}-link`).daemons).toMatchObject([{ home }]);
    } finally {
      rmSync(`${home}-link`);
    }
  });

  describe('homesOfDaemon', () => {
    const homes = (environ: Readonly<Record<string, string>>): string[] => {
      daemon({ environ });
      return homesOfDaemon(proc.root, 16_199, noLimit);
    };
    it('returns CLAY_HOME, the folder of CLAY_CONFIG and ~/.clay', () => {
      expect(homes({ CLAY_HOME: '/srv/clay', CLAY_CONFIG: '/etc/clay/daemon.json', HOME: '/home/ada' })).toEqual([
        '/srv/clay',
        '/etc/clay',
        '/home/ada/.clay',
      ]);
    });
    it('returns the home of the user behind sudo before that of root', () => {
      expect(homes({ SUDO_USER: 'root', HOME: '/home/ada' })).toEqual(['/root/.clay', '/home/ada/.clay']);
      expect(homes({ SUDO_USER: 'no-such-user', HOME: '/root' })).toEqual(['/root/.clay']);
    });
    it('ignores paths that are relative or longer than any path', () => {
      expect(homes({ CLAY_HOME: 'clay', CLAY_CONFIG: `/${'x'.repeat(5000)}` })).toEqual([]);
    });
    it('returns none if the environment cannot be read', () => {
      expect(homesOfDaemon(proc.root, 999, noLimit)).toEqual([]);
    });
  });
});
