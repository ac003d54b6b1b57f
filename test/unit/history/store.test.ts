import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { appendHistory, type HistoryRecord, historyDirectory, readHistory } from '../../../src/history/store.ts';

const record = (pid: number, at = '2026-01-02T03:04:05.678Z'): HistoryRecord => ({
  at,
  pid,
  startTicks: 4711,
  uid: 1000,
  clayPid: 99,
  orphan: 'parked',
  signal: 'SIGTERM',
  outcome: 'terminated',
  rssBytes: 240 << 20,
  idleSeconds: 1800,
  project: 'shop',
  sessionId: '6f2d7c0a-0000-4000-8000-000000000001',
  reclaimableBytes: null,
  reaperPid: 4242,
  user: 'ada',
  title: null,
  cwd: null,
  graceSeconds: 1800,
  evidence: null,
});

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-history-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));
const pids = (sinceMs?: number): number[] =>
  readHistory(dir, sinceMs === undefined ? {} : { sinceMs }).records.map(({ pid }) => pid);

describe('historyDirectory', () => {
  it('uses the first directory of STATE_DIRECTORY', () => {
    expect(historyDirectory({ STATE_DIRECTORY: '/var/lib/clay-reaper', HOME: '/' }, 61234)).toBe(
      '/var/lib/clay-reaper',
    );
    expect(historyDirectory({ STATE_DIRECTORY: '/a:/b' }, 0)).toBe('/a');
  });
  it('uses the directory of the system service for root, and a directory in the home of other users', () => {
    expect(historyDirectory({ HOME: '/root' }, 0)).toBe('/var/lib/clay-reaper');
    expect(historyDirectory({ HOME: '/home/a' }, 1000)).toBe('/home/a/.local/state/clay-reaper');
    expect(historyDirectory({ HOME: '/home/a', XDG_STATE_HOME: '/s' }, 1000)).toBe('/s/clay-reaper');
  });
  it('leaves the place of the link to systemd once the private directory of the service exists', () => {
    const target = join(dir, 'var/lib/private/clay-reaper');
    const link = join(dir, 'var/lib/clay-reaper');
    expect(historyDirectory({}, 0, dir)).toBe(link);
    mkdirSync(target, { recursive: true });
    expect(historyDirectory({}, 0, dir)).toBe(target);
    symlinkSync('private/clay-reaper', link);
    expect(historyDirectory({}, 0, dir)).toBe(link);
  });
  it('ignores a relative XDG_STATE_HOME, as the XDG Base Directory Specification demands', () => {
    expect(historyDirectory({ HOME: '/home/a', XDG_STATE_HOME: 's' }, 1000)).toBe('/home/a/.local/state/clay-reaper');
  });
});

