import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { newDirectoryReader, newFileReader } from '../../../src/fs/file-cache.ts';
import { readText, type UntrustedFile } from '../../../src/fs/untrusted-file.ts';
import { ok } from '../../../src/result.ts';
import { noLimit } from '../../helpers/budget.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-files-'));
  path = join(dir, 'a');
  writeFileSync(path, 'one');
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(dir, { recursive: true, force: true });
});

const uid = process.getuid?.() ?? 0;
const cachedReader = () => {
  const files = newFileReader<string>();
  const read = vi.fn((file: UntrustedFile) => readText(file, path, 100));
  return { read, text: () => files.read(path, uid, noLimit, read) };
};
/** File times within the last 2 s are too coarse to be trusted, so tests move the clock ahead. */
const afterTheTimesHaveSettled = () => vi.useFakeTimers({ now: Date.now() + 3_000, toFake: ['Date'] });

describe('newFileReader', () => {
  it('does not open a file that has not changed', () => {
    afterTheTimesHaveSettled();
    const { read, text } = cachedReader();
    expect([text(), text()]).toEqual([
      { ok: true, value: 'one' },
      { ok: true, value: 'one' },
    ]);
    expect(read).toHaveBeenCalledTimes(1);
  });
  it('reads a file again that was changed a moment before it was read', () => {
    const { read, text } = cachedReader();
    text();
    text();
    expect(read).toHaveBeenCalledTimes(2);
  });
  it('reads a file again after a change that keeps its size and modification time', () => {
    afterTheTimesHaveSettled();
    const { text } = cachedReader();
    utimesSync(path, 1, 1);
    expect(text()).toEqual({ ok: true, value: 'one' });
    writeFileSync(path, 'two');
    utimesSync(path, 1, 1);
    expect(text()).toEqual({ ok: true, value: 'two' });
  });
  it('reads a file again that was replaced or has grown', () => {
    afterTheTimesHaveSettled();
    const { text } = cachedReader();
    text();
    writeFileSync(join(dir, 'b'), 'two');
    renameSync(join(dir, 'b'), path);
    expect(text()).toEqual({ ok: true, value: 'two' });
    appendFileSync(path, '!');
    expect(text()).toEqual({ ok: true, value: 'two!' });
  });
  it('hands what was made of the same file before to the parser, and not that of another file', () => {
    const { read, text } = cachedReader();
    text();
    appendFileSync(path, '!');
    text();
    writeFileSync(join(dir, 'b'), 'two');
    renameSync(join(dir, 'b'), path);
    text();
    expect(read.mock.calls.map((parameters) => (parameters as unknown[])[1])).toEqual([null, 'one', null]);
  });
  it('forgets files that are not to be kept', () => {
    afterTheTimesHaveSettled();
    const files = newFileReader<string>();
    const read = vi.fn((file: UntrustedFile) => readText(file, path, 100));
    files.read(path, uid, noLimit, read);
    files.keepOnly(new Set());
    files.read(path, uid, noLimit, read);
    expect(read).toHaveBeenCalledTimes(2);
  });
  it('does not keep a failure', () => {
    afterTheTimesHaveSettled();
    const { text } = cachedReader();
    text();
    rmSync(path);
    expect(text()).toMatchObject({ failure: { code: 'not-found' } });
  });
});

describe('newDirectoryReader', () => {
  const cachedNames = (folder = dir, budget = noLimit) => {
    const reader = newDirectoryReader();
    const list = vi.fn(() => ok(readdirSync(folder)));
    return { list, names: () => reader(folder, budget, list) };
  };

  it('does not list a directory that has not changed', () => {
    afterTheTimesHaveSettled();
    const { list, names } = cachedNames();
    expect([names(), names()]).toEqual([ok(['a']), ok(['a'])]);
    expect(list).toHaveBeenCalledTimes(1);
  });
  it('lists it again after a name has come, has gone or was replaced', () => {
    afterTheTimesHaveSettled();
    const { list, names } = cachedNames();
    names();
    writeFileSync(join(dir, 'b'), '');
    expect(names()).toEqual(ok(['a', 'b']));
    names();
    renameSync(join(dir, 'b'), join(dir, 'c'));
    expect(names()).toEqual(ok(['a', 'c']));
    expect(list).toHaveBeenCalledTimes(3);
  });
  it('lists it again if it changed a moment before', () => {
    const { list, names } = cachedNames();
    names();
    names();
    expect(list).toHaveBeenCalledTimes(2);
  });
  it('keeps nothing of a link: it can lead elsewhere', () => {
    mkdirSync(join(dir, 'real'));
    symlinkSync(join(dir, 'real'), join(dir, 'link'));
    afterTheTimesHaveSettled();
    const { names } = cachedNames(join(dir, 'link'));
    expect(names()).toEqual(ok([]));
    writeFileSync(join(dir, 'real/a'), '');
    expect(names()).toEqual(ok(['a']));
  });
  it('counts the names in each sweep, and keeps none beyond the budget', () => {
    afterTheTimesHaveSettled();
    const items: number[] = [];
    const budget = { ...noLimit, reserve: (count: number) => items.push(count) < 3 };
    const { list, names } = cachedNames(dir, budget);
    expect([names().ok, names().ok, names().ok]).toEqual([true, true, false]);
    expect(items).toEqual([1, 1, 1]);
    names();
    expect(list).toHaveBeenCalledTimes(2);
  });
});
