import { execFileSync } from 'node:child_process';
import fs, {
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  attempt,
  failureOf,
  firmFolder,
  listNames,
  openSocketFile,
  readForeignText,
  withForeignFile,
} from '../../src/files.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-files-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const uid = process.getuid?.() ?? 0;
const error = (code: string): NodeJS.ErrnoException => Object.assign(new Error(code), { code });

describe('failureOf', () => {
  it.each([
    ['ENOENT', 'gone'],
    ['ESRCH', 'gone'],
    ['ENOTDIR', 'gone'],
    ['ENAMETOOLONG', 'gone'],
    ['EACCES', 'denied'],
    ['EPERM', 'denied'],
    ['ELOOP', 'odd'],
    ['EIO', 'error'],
    ['EISDIR', 'error'],
    ['EMFILE', 'error'],
  ])('%s: %s', (code, why) => {
    expect(failureOf(error(code), '/x')).toMatchObject({
      ok: false,
      failure: { why, detail: expect.stringMatching(/^\/x /) },
    });
  });
  it('takes an error without a code for none of ours', () => {
    expect(failureOf(new Error('x'), '/x')).toMatchObject({ failure: { why: 'error' } });
  });
});

describe('attempt', () => {
  it('gives the value, or why there is none', () => {
    expect(attempt('x', () => 5)).toEqual({ ok: true, value: 5 });
    expect(
      attempt('x', () => {
        throw error('EACCES');
      }),
    ).toMatchObject({ failure: { why: 'denied' } });
  });
});

describe('readForeignText', () => {
  const read = (name: string, owner: number | null = uid, max = 100) => readForeignText(join(dir, name), owner, max);

  it('reads a regular file', () => {
    writeFileSync(join(dir, 'a'), 'é');
    expect(read('a')).toEqual({ ok: true, value: 'é' });
    expect(read('a', null)).toEqual({ ok: true, value: 'é' });
  });
  it('reads up to its limit, and no more', () => {
    writeFileSync(join(dir, 'a'), 'x'.repeat(100));
    writeFileSync(join(dir, 'b'), 'x'.repeat(101));
    expect(read('a').ok).toBe(true);
    expect(read('b')).toMatchObject({ ok: false, failure: { why: 'odd' } });
  });
  it('refuses what belongs to somebody else', () => {
    writeFileSync(join(dir, 'a'), 'x');
    expect(read('a', uid + 1)).toMatchObject({ ok: false, failure: { why: 'odd' } });
  });
  it('follows no link', () => {
    writeFileSync(join(dir, 'a'), 'x');
    symlinkSync(join(dir, 'a'), join(dir, 'b'));
    expect(read('b')).toMatchObject({ ok: false, failure: { why: 'odd', detail: expect.stringContaining('link') } });
  });
  it('reads a hard link as the file that it is', () => {
    writeFileSync(join(dir, 'a'), 'x');
    linkSync(join(dir, 'a'), join(dir, 'b'));
    expect(read('b').ok).toBe(true);
  });
  it('does not wait at a FIFO', () => {
    execFileSync('mkfifo', [join(dir, 'a')]);
    expect(read('a')).toMatchObject({ ok: false, failure: { why: 'odd' } });
  });
  it('opens neither folder, device nor socket', async () => {
    mkdirSync(join(dir, 'a'));
    expect(read('a')).toMatchObject({ ok: false, failure: { why: 'odd' } });
    expect(readForeignText('/dev/zero', null, 100)).toMatchObject({ ok: false, failure: { why: 'odd' } });
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(dir, 's'), resolve));
    expect(read('s').ok).toBe(false);
    await new Promise((resolve) => server.close(resolve));
  });
  it('says if it is gone', () => expect(read('a')).toMatchObject({ ok: false, failure: { why: 'gone' } }));
});

