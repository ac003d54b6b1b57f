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
  /** Up to `length` bytes from `position`; fewer at what was the end of the file when it was opened. */
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
    const read = (position: number, length: number): Buffer =>
      readRange(fd, position, Math.max(0, Math.min(length, stat.size - position)));
    return use({ stat, read });
  } catch (error) {
    return failureOf(error, path);
  } finally {
    closeSync(fd);
  }
}

/** A file as it was when it was opened: as long as all of this stays the same, so does what is in it. */
export type Version = Pick<Stats, 'dev' | 'ino' | 'size' | 'mtimeMs' | 'ctimeMs'>;

/** The clock of file times is coarse: a file changed this shortly before it was read may change again and not show it. */
const TIMES_SETTLE_MS = 2_000;

/** The version of a file that was opened just now, as long as it can be told from the next one. */
export function versionOf({ dev, ino, size, mtimeMs, ctimeMs }: Stats): Version {
  return { dev, ino, size, mtimeMs, ctimeMs: ctimeMs < Date.now() - TIMES_SETTLE_MS ? ctimeMs : Number.NaN };
}

/** Whether a path still leads to that version of a file; one lstat(2). Nobody can set a change time (inode(7)). */
export function isStill(path: string, version: Version): boolean {
  const now = attempt(path, () => lstatSync(path, { throwIfNoEntry: false }));
  return (
    now.ok &&
    now.value?.dev === version.dev &&
    now.value.ino === version.ino &&
    now.value.size === version.size &&
    now.value.mtimeMs === version.mtimeMs &&
    now.value.ctimeMs === version.ctimeMs
  );
}

/** What was made of a file, kept for as long as the file stays the very same. */
export type Memo<T> = { known: { readonly path: string; readonly version: Version; readonly value: T } | null };

/** A {@link Memo} of nothing. */
export const newMemo = <T>(): Memo<T> => ({ known: null });

/** {@link withForeignFile}, but a file that still is the one that `memo` knows is not opened. */
export function withMemo<T>(
  path: string,
  ownerUid: number | null,
  memo: Memo<T>,
  use: (file: ForeignFile) => Result<T>,
): Result<T> {
  if (memo.known?.path === path && isStill(path, memo.known.version)) return ok(memo.known.value);
  return withForeignFile(path, ownerUid, (file) => {
    const version = versionOf(file.stat);
    const value = use(file);
    memo.known = value.ok ? { path, version, value: value.value } : null;
    return value;
  });
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
  return withForeignFile(path, ownerUid, (file) => textOf(file, path, maxBytes));
}

/** The text of an open foreign file, as long as it has at most `maxBytes` bytes. */
export function textOf({ stat, read }: ForeignFile, path: string, maxBytes: number): Result<string> {
  if (stat.size > maxBytes) return fail('odd', `${path} is larger than ${maxBytes} bytes`);
  return ok(read(0, stat.size).toString('utf8'));
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

/**
 * Whether there may be anything at a path, at a fifth of what it takes to open nothing and catch the error. Where that cannot
 * be told there may: opening it says why (another user's FUSE mount lets not even root in).
 */
export function isThere(path: string): boolean {
  const stat = attempt(path, () => lstatSync(path, { throwIfNoEntry: false }));
  return stat.ok ? stat.value !== undefined : stat.failure.why !== 'gone';
}

/** The names in a directory, or those of them that `isWanted`; one that holds more than `maxNames` is refused. */
export function listNames(
  path: string,
  maxNames: number,
  isWanted: (entry: Dirent) => boolean = () => true,
): Result<string[]> {
  const entries = attempt(path, () => {
    const found: Dirent[] = [];
    const directory = opendirSync(path, { bufferSize: 256 });
    try {
      // One that never ends is left as soon as it is known to be too long.
      for (let entry = directory.readSync(); entry && found.length <= maxNames; entry = directory.readSync()) {
        found.push(entry);
      }
    } finally {
      directory.closeSync();
    }
    return found;
  });
  if (!entries.ok) return entries;
  if (entries.value.length > maxNames) return fail('odd', `${path} holds more than ${maxNames} names`);
  return ok(
    entries.value
      .filter(isWanted)
      .map((entry) => entry.name)
      .sort(),
  );
}
