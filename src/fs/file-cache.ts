import { lstatSync, type Stats } from 'node:fs';
import { attempt, fail, ok, type Result } from '../result.ts';
import { type UntrustedFile, withUntrustedFile } from './untrusted-file.ts';
import { BUDGET_EXHAUSTED, type UserBudget } from './user-budget.ts';

/** What identifies one version of a file: while all of it stays the same, so does the content. */
export type FileFingerprint = Pick<Stats, 'dev' | 'ino' | 'size' | 'mtimeMs' | 'ctimeMs'>;

/** File times are coarse: a file that changed within this time before it was read may change again without a new time. */
const MTIME_GRANULARITY_MS = 2_000;

/** The fingerprint of a file that was opened just now. One that changed a moment ago never counts as unchanged. */
export function fingerprint({ dev, ino, size, mtimeMs, ctimeMs }: Stats): FileFingerprint {
  return { dev, ino, size, mtimeMs, ctimeMs: ctimeMs < Date.now() - MTIME_GRANULARITY_MS ? ctimeMs : Number.NaN };
}

/**
 * Whether a path still leads to the same version of a file, by one lstat(2). The change time is reliable because no user
 * can set it (inode(7)).
 */
export function isUnchanged(path: string, before: FileFingerprint, budget: UserBudget): boolean {
  return budget.checkPath(path).ok && hasVersion(path, before);
}

const NO_THROW = { throwIfNoEntry: false } as const;

function hasVersion(path: string, before: FileFingerprint): boolean {
  let now: Stats | undefined;
  try {
    now = lstatSync(path, NO_THROW);
  } catch {
    return false;
  }
  return (
    now !== undefined &&
    now.ino === before.ino &&
    now.mtimeMs === before.mtimeMs &&
    now.ctimeMs === before.ctimeMs &&
    now.size === before.size &&
    now.dev === before.dev
  );
}

/** Reads files of other users and keeps what was made of each; a file that has not changed is not opened again. */
export type FileReader<T> = {
  /**
   * What `parse` makes of a file (see {@link withUntrustedFile}). `previous`: what it made of the last version of the same
   * file (same inode), or null.
   */
  readonly read: (
    path: string,
    ownerUid: number | null,
    budget: UserBudget,
    parse: (file: UntrustedFile, previous: T | null) => Result<T>,
  ) => Result<T>;
  /** Whether {@link read} would give again what it gave last, without opening the file. */
  readonly isUnchanged: (path: string, budget: UserBudget) => boolean;
  /** Forgets all other files. */
  readonly keepOnly: (paths: ReadonlySet<string>) => void;
};

/** Makes a reader that has read nothing yet. `isWhole`: whether all of the file is in the value; if not, it is read again. */
export function newFileReader<T>(isWhole: (value: T) => boolean = () => true): FileReader<T> {
  const known = new Map<string, { readonly version: FileFingerprint; readonly value: T }>();
  return {
    isUnchanged: (path, budget) => {
      const last = known.get(path);
      return last !== undefined && isWhole(last.value) && isUnchanged(path, last.version, budget);
    },
    read: (path, ownerUid, budget, parse) => {
      const allowed = budget.checkPath(path);
      if (!allowed.ok) return allowed;
      const last = known.get(path);
      if (last && isWhole(last.value) && hasVersion(path, last.version)) return ok(last.value);
      known.delete(path);
      return withUntrustedFile(path, ownerUid, budget, (file) => {
        const version = fingerprint(file.stat);
        const isSameFile = last?.version.ino === version.ino && last.version.dev === version.dev;
        const value = parse(file, isSameFile ? last.value : null);
        if (value.ok) known.set(path, { version, value: value.value });
        return value;
      });
    },
    keepOnly: (paths) => {
      for (const path of known.keys()) if (!paths.has(path)) known.delete(path);
    },
  };
}

/**
 * Lists one directory of another user and keeps the names, which count for that user; a directory that has not changed is not
 * listed again.
 */
export type DirectoryReader = (path: string, budget: UserBudget, list: () => Result<string[]>) => Result<string[]>;

type Listing = {
  readonly path: string;
  /** Null: of a link in its place it would say nothing. */
  readonly version: FileFingerprint | null;
  readonly names: string[];
  readonly items: number;
};

/** Makes a reader that has listed nothing yet. */
export function newDirectoryReader(): DirectoryReader {
  let last: Listing | null = null;
  return (path, budget, list) => {
    const allowed = budget.checkPath(path);
    if (!allowed.ok) return allowed;
    const isKnown = last?.path === path && last.version !== null && hasVersion(path, last.version);
    const listing = isKnown && last ? ok(last) : listAnew(path, list);
    last = null;
    if (!listing.ok) return listing;
    if (!budget.reserve(listing.value.items)) return fail('invalid', BUDGET_EXHAUSTED);
    last = listing.value;
    return ok(last.names);
  };
}

function listAnew(path: string, list: () => Result<string[]>): Result<Listing> {
  // Before the names: what comes in between changes the directory again.
  const stat = attempt(path, () => lstatSync(path));
  const names = list();
  if (!names.ok) return names;
  const version = stat.ok && stat.value.isDirectory() ? fingerprint(stat.value) : null;
  const items = names.value.reduce((sum, name) => sum + Math.ceil(name.length / 100), 0);
  return ok({ path, version, names: names.value, items });
}
