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
import { appendHistory, type HistoryRecord, historyDirectory, readHistory } from '../../src/service/history.js';

const record = (pid: number, at = '2026-01-02T03:04:05.678Z'): HistoryRecord => ({
  ...{ at, pid, startTicks: 4711, uid: 1000, clayPid: 99, orphan: 'parked', signal: 'SIGTERM', outcome: 'terminated' },
  ...{ rssBytes: 240 << 20, idleSeconds: 1800, project: 'shop', sessionId: '6f2d7c0a-0000-4000-8000-000000000001' },
});

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-history-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));
const pids = (sinceMs?: number): number[] =>
  readHistory(dir, sinceMs === undefined ? {} : { sinceMs }).records.map(({ pid }) => pid);

describe('historyDirectory', () => {
  it('is what systemd says', () => {
    expect(historyDirectory({ STATE_DIRECTORY: '/var/lib/clay-reaper', HOME: '/' }, 61234)).toBe(
      '/var/lib/clay-reaper',
    );
    expect(historyDirectory({ STATE_DIRECTORY: '/a:/b' }, 0)).toBe('/a');
  });
  it('is the one of the service for root, and one of their own for others', () => {
    expect(historyDirectory({ HOME: '/root' }, 0)).toBe('/var/lib/clay-reaper');
    expect(historyDirectory({ HOME: '/home/a' }, 1000)).toBe('/home/a/.local/state/clay-reaper');
    expect(historyDirectory({ HOME: '/home/a', XDG_STATE_HOME: '/s' }, 1000)).toBe('/s/clay-reaper');
  });
  it('ignores a relative XDG_STATE_HOME, as the XDG base directory specification demands', () => {
    expect(historyDirectory({ HOME: '/home/a', XDG_STATE_HOME: 's' }, 1000)).toBe('/home/a/.local/state/clay-reaper');
  });
});

describe('history', () => {
  it('gives back what was appended, oldest first', () => {
    expect(appendHistory(join(dir, 'not/yet'), [record(1), record(2)])).toBeUndefined();
    expect(appendHistory(join(dir, 'not/yet'), [record(3)])).toBeUndefined();
    expect(readHistory(join(dir, 'not/yet'))).toEqual({
      records: [record(1), record(2), record(3)],
      problem: undefined,
    });
  });
  it('is empty where there is none', () => {
    expect(readHistory(join(dir, 'nowhere'))).toEqual({ records: [], problem: undefined });
  });
  it('leaves out what is older than asked for', () => {
    appendHistory(dir, [record(1, '2026-01-01T00:00:00.000Z'), record(2, '2026-01-03T00:00:00.000Z')]);
    expect(pids(Date.parse('2026-01-02T00:00:00.000Z'))).toEqual([2]);
  });
  it('loses only the line that a crash tore', () => {
    appendHistory(dir, [record(1)]);
    appendFileSync(join(dir, 'history.jsonl'), '{"at":"2026-01-0');
    appendHistory(dir, [record(2)]);
    appendFileSync(join(dir, 'history.jsonl'), '{"pid":3}\nnot json\n');
    expect(pids()).toEqual([1, 2]);
  });
  it('is bounded: the older half goes when both files are full', () => {
    const many = Array.from({ length: 1000 }, (_, index) => record(index));
    for (let round = 0; round < 20; round++) expect(appendHistory(dir, many)).toBeUndefined();
    const files = readdirSync(dir).sort();
    expect(files).toEqual(['history.jsonl', 'history.jsonl.1']);
    for (const file of files) expect(statSync(join(dir, file)).size).toBeLessThanOrEqual(1 << 20);
    expect(pids().slice(-1000)).toEqual(many.map(({ pid }) => pid));
  });
  it('is readable by its owner only', () => {
    appendHistory(join(dir, 'state'), [record(1)]);
    expect(statSync(join(dir, 'state')).mode & 0o777).toBe(0o700);
    expect(statSync(join(dir, 'state/history.jsonl')).mode & 0o777).toBe(0o600);
  });
  it('follows no link', () => {
    writeFileSync(join(dir, 'target'), 'precious\n');
    symlinkSync(join(dir, 'target'), join(dir, 'history.jsonl'));
    expect(appendHistory(dir, [record(1)])).toMatch(/ELOOP/);
    expect(readHistory(dir).problem).toMatch(/ELOOP/);
    expect(readFileSync(join(dir, 'target'), 'utf8')).toBe('precious\n');
  });
  it('says why it could not be kept, and does not throw', () => {
    mkdirSync(join(dir, 'history.jsonl'));
    expect(appendHistory(dir, [record(1)])).toMatch(/history/);
    expect(appendHistory('/proc/clay-reaper', [record(1)])).toMatch(/ENOENT/);
    expect(appendHistory('/dev/full/x', [record(1)])).toMatch(/ENOTDIR/);
  });
});
