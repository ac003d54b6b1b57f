import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { attempt, fail, type Result } from '../result.ts';
import type { UserBudget } from './user-budget.ts';

// Not in node:fs: only the path is opened, never what it leads to, and nothing is read or waited for (open(2), O_PATH).
export const O_PATH = 0o10_000_000;

/**
 * Opens a unix socket that belongs to `ownerUid`, for connecting to that very one by {@link procFdPath}, wherever its path leads by then.
 * The descriptor is the caller's to close.
 */
export function openSocketFile(path: string, ownerUid: number, budget: UserBudget): Result<number> {
  const allowed = budget.checkPath(path);
  if (!allowed.ok) return allowed;
  const fd = attempt(path, () => openSync(path, O_PATH | constants.O_NOFOLLOW));
  if (!fd.ok) return fd;
  const stat = attempt(path, () => fstatSync(fd.value));
  const problem = !stat.ok
    ? stat
    : !stat.value.isSocket()
      ? fail('invalid', `${path} is not a socket`)
      : stat.value.uid !== ownerUid
        ? fail('invalid', `${path} belongs to uid ${stat.value.uid}, not to uid ${ownerUid}`)
        : null;
  if (problem === null) return fd;
  closeSync(fd.value);
  return problem;
}

/** A path to what this process has open (proc_pid_fd(5)). */
export const procFdPath = (fd: number): string => `/proc/self/fd/${fd}`;
