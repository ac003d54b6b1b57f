import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createConnectionLookup } from '../../../src/observe/connections.ts';
import { noLimits } from '../../helpers/budget.ts';
import { type FakeProc, type FakeProcess, fakeProc, tcpRow, unixRow } from '../../helpers/fake-proc.ts';

const PID = 16_345;
let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});
afterEach(() => proc.end());

const put = (process: Omit<FakeProcess, 'pid'>, pid = PID): void => proc.put({ pid, ...process });
/** A lookup for a sweep that asks for these sockets. */
const open = (...wanted: readonly number[]) => {
  const { connectionsOf } = createConnectionLookup(proc.root, () => new Set(wanted), noLimits);
  return (inodes: Readonly<Record<string, number>>, pid = PID) =>
    connectionsOf(pid, new Map(Object.entries(inodes)), 1000);
};
/** The connections among these sockets. */
const connectionsOf = (inodes: Readonly<Record<string, number>>) => open(...Object.values(inodes))(inodes);
const fds = (inodes: Readonly<Record<string, number>>): Record<string, string> =>
  Object.fromEntries(Object.entries(inodes).map(([fd, inode]) => [fd, `socket:[${inode}]`]));

describe('connectionsOf', () => {
  it('returns none for an idle 0.2.92', () => {
    put({ unix: [unixRow(29_392), unixRow(29_394)] });
    expect(connectionsOf({ 0: 29_392, 1: 29_394 })).toEqual({ ok: true, value: [] });
  });
  it('returns one for a 0.2.92 that streams', () => {
    put({
      unix: [unixRow(29_616), unixRow(29_618)],
      tcp: [tcpRow(30_740, '01', '0100007F:B630'), tcpRow(99, '01')],
    });
    expect(connectionsOf({ 0: 29_616, 1: 29_618, 18: 30_740 })).toEqual({
      ok: true,
      value: [{ inode: 30_740, local: '0100007F:B630', remote: '0100007F:0FAA' }],
    });
  });
  it('counts IPv6 connections', () => {
    const local = '0000000000000000FFFF00000100007F:CBF6';
    put({ tcp6: [tcpRow(40_001, '01', local)] });
    expect(connectionsOf({ 5: 40_001 })).toMatchObject({ value: [{ inode: 40_001, local }] });
  });
  it('counts a connection once, however many descriptors lead to it', () => {
    put({ tcp: [tcpRow(7)] });
    expect(connectionsOf({ 5: 7, 6: 7, 9: 7 })).toMatchObject({ value: [{ inode: 7 }] });
  });
  it.each([
    ['01', 'established', true],
    ['02', 'being set up', true],
    ['03', 'being set up by its peer', true],
    ['0C', 'being set up by its peer, newly', true],
    ['04', 'closing', false],
    ['06', 'closed', false],
    ['08', 'left by its peer', false],
    ['0A', 'listening', false],
  ])('state %s, %s: %s', (state, _, counts) => {
    put({ tcp: [tcpRow(7, state)] });
    expect(connectionsOf({ 5: 7 })).toMatchObject({
      ok: true,
      value: counts ? [{ inode: 7 }] : [],
    });
  });
  it('reports an issue for a socket that is in no table', () => {
    put({ fds: fds({ 5: 7 }) });
    expect(connectionsOf({ 5: 7 })).toMatchObject({
      ok: false,
      failure: { code: 'invalid', detail: expect.stringContaining('descriptor 5') },
    });
  });
  it('reports no issue for a socket that was closed or replaced meanwhile', () => {
    put({ fds: fds({ 6: 8 }) });
    expect(connectionsOf({ 5: 7 })).toEqual({ ok: true, value: [] });
    expect(connectionsOf({ 6: 7 })).toEqual({ ok: true, value: [] });
  });
  it('reports only the socket that no table explains', () => {
    put({ unix: [unixRow(1)], tcp: [tcpRow(2)], fds: fds({ 0: 1, 5: 2, 6: 3 }) });
    expect(connectionsOf({ 0: 1, 5: 2, 6: 3 }).ok).toBe(false);
  });
  it('ignores rows that are forged by the name of a unix socket, before a kill', () => {
    const fake = '0000000000000000: 00000003 00000000 00000000 0001 03 30740';
    put({
      unix: [unixRow(1), `00000000af0d0a0a: 00000002 00000000 00010000 0001 01 33021 @x\n${fake}`],
      tcp: [tcpRow(30_740)],
    });
    const sockets = new Map([
      ['0', 1],
      ['18', 30_740],
    ]);
    const careful = createConnectionLookup(proc.root, () => new Set(sockets.values()), noLimits, false);
    expect(careful.connectionsOf(PID, sockets, 1000)).toMatchObject({ ok: true, value: [{ inode: 30_740 }] });
  });

  describe('socket tables', () => {
    it('are not read for a process without sockets', () => {
      expect(connectionsOf({})).toEqual({ ok: true, value: [] });
    });
    it('of TCP are read only if a socket needs them', () => {
      put({ unix: [unixRow(1)] });
      rmSync(join(proc.root, `${PID}/net/tcp`));
      expect(connectionsOf({ 0: 1 })).toEqual({ ok: true, value: [] });
      expect(connectionsOf({ 0: 1, 5: 2 })).toMatchObject({ ok: false });
    });
    it('are read once for each network namespace', () => {
      const namespaces = { a: 'net:[1]', b: 'net:[2]' };
      put({ netNamespace: namespaces.a, tcp: [tcpRow(7)] });
      put({ netNamespace: namespaces.a, tcp: [tcpRow(8)], fds: fds({ 5: 8 }) }, PID + 1);
      put({ netNamespace: namespaces.b, tcp: [tcpRow(9)] }, PID + 2);
      const connectionsOf = open(7, 8, 9);
      expect(connectionsOf({ 5: 7 })).toMatchObject({ value: [{ inode: 7 }] });
      // The table of the same namespace is known already, and has no such row.
      expect(connectionsOf({ 5: 8 }, PID + 1)).toMatchObject({ ok: false });
      expect(connectionsOf({ 5: 9 }, PID + 2)).toMatchObject({ value: [{ inode: 9 }] });
    });
    it('of one user are not used for another: a process can change its namespace while its table is read', () => {
      put({ tcp: [tcpRow(7)] });
      put({ tcp: [tcpRow(8)] }, PID + 1);
      const tables = createConnectionLookup(proc.root, () => new Set([7, 8]), noLimits);
      expect(tables.connectionsOf(PID, new Map([['5', 7]]), 1000)).toMatchObject({ value: [{ inode: 7 }] });
      expect(tables.connectionsOf(PID + 1, new Map([['5', 8]]), 1001)).toMatchObject({ value: [{ inode: 8 }] });
    });
    it('of IPv6 may be missing', () => {
      put({ tcp: [tcpRow(7)] });
      rmSync(join(proc.root, `${PID}/net/tcp6`));
      expect(connectionsOf({ 5: 7 })).toMatchObject({ value: [{ inode: 7 }] });
    });
    it('that cannot be read are named', () => {
      put({});
      rmSync(join(proc.root, `${PID}/net/unix`));
      expect(connectionsOf({ 5: 7 })).toMatchObject({
        ok: false,
        failure: { code: 'not-found', detail: expect.stringContaining('net/unix') },
      });
    });
  });
});