describe('withForeignFile', () => {
  it('reads ranges, short at the end', () => {
    writeFileSync(join(dir, 'a'), '0123456789');
    const ranges = withForeignFile(join(dir, 'a'), uid, (file) => ({
      ok: true,
      value: [file.read(0, 3), file.read(8, 5), file.read(20, 5)].map(String),
    }));
    expect(ranges).toEqual({ ok: true, value: ['012', '89', ''] });
  });
  it('makes an error of its user’s a failure', () => {
    writeFileSync(join(dir, 'a'), '');
    const thrown = withForeignFile(join(dir, 'a'), uid, () => {
      throw error('EIO');
    });
    expect(thrown).toMatchObject({ ok: false, failure: { why: 'error' } });
  });
});

describe('firmFolder', () => {
  it('is the real path of a folder', () => {
    mkdirSync(join(dir, 'a'));
    symlinkSync(join(dir, 'a'), join(dir, 'b'));
    expect(firmFolder(join(dir, 'b'), uid)).toEqual({ ok: true, value: realpathSync(join(dir, 'a')) });
  });
  it('is none that leads through one that anybody may change', () => {
    mkdirSync(join(dir, 'open/home'), { recursive: true });
    chmodSync(join(dir, 'open'), 0o777);
    expect(firmFolder(join(dir, 'open/home'), uid)).toMatchObject({ ok: false, failure: { why: 'odd' } });
    expect(firmFolder(join(dir, 'open'), uid)).toMatchObject({ ok: false, failure: { why: 'odd' } });
    // In a sticky one, nobody can rename what is not theirs (as in /tmp).
    chmodSync(join(dir, 'open'), 0o1777);
    expect(firmFolder(join(dir, 'open/home'), uid).ok).toBe(true);
  });
  it('is no file, and not what is not there', () => {
    writeFileSync(join(dir, 'a'), '');
    expect(firmFolder(join(dir, 'a'), uid)).toMatchObject({ ok: false, failure: { why: 'odd' } });
    expect(firmFolder(join(dir, 'none'), uid)).toMatchObject({ ok: false, failure: { why: 'gone' } });
  });
});

describe('openSocketFile', () => {
  it('opens a socket of that user, and nothing else', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(dir, 's'), resolve));
    symlinkSync(join(dir, 's'), join(dir, 'link'));
    writeFileSync(join(dir, 'file'), '');
    const opened = openSocketFile(join(dir, 's'), uid);
    expect(opened.ok).toBe(true);
    if (opened.ok) closeSync(opened.value);
    expect(openSocketFile(join(dir, 's'), uid + 1)).toMatchObject({ ok: false, failure: { why: 'odd' } });
    expect(openSocketFile(join(dir, 'link'), uid)).toMatchObject({ ok: false, failure: { why: 'odd' } });
    expect(openSocketFile(join(dir, 'file'), uid)).toMatchObject({ ok: false, failure: { why: 'odd' } });
    expect(openSocketFile(join(dir, 'none'), uid)).toMatchObject({ ok: false, failure: { why: 'gone' } });
    await new Promise((resolve) => server.close(resolve));
  });
});

describe('listNames', () => {
  it('are the names in a folder, as many as are wanted', () => {
    for (const name of ['b', 'a', 'c']) writeFileSync(join(dir, name), '');
    mkdirSync(join(dir, 'd'));
    expect(listNames(dir, 4)).toEqual({ ok: true, value: ['a', 'b', 'c', 'd'] });
    expect(listNames(dir, 4, (entry) => entry.isDirectory())).toEqual({ ok: true, value: ['d'] });
    expect(listNames(dir, 3)).toMatchObject({ ok: false, failure: { why: 'odd' } });
    expect(listNames(dir, 3, (entry) => entry.isDirectory())).toMatchObject({ ok: false, failure: { why: 'odd' } });
    expect(listNames(join(dir, 'none'), 3)).toMatchObject({ ok: false, failure: { why: 'gone' } });
  });
  it('are not read on when they are too many', () => {
    for (let each = 0; each < 50; each += 1) writeFileSync(join(dir, String(each)), '');
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
      expect(listNames(dir, 10)).toMatchObject({ ok: false, failure: { why: 'odd' } });
    } finally {
      fs.opendirSync = opendirSync;
      syncBuiltinESMExports();
    }
    expect(reads).toBeLessThan(15);
  });
});
