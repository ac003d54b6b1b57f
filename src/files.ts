import {
  closeSync,
  constants,
  type Dirent,
  fstatSync,
  lstatSync,
  opendirSync,
  openSync,
  readSync,
  realpathSync,
  type Stats,
} from 'node:fs';
import { dirname } from 'node:path';

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

const OTHERS_MAY_WRITE = 0o002;
const STICKY = 0o1000;

/**
 * The real path of a folder that nobody can make another one of but `ownerUid`, root and this very user (path_resolution(7)):
 * it and all folders above it belong to one of them, and others may write only where they cannot rename what is not theirs.
 * A path that leads through a folder of somebody else's would be what that one likes, and again another a moment later.
 */
export function firmFolder(path: string, ownerUid: number): Result<string> {
  const real = attempt(path, () => realpathSync(path));
  if (!real.ok) return real;
  const trusted = new Set([0, ownerUid, process.geteuid?.() ?? ownerUid]);
  for (let folder = real.value; ; folder = dirname(folder)) {
    const stat = attempt(folder, () => lstatSync(folder));
    if (!stat.ok) return stat;
    if (!stat.value.isDirectory()) return fail('odd', `${folder} is not a directory`);
    if (!trusted.has(stat.value.uid)) {
      return fail(
        'odd',
        `${folder} belongs to uid ${stat.value.uid}, so that what is in it is not sure to be uid ${ownerUid}'s`,
      );
    }
    if ((stat.value.mode & OTHERS_MAY_WRITE) !== 0 && (stat.value.mode & STICKY) === 0) {
      return fail('odd', `anybody may write to ${folder}`);
    }
    if (folder === dirname(folder)) return real;
  }
}

// Not in node:fs: the path alone is opened, whatever it leads to, and nothing is read or waited for (open(2), O_PATH).
const O_PATH = 0o10_000_000;

/**
 * Opens a unix socket that belongs to `ownerUid`, for connecting to that very one by {@link pathOfOpen}, wherever its path leads by then.
 * The descriptor is the caller's to close.
 */
export function openSocketFile(path: string, ownerUid: number): Result<number> {
  const fd = attempt(path, () => openSync(path, O_PATH | constants.O_NOFOLLOW));
  if (!fd.ok) return fd;
  const stat = attempt(path, () => fstatSync(fd.value));
  const problem = !stat.ok
    ? stat
    : !stat.value.isSocket()
      ? fail('odd', `${path} is not a socket`)
      : stat.value.uid !== ownerUid
        ? fail('odd', `${path} belongs to uid ${stat.value.uid}, not to uid ${ownerUid}`)
        : null;
  if (problem === null) return fd;
  closeSync(fd.value);
  return problem;
}

/** A path to what this process has open (proc_pid_fd(5)). */
export const pathOfOpen = (fd: number): string => `/proc/self/fd/${fd}`;

/** The names in a directory, or those of them that `isWanted`; one that holds more than `maxNames` is refused. */
export function listNames(
  path: string,
  maxNames: number,
  isWanted: (entry: Dirent) => boolean = () => true,
): Result<string[]> {
  const names = attempt(path, () => {
    const found: string[] = [];
    const directory = opendirSync(path, { bufferSize: 256 });
    try {
      for (let entry = directory.readSync(); entry && found.length <= maxNames; entry = directory.readSync()) {
        if (isWanted(entry)) found.push(entry.name);
      }
    } finally {
      directory.closeSync();
    }
    return found.sort();
  });
  return names.ok && names.value.length > maxNames ? fail('odd', `${path} holds more than ${maxNames} names`) : names;
}
