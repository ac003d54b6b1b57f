import { closeSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import { attempt, fail, failureOf, ok, type Result } from '../files.ts';

// The kernel makes these files while they are read and gives their size as 0, so each is read to its end into one
// buffer that grows to the largest file met. 32 KiB holds any stat, status, environ and net/unix of an ordinary host.
let scratch = Buffer.allocUnsafe(32 * 1024);

/** net/tcp of a very busy host (100,000 rows of 150 bytes) still fits; anything longer is refused. */
const MAX_BYTES = 32 * 1024 * 1024;

/** The bytes of a /proc file, valid until the next call. */
export function readProcBytes(path: string): Result<Buffer> {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    return failureOf(error, path);
  }
  try {
    let filled = 0;
    for (;;) {
      const got = readSync(fd, scratch, filled, scratch.length - filled, null);
      if (got === 0) return ok(scratch.subarray(0, filled));
      filled += got;
      if (filled < scratch.length) continue;
      if (filled >= MAX_BYTES) return fail('odd', `${path} is larger than ${MAX_BYTES} bytes`);
      scratch = Buffer.concat([scratch, Buffer.allocUnsafe(scratch.length)]);
    }
  } catch (error) {
    return failureOf(error, path);
  } finally {
    closeSync(fd);
  }
}

/** The text of a /proc file. Latin-1, because names in it may hold any byte and only ASCII is ever looked for. */
export function readProcText(path: string): Result<string> {
  const bytes = readProcBytes(path);
  return bytes.ok ? ok(bytes.value.toString('latin1')) : bytes;
}

/** Where a /proc link (`exe`, `cwd`, `fd/N`, `ns/net`) points to. */
export function readProcLink(path: string): Result<string> {
  return attempt(path, () => readlinkSync(path));
}

/** The names in a /proc directory. */
export function listProc(path: string): Result<string[]> {
  return attempt(path, () => readdirSync(path));
}
