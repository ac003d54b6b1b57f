import { closeSync, constants, fstatSync, lstatSync, openSync, type Stats } from 'node:fs';
import type { PathGuard } from '../fs/path-guard.ts';
import { O_PATH, procFdPath } from '../fs/unix-socket.ts';
import type { UserBudget } from '../fs/user-budget.ts';
import { attempt, fail, ok, type Result, toFailure } from '../result.ts';
import { readMountInfo } from './mountinfo.ts';
import { readProcLink, readProcText } from './read-file.ts';

/** What a mount namespace has to be compared with: those of this program and of PID 1 always, those of `pids` too. */
export type TrustedProcesses = { readonly procRoot: string; readonly pids: readonly number[] };

/**
 * Whether root made the mount namespace of a process (namespaces(7)), which is not this program's own: the process is in the same
 * user namespace as this program, and in the mount namespace of PID 1 or of one of the trusted processes. In one that a user has
 * made, that user can mount a file system that never answers.
 */
function checkForeignNamespace({ procRoot, pids }: TrustedProcesses, pid: number, namespace: string): Result<true> {
  const user = namespaceOf(procRoot, pid, 'user');
  const own = namespaceOf(procRoot, 'self', 'user');
  // A kernel without user namespaces has no such link.
  if (!user.ok && user.failure.code !== 'not-found') return user;
  if ((user.ok ? user.value : null) !== (own.ok ? own.value : null))
    return fail('invalid', 'it lives in another user namespace, in which its user can mount anything');
  const isTrusted = [1, ...pids].some((other) => {
    const trusted = namespaceOf(procRoot, other, 'mnt');
    return trusted.ok && trusted.value === namespace;
  });
  return isTrusted
    ? ok(true)
    : fail(
        'invalid',
        'it lives in a mount namespace that is neither PID 1’s nor its Clay’s: nothing is opened in there',
      );
}

const namespaceOf = (procRoot: string, pid: number | 'self', kind: 'mnt' | 'user'): Result<string> =>
  readProcLink(`${procRoot}/${pid}/ns/${kind}`);

/** The guard for the mounts that a process sees. Fails if nothing may be opened in its mount namespace. */
export function mountGuardOf(
  trusted: TrustedProcesses,
  pid: number,
  budget: UserBudget,
): Result<{ readonly guard: PathGuard; readonly isOwn: boolean }> {
  const { procRoot } = trusted;
  const namespace = namespaceOf(procRoot, pid, 'mnt');
  if (!namespace.ok) return namespace;
  const own = namespaceOf(procRoot, 'self', 'mnt');
  // In this one, nobody can mount who is in another user namespace (mount_namespaces(7)).
  if (own.ok && own.value === namespace.value) return ok({ guard: budget.guard(), isOwn: true });
  const trust = checkForeignNamespace(trusted, pid, namespace.value);
  if (!trust.ok) return trust;
  return ok({ guard: budget.guardOf(namespace.value, () => readMountInfo(procRoot, pid)), isOwn: false });
}

/**
 * Opens the working directory of a process, in the view that the process has of the files, and hands a path to `read` below
 * which `folder` lies. Fails if the directory, or `folder` in it, is on a file system that may never answer.
 */
export function withWorkingDirectory<T>(
  trusted: TrustedProcesses,
  pid: number,
  folder: string,
  budget: UserBudget,
  read: (directory: string) => Result<T>,
): Result<T> {
  const { procRoot } = trusted;
  const mounts = mountGuardOf(trusted, pid, budget);
  if (!mounts.ok) return mounts;
  const { guard, isOwn } = mounts.value;
  const path = `${procRoot}/${pid}/cwd`;
  const named = readProcLink(path);
  if (!named.ok) return named;
  // A dead network file system may not even be opened; what the link says by then is checked below.
  const safe = guard.checkMounts(named.value);
  if (!safe.ok) return safe;
  const fd = attempt(path, () => openSync(path, O_PATH | constants.O_DIRECTORY));
  if (!fd.ok) return fd;
  try {
    const directory = procFdPath(fd.value);
    const problem = problemOf(fd.value, directory, folder);
    return problem ?? read(directory);
  } catch (error) {
    return toFailure(error, path);
  } finally {
    closeSync(fd.value);
  }

  function problemOf(open: number, directory: string, below: string): Result<never> | null {
    const mount = checkMountOf(open, guard);
    if (!mount.ok) return mount;
    const real = readProcLink(directory);
    if (!real.ok) return real;
    const inside = guard.checkMounts(`${real.value}/${below}`);
    if (!inside.ok) return inside;
    const stat = lstatSync(`${directory}/${below}`, { throwIfNoEntry: false });
    if (!stat?.isSymbolicLink()) return null;
    if (!isOwn)
      return fail('invalid', `${below} in its project is a symbolic link, and leads through its own view of the files`);
    const target = guard.check(`${real.value}/${below}/.`);
    return target.ok ? null : target;
  }
}

/** Whether what is open is on a mount that answers. Nothing else shows that without asking the file system itself. */
function checkMountOf(fd: number, guard: PathGuard): Result<true> {
  const info = readProcText(`/proc/self/fdinfo/${fd}`);
  return info.ok ? guard.checkMountId(Number(/^mnt_id:\t(\d+)$/m.exec(info.value)?.[1])) : info;
}

/**
 * stat(2) of what a link of /proc/PID (`exe`) leads to, without waiting for a file system that may never answer. What is in it may
 * come from a mount namespace that the user made.
 */
export function statOnSafeMount(procRoot: string, pid: number, link: string, budget: UserBudget): Result<Stats> {
  const namespace = namespaceOf(procRoot, pid, 'mnt');
  if (!namespace.ok) return namespace;
  const own = namespaceOf(procRoot, 'self', 'mnt');
  const isOwn = own.ok && own.value === namespace.value;
  const guard = isOwn ? budget.guard() : budget.guardOf(namespace.value, () => readMountInfo(procRoot, pid));
  const fd = attempt(link, () => openSync(link, O_PATH));
  if (!fd.ok) return fd;
  try {
    const mount = checkMountOf(fd.value, guard);
    return mount.ok ? ok(fstatSync(fd.value)) : mount;
  } catch (error) {
    return toFailure(error, link);
  } finally {
    closeSync(fd.value);
  }
}
