import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Homes } from '../../../src/clay/homes.ts';
import { type Discoverer, newDiscoverer } from '../../../src/observe/discovery.ts';
import { noLimits } from '../../helpers/budget.ts';
import { type FakeProc, fakeProc } from '../../helpers/fake-proc.ts';

const uid = process.getuid?.() ?? 0;
const MINUTE = 60_000;
let proc: FakeProc;
let dir: string;
let discoverer: Discoverer;
beforeEach(() => {
  proc = fakeProc();
  dir = realpathSync(mkdtempSync(join(tmpdir(), 'clay-reaper-homes-')));
  discoverer = newDiscoverer(proc.root, noLimits);
});
afterEach(() => {
  proc.end();
  rmSync(dir, { recursive: true, force: true });
});

/** Starts a daemon in a home of that name. */
function startClay(pid: number, name: string, startTicks = 100): string {
  const home = join(dir, name);
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, 'daemon.json'), JSON.stringify({ pid, projects: [] }));
  const cmdline = ['node', '/usr/lib/node_modules/clay-server/lib/daemon.js'];
  proc.put({ pid, comm: 'node', uid, startTicks, cmdline, environ: { CLAY_HOME: home } });
  return home;
}
const leaveBehind = (pid: number, home: string): void =>
  proc.put({ pid, uid, ppid: 1, environ: { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts', CLAY_HOME: home } });

const homesAt = (...paths: string[]): Homes => ({ paths, discover: 'system', trustedPackages: [] });
const discover = (homes: Homes, atMs = 0) => discoverer.discover(() => homes, atMs);
const pidsOf = async (homes: Homes, atMs = 0): Promise<number[]> =>
  (await discover(homes, atMs)).daemons.map(({ pid }) => pid);

describe('newDiscoverer', () => {
  it('finds the daemon of a known home', async () => {
    expect(await pidsOf(homesAt(startClay(400, 'a')))).toEqual([400]);
  });
  it('finds a daemon in an unknown home through the process table', async () => {
    startClay(400, 'a');
    expect(await pidsOf(homesAt(join(dir, 'none')))).toEqual([400]);
  });
  it('finds the second Clay of a user whose first is in the usual home', async () => {
    const homes: Homes = { paths: [startClay(400, 'a')], discover: 'user', trustedPackages: [] };
    startClay(401, 'b');
    expect(await pidsOf(homes)).toEqual([400, 401]);
  });
  it('finds no daemon through the process table if only the given homes are wanted', async () => {
    startClay(400, 'a');
    expect(await pidsOf({ paths: [join(dir, 'none')], discover: 'none', trustedPackages: [] })).toEqual([]);
  });
  it('returns a daemon once that two homes lead to', async () => {
    const home = startClay(400, 'a');
    expect(await pidsOf(homesAt(home, `${home}/../a`))).toEqual([400]);
  });
  it('scans the process table every minute while no Clay runs', async () => {
    const homes = homesAt(join(dir, 'none'));
    await discover(homes, 0);
    startClay(400, 'a');
    expect(await pidsOf(homes, MINUTE - 1)).toEqual([]);
    expect(await pidsOf(homes, MINUTE)).toEqual([400]);
  });
  it('looks for abandoned processes when a daemon has gone, and when one has come', async () => {
    const home = startClay(400, 'a');
    const abandonedAt = async (atMs: number) => (await discover(homesAt(home), atMs)).abandoned.map(({ pid }) => pid);
    expect(await abandonedAt(0)).toEqual([]);
    leaveBehind(500, home);
    expect(await abandonedAt(1)).toEqual([]);
    proc.remove(400);
    expect(await abandonedAt(2)).toEqual([500]);
    leaveBehind(501, home);
    expect(await abandonedAt(3)).toEqual([500]);
    startClay(401, 'a', 200);
    expect(await abandonedAt(4)).toEqual([500, 501]);
  });
  it('ignores abandoned processes of other homes if only the given ones are wanted', async () => {
    const home = startClay(400, 'a');
    leaveBehind(500, home);
    leaveBehind(501, dir);
    const { abandoned } = await discover({ paths: [home], discover: 'none', trustedPackages: [] });
    expect(abandoned.map(({ pid }) => pid)).toEqual([500]);
  });
  it('finds within 5 minutes what has come while another Clay runs: a home in the process table, a home of a new user', async () => {
    const first = startClay(400, 'a');
    let paths = [first];
    const homes = (): Homes => ({ paths, discover: 'system', trustedPackages: [] });
    const pidsAt = async (atMs: number) => (await discoverer.discover(homes, atMs)).daemons.map(({ pid }) => pid);
    expect(await pidsAt(0)).toEqual([400]);
    startClay(401, 'srv');
    const ofNewUser = startClay(402, 'new');
    proc.put({ pid: 402, comm: 'node', uid, cmdline: ['node', '/usr/lib/node_modules/clay-server/lib/daemon.js'] });
    paths = [first, ofNewUser];
    expect(await pidsAt(MINUTE)).toEqual([400]);
    expect(await pidsAt(5 * MINUTE)).toEqual([400, 402, 401]);
  });
  it('uses other homes at once when the configuration was loaded again', async () => {
    const [first, second] = [startClay(400, 'a'), startClay(401, 'b')];
    const none = (path: string): Homes => ({ paths: [path], discover: 'none', trustedPackages: [] });
    expect(await pidsOf(none(first))).toEqual([400]);
    expect(await pidsOf(none(second), 1)).toEqual([401]);
  });
  it('drops a daemon whose home has vanished, and finds it again', async () => {
    const home = startClay(400, 'a');
    const homes = (): Homes => ({ paths: [home], discover: 'none', trustedPackages: [] });
    const pidsAt = async (atMs: number) => (await discoverer.discover(homes, atMs)).daemons.map(({ pid }) => pid);
    expect(await pidsAt(0)).toEqual([400]);
    rmSync(home, { recursive: true });
    expect(await pidsAt(1)).toEqual([]);
    startClay(400, 'a');
    expect(await pidsAt(2)).toEqual([400]);
  });
  describe('a Clay to which no home leads', () => {
    const lostAt = async (homes: Homes, atMs = 0) => (await discover(homes, atMs)).withoutHome;
    const named = (path: string): Homes => ({ paths: [path], discover: 'none', trustedPackages: [] });

    it('is named, once its daemon.json is gone, also if its home was given', async () => {
      const home = startClay(400, 'a');
      expect(await lostAt(homesAt(home))).toEqual([]);
      rmSync(home, { recursive: true });
      const lines = [expect.stringMatching(/^Clay 400 was left alone: none of its homes has a daemon\.json/)];
      expect(await lostAt(homesAt(home), 1)).toEqual(lines);
      discoverer = newDiscoverer(proc.root, noLimits);
      expect(await lostAt(named(home))).toEqual(lines);
      discoverer = newDiscoverer(proc.root, noLimits);
      expect(await lostAt(named(join(dir, 'other')))).toEqual([]);
    });
    it('is named if its environment cannot be read', async () => {
      startClay(400, 'a');
      rmSync(join(proc.root, '400/environ'));
      expect(await lostAt(homesAt(join(dir, 'none')))).toEqual([expect.stringMatching(/Clay 400 .*environment.*read/)]);
    });
    it('is found without its environment if a known home leads to it', async () => {
      const home = startClay(400, 'a');
      rmSync(join(proc.root, '400/environ'));
      expect(await discover(homesAt(home))).toMatchObject({ withoutHome: [], daemons: [{ pid: 400 }] });
    });
    it('is not named while it is a child of a daemon that has not executed its own program yet', async () => {
      const home = startClay(400, 'a');
      const cmdline = ['node', '/usr/lib/node_modules/clay-server/lib/daemon.js'];
      proc.put({ pid: 401, ppid: 400, comm: 'node', uid, startTicks: 200, cmdline, environ: { CLAY_HOME: home } });
      expect(await lostAt(homesAt(home))).toEqual([]);
    });
    it('is not named while it stops: its pid is no longer in daemon.json, and it is about to exit', async () => {
      const home = startClay(400, 'a');
      rmSync(join(home, 'daemon.json'));
      setTimeout(() => rmSync(join(proc.root, '400'), { recursive: true }), 100);
      expect(await lostAt(homesAt(home))).toEqual([]);
    });
    it('has the mounts read again after the wait for it, in which its user may have mounted something', async () => {
      const home = startClay(400, 'a');
      rmSync(join(home, 'daemon.json'));
      let forgotten = 0;
      const budgets = {
        ...noLimits,
        forgetMounts: () => {
          forgotten += 1;
        },
      };
      await newDiscoverer(proc.root, budgets).discover(() => homesAt(home), 0);
      expect(forgotten).toBe(1);
    });
    it('is not named while it starts: its daemon.json is about to be written', async () => {
      const home = startClay(400, 'a');
      rmSync(join(home, 'daemon.json'));
      setTimeout(() => startClay(400, 'a'), 100);
      expect(await discover(homesAt(home))).toMatchObject({ withoutHome: [], daemons: [{ pid: 400 }] });
    });
    it('is not named if it is refused, is gone, or only started a daemon', async () => {
      const home = startClay(400, 'a');
      const { cmdline, environ } = {
        cmdline: ['node', '/usr/lib/node_modules/clay-server/lib/daemon.js'],
        environ: { CLAY_HOME: home },
      };
      proc.put({ pid: 400, ppid: 399, comm: 'node', uid, startTicks: 100, cmdline, environ });
      proc.put({ pid: 399, comm: 'node', uid, cmdline: ['node', '/usr/bin/nodemon', ...cmdline], environ });
      expect(await discover(homesAt(home))).toMatchObject({ withoutHome: [], daemons: [{ pid: 400 }] });
      writeFileSync(join(home, 'daemon.json'), JSON.stringify({ pid: 'x' }));
      proc.remove(399);
      expect(await lostAt(homesAt(home), 1)).toEqual([]);
    });
    it('is counted only, if there are many', async () => {
      for (const pid of [400, 401, 402, 403, 404]) rmSync(startClay(pid, String(pid)), { recursive: true });
      expect(await lostAt(homesAt(join(dir, 'none')))).toHaveLength(4);
    });
  });
  it('refuses a fork that only the process table leads to, by the name of its package', async () => {
    const home = startClay(400, 'a');
    proc.put({
      pid: 400,
      comm: 'node',
      uid,
      cmdline: ['node', '/x/clay-fork/lib/daemon.js'],
      environ: { CLAY_HOME: home },
    });
    const { homes } = await discover(homesAt(join(dir, 'none')));
    expect(homes.flatMap(({ refusals }) => refusals)).toEqual([expect.stringContaining('package "clay-fork"')]);
  });
  it('hints at Clays of other users where only own ones may be looked at', async () => {
    proc.put({ pid: 400, uid: uid + 1, cmdline: ['node', '/usr/lib/node_modules/clay-server/lib/daemon.js'] });
    const { hint, searchedProcesses } = await discover({ paths: [], discover: 'user', trustedPackages: [] });
    expect(hint).toMatch(/^Clay 400 runs as .*: use sudo$/);
    expect(searchedProcesses).toBe(true);
  });
  it('names the home of a Clay that runs where none was named', async () => {
    const home = startClay(400, 'a');
    const { hint } = await discover({ paths: ['/nowhere'], discover: 'none', trustedPackages: [] });
    expect(hint).toBe(`Clay runs with the home ${home}: name it with --clay-home, or leave the option out`);
  });
  it('says that it searched no processes if homes were named', async () => {
    expect((await discover({ paths: ['/nowhere'], discover: 'none', trustedPackages: [] })).searchedProcesses).toBe(
      false,
    );
  });
});
