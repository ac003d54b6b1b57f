import { rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mountGuardOf } from '../../../src/proc/namespaces.ts';
import { noLimit } from '../../helpers/budget.ts';
import { type FakeProc, fakeProc, mountRow } from '../../helpers/fake-proc.ts';

const OURS = 'mnt:[4026531841]';
const PID_1S = 'mnt:[4026531999]';
const CLAYS = 'mnt:[4026532142]';
const OURS_OF_USERS = 'user:[4026531837]';
const ANOTHER_OF_USERS = 'user:[4026532500]';

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
  for (const [pid, mounts] of [[1, PID_1S] as const, [142, CLAYS] as const]) place(pid, mounts);
  link('self/ns/mnt', OURS);
  link('self/ns/user', OURS_OF_USERS);
});
afterEach(() => proc.end());

function link(path: string, target: string): void {
  rmSync(join(proc.root, path), { force: true });
  symlinkSync(target, join(proc.root, path));
}

/** A process in these namespaces. */
function place(pid: number, mounts: string, users = OURS_OF_USERS): void {
  proc.put({ pid, mounts: [mountRow('254:0', '/', '/')] });
  link(`${pid}/ns/mnt`, mounts);
  link(`${pid}/ns/user`, users);
}

describe('mountGuardOf', () => {
  it.each([
    ["this program's mount namespace", OURS, OURS_OF_USERS, true],
    ["this program's mount namespace, in which another user namespace may not mount", OURS, ANOTHER_OF_USERS, true],
    ["PID 1's mount namespace", PID_1S, OURS_OF_USERS, false],
    ["its Clay's mount namespace", CLAYS, OURS_OF_USERS, false],
  ])('trusts %s', (_, mounts, users, isOwn) => {
    place(7, mounts, users);
    expect(mountGuardOf({ procRoot: proc.root, pids: [142] }, 7, noLimit)).toMatchObject({
      ok: true,
      value: { isOwn },
    });
  });
  it.each([
    ['a mount namespace of its own', 'mnt:[4026532777]', OURS_OF_USERS, 'neither PID 1’s nor its Clay’s'],
    ["another user namespace, with its Clay's mounts", CLAYS, ANOTHER_OF_USERS, 'another user namespace'],
    ['both of its own', 'mnt:[4026532777]', ANOTHER_OF_USERS, 'another user namespace'],
  ])('does not trust %s', (_, mounts, users, why) => {
    place(7, mounts, users);
    expect(mountGuardOf({ procRoot: proc.root, pids: [142] }, 7, noLimit)).toMatchObject({
      failure: { detail: expect.stringContaining(why) },
    });
  });
  it('fails where the namespaces of the process cannot be read', () => {
    place(7, CLAYS);
    rmSync(join(proc.root, '7/ns/mnt'));
    expect(mountGuardOf({ procRoot: proc.root, pids: [142] }, 7, noLimit)).toMatchObject({ ok: false });
  });
});
