import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIssues } from '../../../src/observe/issues.ts';
import { newProcessCache, type ProcessCache } from '../../../src/observe/process-cache.ts';
import type { Stat } from '../../../src/proc/stat.ts';
import { noLimit } from '../../helpers/budget.ts';
import { type FakeProc, type FakeProcess, fakeProc } from '../../helpers/fake-proc.ts';

const PID = 100;
let proc: FakeProc;
let cache: ProcessCache;
beforeEach(() => {
  proc = fakeProc();
  cache = newProcessCache(proc.root);
  put();
});
afterEach(() => proc.end());

/** Writes the process as the kernel would show it after it has run `runs` times. */
function put(overrides: Partial<FakeProcess> = {}, runs = 1): void {
  proc.put({ pid: PID, startTicks: 5, cwd: '/first', environ: { HOME: '/h' }, ...overrides });
  proc.write(`${PID}/schedstat`, `1000 0 ${runs}\n`);
}
/** Changes what a reading would see, without a run of the process. */
function changeCwd(): void {
  rmSync(join(proc.root, `${PID}/cwd`));
  symlinkSync('/second', join(proc.root, `${PID}/cwd`));
}
function statOf(from = cache): Stat {
  const stat = from.readStat(PID);
  if (!stat.ok) throw new Error(stat.failure.detail);
  return stat.value;
}
/** One sweep: reads the process as the collector of the evidence does. */
function sweep(from = cache): string | null {
  const stat = statOf(from);
  from.readEnvironment(stat, noLimit);
  return from.readState(stat, null, noLimit, newIssues()).cwd;
}

