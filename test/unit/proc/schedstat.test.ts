import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hasNotRunSince, readThreadRunCounts, type ThreadRunCounts } from '../../../src/proc/schedstat.ts';
import type { Stat } from '../../../src/proc/stat.ts';

const PID = 7;
let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'runs-'));
  put(7, '1106542 0 3\n');
  put(8, '963818 554776 1\n');
});
afterEach(() => rmSync(root, { recursive: true }));

const fileOf = (thread: number): string => join(root, String(PID), thread === PID ? '' : `task/${thread}`, 'schedstat');

function put(thread: number, schedstat: string): void {
  mkdirSync(join(root, String(PID), 'task', String(thread)), { recursive: true });
  writeFileSync(fileOf(thread), schedstat);
}
const end = (thread: number): void => rmSync(join(root, String(PID), 'task', String(thread)), { recursive: true });
const runs = (state = 'S', threads = 2): ThreadRunCounts | null =>
  readThreadRunCounts(root, { pid: PID, state, threads } as Stat);
const known = (): ThreadRunCounts => {
  const found = runs();
  if (found === null) throw new Error('they are unknown');
  return found;
};

describe('readThreadRunCounts', () => {
  it('returns the counts of every thread', () =>
    expect(runs()?.map(({ text }) => text)).toEqual(['1106542 0 3\n', '963818 554776 1\n']));
  it('returns null while a thread runs', () => expect(runs('R')).toBeNull());
  it('returns null if the kernel does not count', () => {
    put(8, '0 0 0\n');
    expect(runs()).toBeNull();
  });
  it('returns null if a thread ends meanwhile', () => {
    rmSync(fileOf(8));
    expect(runs()).toBeNull();
  });
  it('returns null if it has more threads than any claude', () => {
    for (let thread = 8; thread < 8 + 200; thread += 1) put(thread, '963818 554776 1\n');
    expect(runs('S', 201)).toBeNull();
    end(8);
    expect(runs('S', 200)).toHaveLength(200);
  });
  // One thread at the stat, two now.
  it('returns null if a thread begins meanwhile', () => expect(runs('S', 1)).toBeNull());
});

describe('hasNotRunSince', () => {
  it('holds as long as no thread has run', () => expect(hasNotRunSince(known())).toBe(true));
  it.each([7, 8])('does not hold once thread %i has run', (thread) => {
    const before = known();
    put(thread, '1106542 0 4\n');
    expect(hasNotRunSince(before)).toBe(false);
  });
  it('does not hold once a thread has ended', () => {
    const before = known();
    end(8);
    expect(hasNotRunSince(before)).toBe(false);
  });
});
