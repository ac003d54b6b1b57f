import { rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newFileView } from '../../../src/observe/file-view.ts';
import { noLimit } from '../../helpers/budget.ts';
import { type FakeProc, fakeProc, mountRow } from '../../helpers/fake-proc.ts';

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});
afterEach(() => proc.end());

const isShared = (mounts?: readonly string[], path = '/root/.claude') => {
  proc.put({ pid: 101, ...(mounts ? { mounts } : {}) });
  return newFileView(proc.root).isShared(101, path, noLimit);
};

describe('isShared', () => {
  it('is true in the same mount namespace, without a look at its mounts', () => {
    proc.write('self/mountinfo', '');
    expect(isShared()).toEqual({ ok: true, value: true });
  });
  it('is true in the namespace of a service, which shows parts of the same file system again', () => {
    const row = mountRow('254:0', '/root', '/root');
    expect(isShared([mountRow('254:0', '/', '/'), row])).toEqual({ ok: true, value: true });
  });
  it.each([
    ['another root file system', [mountRow('0:51', '/', '/')]],
    ['a volume on the folder', [mountRow('254:0', '/', '/'), mountRow('254:1', '/v', '/root/.claude')]],
    ['another folder of the same file system', [mountRow('254:0', '/containers/1', '/')]],
    ['no mount at all', []],
  ])('is false for a process that sees %s', (_, mounts) => {
    expect(isShared(mounts)).toEqual({ ok: true, value: false });
  });
  it('is unknown if the namespace or the table of mounts cannot be read', () => {
    expect(newFileView(proc.root).isShared(404, '/root/.claude', noLimit)).toMatchObject({ ok: false });
    proc.put({ pid: 101, mounts: [] });
    rmSync(`${proc.root}/101/mountinfo`);
    expect(newFileView(proc.root).isShared(101, '/root/.claude', noLimit)).toMatchObject({ ok: false });
  });
});
