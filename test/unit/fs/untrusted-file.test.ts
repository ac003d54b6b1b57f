import { execFileSync } from 'node:child_process';
import fs, { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listDirectory, mayExist, readUntrustedText, withUntrustedFile } from '../../../src/fs/untrusted-file.ts';
import { noLimit } from '../../helpers/budget.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-files-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const uid = process.getuid?.() ?? 0;
const error = (code: string): NodeJS.ErrnoException => Object.assign(new Error(code), { code });

describe('readUntrustedText', () => {
  const read = (name: string, owner: number | null = uid, max = 100) =>
    readUntrustedText(join(dir, name), owner, max, noLimit);

  it('reads a regular file', () => {
    writeFileSync(join(dir, 'a'), 'é');
    expect(read('a')).toEqual({ ok: true, value: 'é' });
    expect(read('a', null)).toEqual({ ok: true, value: 'é' });
  });
  it('refuses a file larger than the limit', () => {
    writeFileSync(join(dir, 'a'), 'x'.repeat(100));
    writeFileSync(join(dir, 'b'), 'x'.repeat(101));
    expect(read('a').ok).toBe(true);
    expect(read('b')).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
  it('refuses a file of another user', () => {
    writeFileSync(join(dir, 'a'), 'x');
    expect(read('a', uid + 1)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
  it('refuses a symbolic link', () => {
    writeFileSync(join(dir, 'a'), 'x');
    symlinkSync(join(dir, 'a'), join(dir, 'b'));
    expect(read('b')).toMatchObject({
      ok: false,
      failure: { code: 'invalid', detail: expect.stringContaining('link') },
    });
  });
  it('reads a hard link', () => {
    writeFileSync(join(dir, 'a'), 'x');
    linkSync(join(dir, 'a'), join(dir, 'b'));
    expect(read('b').ok).toBe(true);
  });
  it('refuses a FIFO without waiting for a writer', () => {
    execFileSync('mkfifo', [join(dir, 'a')]);
    expect(read('a')).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
  it('refuses directories, devices and sockets', async () => {
    mkdirSync(join(dir, 'a'));
    expect(read('a')).toMatchObject({ ok: false, failure: { code: 'invalid' } });
    expect(readUntrustedText('/dev/zero', null, 100, noLimit)).toMatchObject({
      ok: false,
      failure: { code: 'invalid' },
    });
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(dir, 's'), resolve));
    expect(read('s').ok).toBe(false);
    await new Promise((resolve) => server.close(resolve));
  });
  it('returns not-found for a missing file', () =>
    expect(read('a')).toMatchObject({ ok: false, failure: { code: 'not-found' } }));
});

describe('withUntrustedFile', () => {
  it('reads ranges, shorter at the end of the file', () => {
    writeFileSync(join(dir, 'a'), '0123456789');
    const ranges = withUntrustedFile(join(dir, 'a'), uid, noLimit, (file) => ({
      ok: true,
      value: [String(file.read(0, 3)), String(file.read(8, 5)), String(file.read(20, 5))],
    }));
    expect(ranges).toEqual({ ok: true, value: ['012', '89', ''] });
  });
  it('reads into the same memory again, but for what is longer than 1 MiB', () => {
    writeFileSync(join(dir, 'a'), Buffer.alloc(3 * 1024 * 1024, 'x'));
    const memory = (length: number) =>
      withUntrustedFile(join(dir, 'a'), uid, noLimit, (file) => ({ ok: true, value: file.read(0, length).buffer }));
    const [first, second] = [memory(16), memory(1024 * 1024)];
    expect(first.ok && second.ok && first.value === second.value).toBe(true);
    const long = withUntrustedFile(join(dir, 'a'), uid, noLimit, (file) => ({
      ok: true,
      value: file.read(0, 3 * 1024 * 1024).every((byte) => byte === 0x78),
    }));
    expect(long).toEqual({ ok: true, value: true });
  });
  it('returns an error thrown by the callback as a failure', () => {
    writeFileSync(join(dir, 'a'), '');
    const thrown = withUntrustedFile(join(dir, 'a'), uid, noLimit, () => {
      throw error('EIO');
    });
    expect(thrown).toMatchObject({ ok: false, failure: { code: 'io' } });
  });
});

describe('mayExist', () => {
  it('returns true for a file, a directory and a dangling link', () => {
    writeFileSync(join(dir, 'file'), '');
    symlinkSync('nowhere', join(dir, 'link'));
    expect(['file', 'link', '.'].map((name) => mayExist(join(dir, name), noLimit))).toEqual([true, true, true]);
  });
  it('returns false for a missing path and for a path below a file', () => {
    writeFileSync(join(dir, 'file'), '');
    expect([mayExist(join(dir, 'none'), noLimit), mayExist(join(dir, 'file/x'), noLimit)]).toEqual([false, false]);
  });
});

describe('listDirectory', () => {
  it('lists at most the given number of names, filtered', () => {
    for (const name of ['b', 'a', 'c']) writeFileSync(join(dir, name), '');
    mkdirSync(join(dir, 'd'));
    expect(listDirectory(dir, 4)).toEqual({ ok: true, value: ['a', 'b', 'c', 'd'] });
    expect(listDirectory(dir, 4, (entry) => entry.isDirectory())).toEqual({ ok: true, value: ['d'] });
    expect(listDirectory(dir, 3)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
    expect(listDirectory(dir, 3, (entry) => entry.isDirectory())).toMatchObject({
      ok: false,
      failure: { code: 'invalid' },
    });
    expect(listDirectory(join(dir, 'none'), 3)).toMatchObject({ ok: false, failure: { code: 'not-found' } });
  });
  it('stops reading as soon as the limit is exceeded', () => {
    for (let number = 0; number < 50; number += 1) writeFileSync(join(dir, String(number)), '');
    const { opendirSync } = fs;
    let reads = 0;
    fs.opendirSync = ((...parameters: Parameters<typeof opendirSync>) => {
      const directory = opendirSync(...parameters);
      const readSync = directory.readSync.bind(directory);
      directory.readSync = () => {
        reads += 1;
        return readSync();
      };
      return directory;
    }) as typeof opendirSync;
    syncBuiltinESMExports();
    try {
      expect(listDirectory(dir, 10)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
    } finally {
      fs.opendirSync = opendirSync;
      syncBuiltinESMExports();
    }
    expect(reads).toBeLessThan(15);
  });
});