describe('newProcessCache', () => {
  it('keeps the readers of a project folder while they are used, and for users who were left alone', () => {
    const uid = noLimit.uid;
    const readers = cache.projectFiles('/p', null, uid);
    cache.keepOnly(new Set(), () => true);
    expect(cache.projectFiles('/p', null, uid)).toBe(readers);
    cache.keepOnly(new Set(), () => true);
    cache.keepOnly(new Set(), () => false);
    expect(cache.projectFiles('/p', null, uid)).toBe(readers);
    cache.keepOnly(new Set(), () => true);
    // A recheck has a cache of its own.
    sweep();
    cache.forRecheck(statOf()).keepOnly(new Set(), () => true);
    expect(cache.projectFiles('/p', null, uid)).toBe(readers);
    cache.keepOnly(new Set(), () => true);
    cache.keepOnly(new Set(), () => true);
    expect(cache.projectFiles('/p', null, uid)).not.toBe(readers);
  });
  it('looks for the session file of a process until there is one, and again for another program', () => {
    const folder = join(proc.root, 'config');
    put({ environ: { CLAUDE_CONFIG_DIR: folder } });
    expect(cache.hasSessionFile(statOf(), noLimit)).toBe(false);
    mkdirSync(join(folder, 'sessions'), { recursive: true });
    writeFileSync(join(folder, `sessions/${PID}.json`), '{}');
    expect(cache.hasSessionFile(statOf(), noLimit)).toBe(true);
    rmSync(folder, { recursive: true });
    expect(cache.hasSessionFile(statOf(), noLimit)).toBe(true);
    expect(cache.forRecheck(statOf()).hasSessionFile(statOf(), noLimit)).toBe(false);
    put({ comm: 'other', environ: { CLAUDE_CONFIG_DIR: folder } }, 2);
    expect(cache.hasSessionFile(statOf(), noLimit)).toBe(false);
  });
  it('does not read a process again that has not run since the last sweep', () => {
    expect(sweep()).toBe('/first');
    changeCwd();
    expect(sweep()).toBe('/first');
  });
  it('reads a process again that has run', () => {
    sweep();
    put({ cwd: '/second' }, 2);
    expect(sweep()).toBe('/second');
  });
  it('reads a process again that has run, whether or not its run counts were worth reading before', () => {
    for (let runs = 2; runs < 40; runs++) {
      put({ cwd: `/run-${runs}` }, runs);
      expect(sweep()).toBe(`/run-${runs}`);
    }
  });
  it('finds within 16 sweeps that a process rests that has always run before', () => {
    for (let runs = 2; runs < 40; runs++) {
      put({}, runs);
      sweep();
    }
    for (let at = 0; at < 16; at++) sweep();
    changeCwd();
    expect(sweep()).toBe('/first');
  });
  it('does not read the run counts in every sweep of a process that has always run', () => {
    for (let runs = 2; runs < 40; runs++) {
      put({}, runs);
      sweep();
    }
    sweep();
    changeCwd();
    expect(sweep()).toBe('/second');
  });
  it('reads a process in every sweep while it is running', () => {
    put({ state: 'R' });
    sweep();
    changeCwd();
    expect(sweep()).toBe('/second');
  });
  it('reads a process with a child in every sweep: the run counts do not show the activity of the child', () => {
    put({ children: [[101]] });
    proc.put({ pid: 101, ppid: PID });
    sweep();
    changeCwd();
    expect(sweep()).toBe('/second');
  });
  it('reads a process again that could not be read in full', () => {
    rmSync(join(proc.root, `${PID}/fd`), { recursive: true });
    sweep();
    mkdirSync(join(proc.root, `${PID}/fd`));
    changeCwd();
    expect(sweep()).toBe('/second');
  });
  it('reads the state again if the stat was not asked for in the same sweep', () => {
    sweep();
    const stat = statOf();
    cache.readState(stat, null, noLimit, newIssues());
    changeCwd();
    expect(cache.readState(stat, null, noLimit, newIssues()).cwd).toBe('/second');
  });
  it('forgets a process whose pid belongs to another one', () => {
    sweep();
    put({ startTicks: 6, cwd: '/second', environ: { HOME: '/other' } }, 1);
    proc.write(`${PID}/schedstat`, '1001 0 1\n');
    expect(sweep()).toBe('/second');
    expect(cache.lastSources({ pid: PID, startTicks: 5 })).toBeNull();
    expect(cache.lastSources({ pid: PID, startTicks: 6 })?.environment.configDir).toBe('/other/.claude');
  });
  it('reads the environment of a process once', () => {
    sweep();
    put({ environ: { HOME: '/other' } });
    expect(cache.readEnvironment(statOf(), noLimit)).toMatchObject({ ok: true, value: { configDir: '/h/.claude' } });
  });
  it('keeps which sockets are unix sockets only while the process has them', () => {
    put({ fds: { 0: 'socket:[7]', 1: 'socket:[8]' } });
    const read = (): number[] => {
      const stat = statOf();
      cache.readEnvironment(stat, noLimit);
      const { unixSockets, sockets } = cache.readState(stat, null, noLimit, newIssues());
      const before = [...unixSockets];
      for (const inode of sockets?.values() ?? []) unixSockets.add(inode);
      return before;
    };
    expect(read()).toEqual([]);
    put({ fds: { 1: 'socket:[8]', 2: 'socket:[9]' } }, 2);
    expect(read()).toEqual([8]);
  });
  it('reads a process again after its state was forgotten', () => {
    sweep();
    cache.forgetState({ pid: PID, startTicks: 5 });
    changeCwd();
    expect(sweep()).toBe('/second');
  });
  it('forgets all processes that are not to be kept', () => {
    sweep();
    cache.keepOnly(new Set(), () => true);
    expect(cache.lastSources({ pid: PID, startTicks: 5 })).toBeNull();
  });
  it('reads everything again for a recheck, and leaves the cache of the sweep as it is', () => {
    sweep();
    changeCwd();
    expect(sweep(cache.forRecheck({ pid: PID, startTicks: 5 }))).toBe('/second');
    expect(sweep()).toBe('/first');
  });
  it('returns the stats of children, at rest or read again', () => {
    proc.put({ pid: 50, children: [[PID]] });
    put({ ppid: 50 });
    sweep();
    put({ ppid: 50, ownTicks: 999 });
    const ticks = (): number | undefined => {
      const children = cache.readChildStats(50, noLimit);
      return children.ok ? children.value[0]?.ownTicks : undefined;
    };
    expect(ticks()).toBe(138);
    put({ ppid: 50, ownTicks: 999 }, 2);
    expect(ticks()).toBe(999);
  });
});
