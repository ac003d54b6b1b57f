import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readChildren } from '../../src/proc/children.ts';
import { type FakeProc, fakeProc } from './fake-proc.ts';

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});
afterEach(() => proc.end());

describe('readChildren', () => {
  it('finds those of all threads', () => {
    proc.put({ pid: 100, children: [[200, 201], [], [300]] });
    expect(readChildren(proc.root, 100)).toEqual({ ok: true, value: [200, 201, 300] });
  });
  it('finds none where there are none', () => {
    proc.put({ pid: 100 });
    expect(readChildren(proc.root, 100)).toEqual({ ok: true, value: [] });
  });
  it('does not mind a thread that has ended meanwhile', () => {
    proc.put({ pid: 100, children: [[200], [300]] });
    rmSync(join(proc.root, '100/task/101/children'));
    expect(readChildren(proc.root, 100)).toEqual({ ok: true, value: [200] });
  });
  it('says if the process is gone', () => {
    expect(readChildren(proc.root, 100)).toMatchObject({ ok: false, failure: { why: 'gone' } });
  });
  it('says if the kernel does not tell', () => {
    proc.put({ pid: 100 });
    rmSync(join(proc.root, '100/task/100/children'));
    // Reading a folder is an error that no vanished thread would give.
    proc.write('100/task/100/children/x', '');
    expect(readChildren(proc.root, 100)).toMatchObject({ ok: false, failure: { why: 'error' } });
  });
});
