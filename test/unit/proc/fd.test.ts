import { closeSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readSocketFds } from '../../../src/proc/fd.ts';
import { noLimit } from '../../helpers/budget.ts';
import { type FakeProc, fakeProc } from '../../helpers/fake-proc.ts';

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});

afterEach(() => proc.end());

describe('readSocketFds', () => {
  it.each([
    ['unknown', null],
    ['short', 64],
    ['longer than what is read', 16_384],
  ])('returns the inodes of sockets by descriptor where the table is %s', (_, tableSize) => {
    proc.put({ pid: 1, fds: { 0: '/dev/null', 3: 'socket:[31158]', 11: 'socket:[31159]', 12: 'pipe:[7]' } });
    const sockets = readSocketFds(proc.root, 1, noLimit, tableSize);
    expect(sockets).toEqual({
      ok: true,
      value: new Map([
        ['3', 31_158],
        ['11', 31_159],
      ]),
    });
  });
  it('fails where there are more descriptors than are read', () => {
    proc.put({ pid: 1, fds: Object.fromEntries(Array.from({ length: 8_193 }, (_, fd) => [fd, '/dev/null'])) });
    for (const tableSize of [16_384, null])
      expect(readSocketFds(proc.root, 1, noLimit, tableSize)).toMatchObject({ failure: { code: 'invalid' } });
  });
  it('returns the sockets of a real process', () => {
    const null3 = openSync('/dev/null', 'r');
    const server = createServer().listen(0, '127.0.0.1');
    const sockets = readSocketFds('/proc', process.pid, noLimit, 256);
    server.close();
    closeSync(null3);
    expect(sockets).toMatchObject({ ok: true });
    expect(sockets.ok && sockets.value.size).toBeGreaterThan(0);
    expect(sockets.ok && sockets.value.has(String(null3))).toBe(false);
  });
  it('fails for a process that is gone', () => {
    expect(readSocketFds(proc.root, 404, noLimit, 64)).toMatchObject({ ok: false, failure: { code: 'not-found' } });
  });
});
