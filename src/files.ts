import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';

/** Why something could not be read: it is not there, this user may not, the kernel could not, or it is not what it should be. */
export type Failure = { readonly why: 'gone' | 'denied' | 'error' | 'odd'; readonly detail: string };

/** A value, or why there is none. Expected failures are values here: a process that vanished is no exception. */
export type Result<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly failure: Failure };

/** A successful {@link Result}. */
export const ok = <T>(value: T): Result<T> => ({ ok: true, value });

/** A failed {@link Result}. */
export const fail = (why: Failure['why'], detail: string): Result<never> => ({ ok: false, failure: { why, detail } });

const GONE = new Set(['ENOENT', 'ESRCH', 'ENOTDIR', 'ENAMETOOLONG']);
const DENIED = new Set(['EACCES', 'EPERM']);

/** Turns an error thrown by `node:fs` into a {@link Result}; `what` names the thing that was read. */
export function failureOf(error: unknown, what: string): Result<never> {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
  if (GONE.has(code)) return fail('gone', `${what} is not there`);
  if (DENIED.has(code)) return fail('denied', `${what} may not be read (${code})`);
  if (code === 'ELOOP') return fail('odd', `${what} is a symbolic link`);
  return fail('error', `${what} could not be read (${code})`);
}

/** Runs `read` and gives its value, or its error as a {@link Result}. */
export function attempt<T>(what: string, read: () => T): Result<T> {
  try {
    return ok(read());
  } catch (error) {
    return failureOf(error, what);
  }
}

/** A regular file of somebody else's, opened so that it can neither block nor lead elsewhere (open(2)). */
export type ForeignFile = {
  readonly stat: Stats;
  /** Up to `length` bytes from `position`; fewer at the end of the file. */
  readonly read: (position: number, length: number) => Buffer;
};

/**
 * Opens a file that an ordinary user may have written, hands it to `use` and closes it again.
 * Not followed if it is a symbolic link, not waited for if it is a FIFO, not read unless it is a regular file
 * and belongs to `ownerUid` (where given). Only the file itself is guarded so, not the folders above it.
 */
export function withForeignFile<T>(
  path: string,
  ownerUid: number | null,
  use: (file: ForeignFile) => Result<T>,
): Result<T> {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    return failureOf(error, path);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return fail('odd', `${path} is not a regular file`);
    if (ownerUid !== null && stat.uid !== ownerUid) {
      return fail('odd', `${path} belongs to uid ${stat.uid}, not to uid ${ownerUid}`);
    }
    return use({ stat, read: (position, length) => readRange(fd, position, length) });
  } catch (error) {
    return failureOf(error, path);
  } finally {
    closeSync(fd);
  }
}

function readRange(fd: number, position: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const got = readSync(fd, buffer, filled, length - filled, position + filled);
    if (got === 0) break;
    filled += got;
  }
  return buffer.subarray(0, filled);
}

/** The text of a small foreign file (see {@link withForeignFile}), as long as it has at most `maxBytes` bytes. */
export function readForeignText(path: string, ownerUid: number | null, maxBytes: number): Result<string> {
  return withForeignFile(path, ownerUid, (file) => {
    if (file.stat.size > maxBytes) return fail('odd', `${path} is larger than ${maxBytes} bytes`);
    return ok(file.read(0, file.stat.size).toString('utf8'));
  });
}