describe('appendHistory and readHistory', () => {
  it('reads back the appended records, oldest first', () => {
    expect(appendHistory(join(dir, 'not/yet'), [record(1), record(2)])).toBeUndefined();
    expect(appendHistory(join(dir, 'not/yet'), [record(3)])).toBeUndefined();
    expect(readHistory(join(dir, 'not/yet'))).toEqual({
      records: [record(1), record(2), record(3)],
      problem: undefined,
      unreadableLines: 0,
    });
  });
  it('reads a missing history as empty', () => {
    expect(readHistory(join(dir, 'nowhere'))).toEqual({ records: [], problem: undefined, unreadableLines: 0 });
  });
  it('omits records before sinceMs', () => {
    appendHistory(dir, [record(1, '2026-01-01T00:00:00.000Z'), record(2, '2026-01-03T00:00:00.000Z')]);
    expect(pids(Date.parse('2026-01-02T00:00:00.000Z'))).toEqual([2]);
  });
  it('loses only the line that a crash left incomplete', () => {
    appendHistory(dir, [record(1)]);
    appendFileSync(join(dir, 'history.jsonl'), '{"at":"2026-01-0');
    appendHistory(dir, [record(2)]);
    appendFileSync(join(dir, 'history.jsonl'), '{"pid":3}\nnot json\n');
    expect(pids()).toEqual([1, 2]);
  });
  it('counts the lines that are no records', () => {
    appendHistory(dir, [record(1)]);
    appendFileSync(join(dir, 'history.jsonl'), 'not json\n{"pid":3}\n');
    expect(readHistory(dir).unreadableLines).toBe(2);
  });
  it('counts a process once that two reapers recorded at the same time', () => {
    appendHistory(dir, [record(1)]);
    appendHistory(dir, [{ ...record(1, '2026-01-02T03:04:06.000Z'), reaperPid: 4243 }, record(2)]);
    expect(readHistory(dir).records).toEqual([record(1), record(2)]);
  });
  it('keeps two processes that had the same pid', () => {
    appendHistory(dir, [record(1), { ...record(1), startTicks: 4712 }, record(1, '2026-01-09T03:04:05.678Z')]);
    expect(readHistory(dir).records).toHaveLength(3);
  });
  it('reads the records of version 0.1.0', () => {
    const { reclaimableBytes, reaperPid, user, title, cwd, graceSeconds, evidence, ...old } = record(1);
    writeFileSync(join(dir, 'history.jsonl'), `${JSON.stringify(old)}\n`);
    expect(readHistory(dir).records).toMatchObject([{ pid: 1, user: null, evidence: null }]);
  });
  it('rotates at 4 MiB and keeps two files', () => {
    const many = Array.from({ length: 1000 }, (_, index) => ({ ...record(index), title: 'x'.repeat(100) }));
    for (let round = 0; round < 40; round++) {
      const batch = many.map((one) => ({ ...one, startTicks: round }));
      expect(appendHistory(dir, batch)).toBeUndefined();
    }
    const files = readdirSync(dir).sort();
    expect(files).toEqual(['history.jsonl', 'history.jsonl.1']);
    for (const file of files) expect(statSync(join(dir, file)).size).toBeLessThanOrEqual(4 << 20);
    expect(pids().slice(-1000)).toEqual(many.map(({ pid }) => pid));
  });
  it('keeps the records of a user of whom few were ended, whatever number another user has', () => {
    const hers = Array.from({ length: 100 }, (_, index) => ({ ...record(index), uid: 2000, title: 'x'.repeat(3_000) }));
    expect(appendHistory(dir, [record(7777), { ...record(7778), uid: 1001 }])).toBeUndefined();
    for (let round = 0; round < 40; round++)
      expect(
        appendHistory(
          dir,
          hers.map((one, index) => ({ ...one, pid: 10_000 + 100 * round + index })),
        ),
      ).toBeUndefined();
    expect(pids()).toEqual(expect.arrayContaining([7777, 7778, 10_000 + 100 * 40 - 1]));
    for (const file of readdirSync(dir)) expect(statSync(join(dir, file)).size).toBeLessThanOrEqual(4 << 20);
  });
  it('creates directory and file readable by their owner only', () => {
    appendHistory(join(dir, 'state'), [record(1)]);
    expect(statSync(join(dir, 'state')).mode & 0o777).toBe(0o700);
    expect(statSync(join(dir, 'state/history.jsonl')).mode & 0o777).toBe(0o600);
  });
  it('refuses a symbolic link for reading and appending', () => {
    writeFileSync(join(dir, 'target'), 'precious\n');
    symlinkSync(join(dir, 'target'), join(dir, 'history.jsonl'));
    expect(appendHistory(dir, [record(1)])).toMatch(/ELOOP/);
    expect(readHistory(dir).problem).toMatch(/ELOOP/);
    expect(readFileSync(join(dir, 'target'), 'utf8')).toBe('precious\n');
  });
  it('returns the reason of a failed append instead of throwing', () => {
    mkdirSync(join(dir, 'history.jsonl'));
    expect(appendHistory(dir, [record(1)])).toMatch(/history/);
    expect(appendHistory('/proc/clay-reaper', [record(1)])).toMatch(/ENOENT/);
    expect(appendHistory('/dev/full/x', [record(1)])).toMatch(/ENOTDIR/);
  });
});
