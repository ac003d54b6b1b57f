import { closeSync, openSync, readlinkSync, readSync } from 'node:fs';
import { listDirectory } from '../fs/untrusted-file.ts';
import { attempt, fail, ok, type Result, toFailure } from '../result.ts';

/**
 * One buffer for all reads, which are synchronous: 35 processes take 400 of them in a sweep, and an own buffer for each
 * takes 2 µs more of 12 (measured). The kernel gives the size of these files as 0; 32 KiB hold any stat, status, environ
 * and net/unix of an ordinary host, and longer text gets a buffer of its own.
 */
const scratch = Buffer.allocUnsafe(32 * 1024);

/** net/tcp of a very busy host (100,000 rows of 150 bytes) still fits; anything longer is refused. */
const MAX_BYTES = 32 * 1024 * 1024;

/** The bytes of a /proc file, valid until the next read; one that is longer than `maxBytes` is refused. */
export function readProcBytes(path: string, maxBytes = MAX_BYTES): Result<Buffer> {
  return withOpenFile(path, (fd) => readOpenFile(fd, path, maxBytes));
}

function readOpenFile(fd: number, path: string, maxBytes: number): Result<Buffer> {
  let [buffer, filled] = [scratch, 0];
  for (;;) {
    const got = readSync(fd, buffer, filled, buffer.length - filled, null);
    filled += got;
    if (got === 0) return ok(buffer.subarray(0, filled));
    if (filled > maxBytes) return fail('invalid', `${path} is larger than ${maxBytes} bytes`);
    if (filled === buffer.length) buffer = Buffer.concat([buffer, Buffer.allocUnsafe(buffer.length)]);
  }
}

function withOpenFile<T>(path: string, read: (fd: number) => Result<T>): Result<T> {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    return toFailure(error, path);
  }
  try {
    return read(fd);
  } catch (error) {
    return toFailure(error, path);
  } finally {
    closeSync(fd);
  }
}

/** The text of a /proc file. Latin-1, because names in it may hold any byte and only ASCII is ever looked for. */
export function readProcText(path: string): Result<string> {
  const bytes = readProcBytes(path);
  return bytes.ok ? ok(bytes.value.toString('latin1')) : bytes;
}

/**
 * {@link readProcText} of a file that the kernel makes as a whole (`stat`, `schedstat`, `uptime`: single_open() in
 * fs/proc): it needs no second read to find its end.
 */
export function readSingleRead(path: string): Result<string> {
  return withOpenFile(path, readOnce);
}

const readOnce = (fd: number): Result<string> =>
  ok(scratch.toString('latin1', 0, readSync(fd, scratch, 0, scratch.length, null)));

/**
 * The texts of two files of one process. Both are opened before either is read: the kernel ties an open file in /proc/PID to its
 * process, and reading it fails with ESRCH once that process is gone, even if another one has its pid by then. So both texts are
 * of the same process, which still ran when the second was read.
 */
export function readPairOfProcess(first: string, second: string): Result<readonly [string, string]> {
  return withOpenFile(first, (firstFd) =>
    withOpenFile(second, (secondFd) => {
      const firstBytes = readOpenFile(firstFd, first, MAX_BYTES);
      if (!firstBytes.ok) return firstBytes;
      const firstText = firstBytes.value.toString('latin1');
      const secondBytes = readOpenFile(secondFd, second, MAX_BYTES);
      return secondBytes.ok ? ok([firstText, secondBytes.value.toString('latin1')] as const) : secondBytes;
    }),
  );
}

/** The first bytes of a /proc file, at most `length` (up to 32 KiB); valid until the next read. */
export function readProcPrefix(path: string, length: number): Result<Buffer> {
  return withOpenFile(path, (fd) => ok(scratch.subarray(0, readSync(fd, scratch, 0, length, null))));
}

const NEWLINE = 0x0a;

/**
 * Calls back with each line of a /proc file, in pieces of 32 KiB: tables of sockets can be arbitrarily long. `isExhausted`: asked
 * before each piece, whether there is no time left. A line of more than 32 KiB is an error, or is cut off there.
 */
export function forEachLine(
  path: string,
  isExhausted: () => boolean,
  callback: (line: string) => void,
  longLine: 'fail' | 'cut' = 'fail',
): Result<true> {
  return withOpenFile(path, (fd) => {
    let kept = 0;
    let isCut = false;
    for (;;) {
      if (isExhausted()) return fail('invalid', `${path} takes too long to read`);
      const got = readSync(fd, scratch, kept, scratch.length - kept, null);
      const filled = kept + got;
      let start = 0;
      for (let end = scratch.indexOf(NEWLINE); end !== -1 && end < filled; end = scratch.indexOf(NEWLINE, start)) {
        if (!isCut) callback(scratch.toString('latin1', start, end));
        isCut = false;
        start = end + 1;
      }
      if (got === 0) {
        if (kept > 0 && !isCut) callback(scratch.toString('latin1', 0, kept));
        return ok(true);
      }
      kept = filled - start;
      if (kept === scratch.length) {
        if (longLine === 'fail') return fail('invalid', `${path} has a line of more than ${scratch.length} bytes`);
        if (!isCut) callback(scratch.toString('latin1'));
        isCut = true;
        kept = 0;
        continue;
      }
      scratch.copyWithin(0, start, filled);
    }
  });
}

/** Where a /proc link (`exe`, `cwd`, `fd/N`, `ns/net`) points to. */
export function readProcLink(path: string): Result<string> {
  return attempt(path, () => readlinkSync(path));
}

/** No machine has more processes, and no process more threads or descriptors. */
const MAX_NAMES = 100_000;

/** The names in a /proc directory; one with more than `maxNames` is refused. */
export const listProcDirectory = (path: string, maxNames = MAX_NAMES): Result<string[]> =>
  listDirectory(path, maxNames);
