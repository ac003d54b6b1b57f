import { closeSync, openSync, readlinkSync, readSync } from 'node:fs';
import { attempt, fail, failureOf, listNames, ok, type Result } from '../files.ts';

// The kernel makes these files while they are read and gives their size as 0, so each is read to its end into one
// buffer that grows to the largest file met. 32 KiB holds any stat, status, environ and net/unix of an ordinary host.
let scratch = Buffer.allocUnsafe(32 * 1024);

/** net/tcp of a very busy host (100,000 rows of 150 bytes) still fits; anything longer is refused. */
const MAX_BYTES = 32 * 1024 * 1024;

/** The bytes of a /proc file, valid until the next call; one that is longer than `maxBytes` is refused. */
export function readProcBytes(path: string, maxBytes = MAX_BYTES): Result<Buffer> {
  const length = readIntoScratch(path, maxBytes, false);
  return length.ok ? ok(scratch.subarray(0, length.value)) : length;
}

/** Gives the number of bytes; `inOneGo`: what one read leaves room behind is all there is. */
function readIntoScratch(path: string, maxBytes: number, inOneGo: boolean): Result<number> {
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
      if (got === 0) return ok(filled);
      filled += got;
      if (filled > maxBytes) return fail('odd', `${path} is larger than ${maxBytes} bytes`);
      if (filled < scratch.length && inOneGo) return ok(filled);
      if (filled < scratch.length) continue;
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

/**
 * {@link readProcText} of a file that the kernel makes as a whole (`stat`, `schedstat`, `uptime`: single_open() in
 * fs/proc): it needs no second read to find its end.
 */
export function readProcRecord(path: string): Result<string> {
  const length = readIntoScratch(path, MAX_BYTES, true);
  return length.ok ? ok(scratch.toString('latin1', 0, length.value)) : length;
}

/**
 * Hands on the lines of a /proc file, one after the other: anybody can make a table of sockets as long as he likes, and
 * V8's heap does not have to hold it.
 */
export function eachProcLine(path: string, use: (line: string) => void): Result<true> {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    return failureOf(error, path);
  }
  try {
    let [kept, total] = [0, 0];
    for (;;) {
      const got = readSync(fd, scratch, kept, scratch.length - kept, null);
      total += got;
      if (total > MAX_BYTES) return fail('odd', `${path} is larger than ${MAX_BYTES} bytes`);
      const filled = kept + got;
      let start = 0;
      for (let end = scratch.indexOf(NEWLINE); end !== -1 && end < filled; end = scratch.indexOf(NEWLINE, start)) {
        use(scratch.toString('latin1', start, end));
        start = end + 1;
      }
      if (got === 0) {
        if (kept > 0) use(scratch.toString('latin1', 0, kept));
        return ok(true);
      }
      kept = filled - start;
      if (kept === scratch.length) return fail('odd', `${path} has a line of more than ${scratch.length} bytes`);
      scratch.copyWithin(0, start, filled);
    }
  } catch (error) {
    return failureOf(error, path);
  } finally {
    closeSync(fd);
  }
}

const NEWLINE = 0x0a;

/** Where a /proc link (`exe`, `cwd`, `fd/N`, `ns/net`) points to. */
export function readProcLink(path: string): Result<string> {
  return attempt(path, () => readlinkSync(path));
}

/** More than any machine has processes, and any process of ours threads or descriptors. */
const MAX_NAMES = 100_000;

/** The names in a /proc directory; one with more than `maxNames` is refused. */
export const listProc = (path: string, maxNames = MAX_NAMES): Result<string[]> => listNames(path, maxNames);
