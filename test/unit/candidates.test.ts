import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ClayLook, findCandidates } from '../../src/observe/candidates.ts';
import { isReparented } from '../../src/observe/process-table.ts';
import { readStat } from '../../src/proc/stat.ts';
import { CLAY_PID } from './evidence.ts';
import { type FakeProc, fakeProc } from './fake-proc.ts';
import { clayLook } from './look.ts';

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});
afterEach(() => proc.end());
const host = () => ({ procRoot: proc.root, units: { ticksPerSecond: 100, pageBytes: 4096 } });

describe('findCandidates', () => {
  const lib = '/usr/lib/node_modules/clay-server/lib';
  const asRoot = (): ClayLook => {
    const look = clayLook();
    return { ...look, daemon: { ...look.daemon, uid: 0, libDir: lib } };
  };
  const find = (look = clayLook()) => {
    const found = findCandidates(host(), look);
    if (!found.ok) throw new Error(found.failure.detail);
    return found.value.map(({ stat, expected, keeper }) => ({ pid: stat.pid, expected, keeper: keeper.state }));
  };
  const worker = { pid: 300, comm: 'node', ppid: CLAY_PID, cmdline: ['node', `${lib}/sdk-worker.js`, '/tmp/w.sock'] };

  it('finds the living children of that name', () => {
    proc.put({ pid: CLAY_PID, startTicks: 1000, comm: 'node', children: [[101, 102, 103], [104]] });
    proc.put({ pid: 101 });
    proc.put({ pid: 102, comm: 'node' });
    proc.put({ pid: 103, state: 'Z' });
    proc.put({ pid: 104 });
    expect(find()).toEqual([
      { pid: 101, expected: { uid: 1000, ppid: CLAY_PID }, keeper: 'living' },
      { pid: 104, expected: { uid: 1000, ppid: CLAY_PID }, keeper: 'living' },
    ]);
  });
  it('does not look below them', () => {
    proc.put({ pid: CLAY_PID, startTicks: 1000, comm: 'node', children: [[101, 102]] });
    proc.put({ pid: 101, children: [[201]] });
    proc.put({ pid: 102, comm: 'bash', children: [[202]] });
    proc.put({ pid: 201, ppid: 101 });
    proc.put({ pid: 202, ppid: 102 });
    expect(find().map(({ pid }) => pid)).toEqual([101]);
  });
  it('finds those of the workers of a root daemon, under the uid of each', () => {
    proc.put({ pid: CLAY_PID, startTicks: 1000, comm: 'node', uid: 0, children: [[101, 300, 301]] });
    proc.put({ pid: 101, uid: 0 });
    proc.put({ ...worker, uid: 1001, children: [[401]] });
    proc.put({ ...worker, pid: 301, uid: 1002, children: [[402]] });
    proc.put({ pid: 401, ppid: 300, uid: 1001 });
    proc.put({ pid: 402, ppid: 301, uid: 1002 });
    expect(find(asRoot())).toEqual([
      { pid: 101, expected: { uid: 0, ppid: CLAY_PID }, keeper: 'living' },
      { pid: 401, expected: { uid: 1001, ppid: 300 }, keeper: 'living' },
      { pid: 402, expected: { uid: 1002, ppid: 301 }, keeper: 'living' },
    ]);
  });
  it.each([
    ['a script that only looks like it', { cmdline: ['node', '/home/eve/lib/sdk-worker.js'] }],
    ['another child', { cmdline: ['node', `${lib}/other.js`] }],
    ['a dead one', { state: 'Z' }],
  ])('does not look below %s', (_, overrides) => {
    proc.put({ pid: CLAY_PID, startTicks: 1000, comm: 'node', uid: 0, children: [[300]] });
    proc.put({ ...worker, children: [[401]], ...overrides });
    proc.put({ pid: 401, ppid: 300 });
    expect(find(asRoot())).toEqual([]);
  });
  it('does not look for workers of a daemon that is not root’s', () => {
    proc.put({ pid: CLAY_PID, startTicks: 1000, comm: 'node', children: [[300]] });
    proc.put({ ...worker, children: [[401]] });
    proc.put({ pid: 401, ppid: 300 });
    const look = clayLook();
    expect(find({ ...look, daemon: { ...look.daemon, libDir: lib } })).toEqual([]);
  });
  it('finds none below a process that has got the pid of a daemon that has just gone', () => {
    proc.put({ pid: CLAY_PID, startTicks: 9999, comm: 'node', children: [[101]] });
    proc.put({ pid: 101 });
    expect(find()).toEqual([]);
  });
  it('finds none of a daemon that has just gone, and says if it cannot read', () => {
    expect(findCandidates(host(), clayLook())).toEqual({ ok: true, value: [] });
    proc.put({ pid: CLAY_PID, startTicks: 1000, comm: 'node' });
    rmSync(join(proc.root, `${CLAY_PID}/task/${CLAY_PID}/children`));
    proc.write(`${CLAY_PID}/task/${CLAY_PID}/children/x`, '');
    expect(findCandidates(host(), clayLook())).toMatchObject({ ok: false, failure: { why: 'error' } });
  });
});

describe('isReparented', () => {
  const reparented = (ppid: number): boolean => {
    proc.put({ pid: 101, ppid });
    const stat = readStat(proc.root, 101);
    return stat.ok && isReparented(host(), stat.value);
  };
  it('to the first process, or to the manager of a user’s services', () => {
    proc.put({ pid: 900, comm: 'systemd', ppid: 1 });
    expect([reparented(1), reparented(900)]).toEqual([true, true]);
  });
  it('not while its parent lives, nor while that cannot be told', () => {
    proc.put({ pid: 901, comm: 'node', ppid: 1 });
    proc.put({ pid: 902, comm: 'systemd-journal', ppid: 1 });
    expect([reparented(901), reparented(902), reparented(999)]).toEqual([false, false, false]);
  });
});
