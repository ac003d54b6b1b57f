import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BUDGET_EXHAUSTED } from '../../../src/fs/user-budget.ts';
import { readChildren, readChildStats } from '../../../src/proc/children.ts';
import { noLimit } from '../../helpers/budget.ts';
import { type FakeProc, fakeProc } from '../../helpers/fake-proc.ts';

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});
afterEach(() => proc.end());

describe('readChildren', () => {
  it('returns the children of all threads', () => {
    proc.put({ pid: 100, children: [[200, 201], [], [300]] });
    expect(readChildren(proc.root, 100, noLimit)).toEqual({ ok: true, value: [200, 201, 300] });
  });
  it('returns an empty list for a process without children', () => {
    proc.put({ pid: 100 });
    expect(readChildren(proc.root, 100, noLimit)).toEqual({ ok: true, value: [] });
  });
  it('ignores a thread that has exited meanwhile', () => {
    proc.put({ pid: 100, children: [[200], [300]] });
    rmSync(join(proc.root, '100/task/101/children'));
    expect(readChildren(proc.root, 100, noLimit)).toEqual({ ok: true, value: [200] });
  });
  it('returns not-found for a process that is gone', () => {
    expect(readChildren(proc.root, 100, noLimit)).toMatchObject({ ok: false, failure: { code: 'not-found' } });
  });
  it('stops at a thread if the budget is exhausted by then', () => {
    proc.put({ pid: 100, children: [[200], [300]] });
    const exhausted = [false, true];
    const budget = { ...noLimit, exhausted: () => exhausted.shift() ?? true };
    expect(readChildren(proc.root, 100, budget)).toMatchObject({ ok: false, failure: { detail: BUDGET_EXHAUSTED } });
  });
  it('returns a failure where the kernel does not list children', () => {
    proc.put({ pid: 100 });
    rmSync(join(proc.root, '100/task/100/children'));
    // Reading a directory fails with EISDIR, unlike reading the file of a thread that has exited.
    proc.write('100/task/100/children/x', '');
    expect(readChildren(proc.root, 100, noLimit)).toMatchObject({ ok: false, failure: { code: 'io' } });
  });
});

describe('readChildStats', () => {
  const pids = (): number[] => {
    const stats = readChildStats(proc.root, 100, noLimit);
    return stats.ok ? stats.value.map(({ pid }) => pid) : [];
  };
  it('returns the stat of each child', () => {
    proc.put({ pid: 100, children: [[200, 201]] });
    proc.put({ pid: 200, ppid: 100 });
    proc.put({ pid: 201, ppid: 100 });
    expect(pids()).toEqual([200, 201]);
  });
  it('ignores a child that has exited and a pid that belongs to another process by now', () => {
    proc.put({ pid: 100, children: [[200, 201]] });
    proc.put({ pid: 201, ppid: 1 });
    expect(pids()).toEqual([]);
  });
  it('fails if one child cannot be read', () => {
    proc.put({ pid: 100, children: [[200]] });
    proc.write('200/stat', '200 (claude');
    expect(readChildStats(proc.root, 100, noLimit)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
});
