import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { letGoOfUnread, readHeldRecord } from '../../src/proc/held.ts';
import { openFiles } from '../support/processes.ts';

let folder = '';
let child: ChildProcess;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'held-'));
  child = spawn('sleep', ['60'], { stdio: 'ignore' });
  await once(child, 'spawn');
});
afterEach(() => {
  child.kill();
  endLook();
  rmSync(folder, { recursive: true });
});

/** A look in which nothing is read lets go of everything. */
const endLook = (): void => {
  letGoOfUnread();
  letGoOfUnread();
};
const schedstat = (): string => `/proc/${child.pid}/schedstat`;

const isOpen = (path: string): boolean => openFiles(process.pid).includes(path);

describe('readHeldRecord', () => {
  it('reads anew what it holds', () => {
    const path = join(folder, 'record');
    for (const text of ['1106542 0 3\n', '1106542 0 4\n', '7 0 1\n']) {
      writeFileSync(path, text);
      expect(readHeldRecord(path)).toEqual({ ok: true, value: text });
    }
  });
  it('holds what each look reads, and no longer', () => {
    readHeldRecord(schedstat());
    letGoOfUnread();
    expect(isOpen(schedstat())).toBe(true);
    readHeldRecord(schedstat());
    letGoOfUnread();
    expect(isOpen(schedstat())).toBe(true);
    letGoOfUnread();
    expect(isOpen(schedstat())).toBe(false);
  });
  it('reads what it holds, whatever else its path leads to by then', () => {
    const [path, other] = [join(folder, 'record'), join(folder, 'other')];
    writeFileSync(path, '1106542 0 3\n');
    readHeldRecord(path);
    writeFileSync(other, '1106542 0 4\n');
    renameSync(other, path);
    expect(readHeldRecord(path)).toEqual({ ok: true, value: '1106542 0 3\n' });
  });
  it('reads nothing of a process that is gone', async () => {
    const path = schedstat();
    expect(readHeldRecord(path)).toMatchObject({ ok: true });
    child.kill();
    await once(child, 'exit');
    expect(readHeldRecord(path)).toMatchObject({ ok: false, failure: { why: 'gone' } });
  });
  it('lets go of what it cannot read any more, so that the next look opens what is there by then', async () => {
    const path = schedstat();
    readHeldRecord(path);
    letGoOfUnread();
    child.kill();
    await once(child, 'exit');
    readHeldRecord(path);
    letGoOfUnread();
    // The kernel puts this behind the path of what is deleted.
    expect([isOpen(path), isOpen(`${path} (deleted)`)]).toEqual([false, false]);
  });
  it('says if there is nothing', () => {
    expect(readHeldRecord(join(folder, 'record'))).toMatchObject({ ok: false, failure: { why: 'gone' } });
  });
  it('reads what is too much to be held all the same', () => {
    const paths = Array.from({ length: 100 }, (_, at) => join(folder, String(at)));
    for (const path of paths) {
      writeFileSync(path, path);
      expect(readHeldRecord(path)).toEqual({ ok: true, value: path });
    }
    expect(paths.filter(isOpen)).toHaveLength(64);
  });
});
