import { realpathSync } from 'node:fs';
import type { UserBudget } from '../fs/user-budget.ts';
import { locate, type Mount, readMountInfo } from '../proc/mountinfo.ts';
import { readProcLink } from '../proc/read-file.ts';
import { attempt, ok, type Result } from '../result.ts';

/** Whether a path means the same place for a process as for this program. Valid for one sweep. */
export type FileView = { readonly isShared: (pid: number, path: string, budget: UserBudget) => Result<boolean> };

/**
 * Makes a view on the mounts of processes. Beside a container, and in the sandbox of a service, a path can lead elsewhere than
 * in the process that names it; a file that is missing there says nothing about the process. Only tables of mounts are
 * compared: nothing is opened through the mount namespace of another process, where a file system may never answer.
 */
export function newFileView(procRoot: string): FileView {
  const tables = new Map<string, Result<Mount[]>>();
  const namespaceOf = (pid: number | 'self'): Result<string> => readProcLink(`${procRoot}/${pid}/ns/mnt`);
  const mountsIn = (namespace: string, pid: number | 'self'): Result<Mount[]> => {
    const known = tables.get(namespace) ?? readMountInfo(procRoot, pid);
    tables.set(namespace, known);
    return known;
  };

  return {
    isShared: (pid, path, budget) => {
      const [ours, theirs] = [namespaceOf('self'), namespaceOf(pid)];
      if (!ours.ok) return ours;
      if (!theirs.ok) return theirs;
      if (ours.value === theirs.value) return ok(true);
      const [ourMounts, theirMounts] = [mountsIn(ours.value, 'self'), mountsIn(theirs.value, pid)];
      if (!ourMounts.ok) return ourMounts;
      if (!theirMounts.ok) return theirMounts;
      const allowed = budget.checkPath(`${path}/.`);
      if (!allowed.ok && allowed.failure.code !== 'not-found') return allowed;
      const real = attempt(path, () => realpathSync(path));
      const paths = real.ok ? [path, real.value] : [path];
      return ok(paths.every((path) => isSamePlace(ourMounts.value, theirMounts.value, path)));
    },
  };
}

function isSamePlace(ours: readonly Mount[], theirs: readonly Mount[], path: string): boolean {
  const [here, there] = [locate(ours, path), locate(theirs, path)];
  return here !== null && here.device === there?.device && here.path === there.path;
}
