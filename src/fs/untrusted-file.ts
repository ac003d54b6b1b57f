import {
  closeSync,
  constants,
  type Dirent,
  fstatSync,
  lstatSync,
  opendirSync,
  openSync,
  readSync,
  type Stats,
  statfsSync,
} from 'node:fs';
import { attempt, fail, ok, type Result, toFailure } from '../result.ts';
import { O_PATH, procFdPath } from './unix-socket.ts';
import type { UserBudget } from './user-budget.ts';

/** A regular file of somebody else's, opened so that it can neither block nor lead elsewhere (open(2)). */
export type UntrustedFile = {
  readonly stat: Stats;
  /**
   * Up to `length` bytes from `position`; fewer at what was the end of the file when it was opened. Valid until the next read of any
   * untrusted file.
   */
  readonly read: (position: number, length: number) => Buffer;
  /** Whether its owner cannot write to it any more because its file system is full (statfs(2)). */
  readonly isOnFullDisk: () => boolean;
};

/** A short record still fits into less, where it needs no block of its own. */
const FULL_BELOW_BYTES = 1024 * 1024;

/**
 * Opens a file that an ordinary user may have written, hands it to `callback` and closes it again. A symbolic link is not
 * followed. First only the path is opened (open(2), O_PATH), which neither waits nor wakes a device; then that very file, if it
 * is a regular one and belongs to `ownerUid` (where given). `budget`: of the user who may have written it, for whom the
 * bytes are counted.
 */
export function withUntrustedFile<T>(
  path: string,
  ownerUid: number | null,
  budget: UserBudget,
  callback: (file: UntrustedFile) => Result<T>,
): Result<T> {
  const allowed = budget.checkPath(path);
  if (!allowed.ok) return allowed;
  const place = attempt(path, () => openSync(path, O_PATH | constants.O_NOFOLLOW));
  if (!place.ok) return place;
  let fd: number | null = null;
  try {
    const stat = fstatSync(place.value);
    if (stat.isSymbolicLink()) return fail('invalid', `${path} is a symbolic link`);
    if (!stat.isFile()) return fail('invalid', `${path} is not a regular file`);
    if (ownerUid !== null && stat.uid !== ownerUid) {
      return fail('invalid', `${path} belongs to uid ${stat.uid}, not to uid ${ownerUid}`);
    }
    const opened = openSync(procFdPath(place.value), constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    fd = opened;
    const read = (position: number, length: number): Buffer => {
      const bytes = readRange(opened, position, Math.max(0, Math.min(length, stat.size - position)));
      budget.charge(bytes.length);
      return bytes;
    };
    const isOnFullDisk = (): boolean => {
      const { blocks, bfree, bavail, bsize } = statfsSync(procFdPath(opened));
      // Some blocks are root's alone. A file system without a size does not count them.
      return blocks > 0 && (stat.uid === 0 ? bfree : bavail) * bsize < FULL_BELOW_BYTES;
    };
    return callback({ stat, read, isOnFullDisk });
  } catch (error) {
    return toFailure(error, path);
  } finally {
    if (fd !== null) closeSync(fd);
    closeSync(place.value);
  }
}

/**
 * One buffer for all reads, which are synchronous. With one for each, Node 24 held 200 MB of them before it freed any, for a user
 * with a thousand long transcripts (Node 20: 85 MB). What is longer gets a buffer of its own.
 */
const scratch = Buffer.allocUnsafe(1024 * 1024);

function readRange(fd: number, position: number, length: number): Buffer {
  const buffer = length <= scratch.length ? scratch : Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const got = readSync(fd, buffer, filled, length - filled, position + filled);
    if (got === 0) break;
    filled += got;
  }
  return buffer.subarray(0, filled);
}

/** The text of a small foreign file (see {@link withUntrustedFile}), as long as it has at most `maxBytes` bytes. */
export function readUntrustedText(
  path: string,
  ownerUid: number | null,
  maxBytes: number,
  budget: UserBudget,
): Result<string> {
  return withUntrustedFile(path, ownerUid, budget, (file) => readText(file, path, maxBytes));
}

/** The text of an open foreign file, as long as it has at most `maxBytes` bytes. */
export function readText({ stat, read }: UntrustedFile, path: string, maxBytes: number): Result<string> {
  if (stat.size > maxBytes) return fail('invalid', `${path} is larger than ${maxBytes} bytes`);
  return ok(read(0, stat.size).toString('utf8'));
}

/**
 * Whether there may be anything at a path, at a fifth of the cost of a failed open. True when unsure: opening it then says why
 * (another user's FUSE mount does not even let root in).
 */
export function mayExist(path: string, budget: UserBudget): boolean {
  if (!budget.checkPath(path).ok) return true;
  const stat = attempt(path, () => lstatSync(path, { throwIfNoEntry: false }));
  return stat.ok ? stat.value !== undefined : stat.failure.code !== 'not-found';
}

/** {@link listDirectory} of a directory that an ordinary user may have made; each name counts as 32 bytes read for them. */
export function listUntrustedDirectory(
  path: string,
  maxNames: number,
  budget: UserBudget,
  filter?: (entry: Dirent) => boolean,
): Result<string[]> {
  // The directory itself is entered, so that a link in its place is followed.
  const allowed = budget.checkPath(`${path}/.`);
  if (!allowed.ok) return allowed;
  const names = listDirectory(path, maxNames, filter);
  budget.charge(NAME_BYTES * (names.ok ? names.value.length : maxNames));
  return names;
}

/** linux/dirent.h: 19 bytes and the name. */
const NAME_BYTES = 32;

/** The names in a directory, or those of them that `filter`; one that holds more than `maxNames` is refused. */
export function listDirectory(
  path: string,
  maxNames: number,
  filter: (entry: Dirent) => boolean = () => true,
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
  if (entries.value.length > maxNames) return fail('invalid', `${path} holds more than ${maxNames} names`);
  return ok(
    entries.value
      .filter(filter)
      .map((entry) => entry.name)
      .sort(),
  );
}
