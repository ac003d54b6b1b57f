import { lstatSync, readlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { attempt, fail, ok, type Result } from '../result.ts';

/** A mount: its id, which /proc/PID/fdinfo/FD names, where it is, and the type and the options of its file system. */
export type Mount = {
  readonly id: number;
  readonly mountPoint: string;
  readonly fsType: string;
  readonly options?: readonly string[];
};

/**
 * File systems that answer without a network and without a process of a user: disks, memory, and what the host of a virtual
 * machine shares. All others (fuse, nfs, cifs, autofs, ceph, and what is not known) may never answer, and a call that waits for
 * them cannot be given up, not even by SIGKILL. ecryptfs is one of them: its users mount it over a folder of theirs, which can
 * be a FUSE.
 */
const LOCAL_TYPES = new Set([
  ...['ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'zfs', 'f2fs', 'bcachefs', 'jfs', 'reiserfs', 'nilfs2', 'ntfs3', 'exfat'],
  ...['vfat', 'iso9660', 'udf', 'squashfs', 'erofs', 'ubifs', 'jffs2', 'tmpfs', 'ramfs', 'rootfs', 'devtmpfs'],
  ...['overlay', 'virtiofs'],
  ...[
    'proc',
    'sysfs',
    'cgroup',
    'cgroup2',
    'devpts',
    'mqueue',
    'hugetlbfs',
    'debugfs',
    'tracefs',
    'securityfs',
    'pstore',
  ],
  ...['bpf', 'configfs', 'binfmt_misc', 'efivarfs', 'fusectl', 'nsfs', 'selinuxfs'],
]);

/** systemd mounts autofs in there; only root can, and no path of a user's leads there by chance. */
const SYSTEM_PATH = /^\/(?:proc|sys)\//;

/** Whether a file system always answers. 9p is a network protocol too, but over virtio it is the host that answers. */
export const isLocal = ({ fsType, options = [] }: Pick<Mount, 'fsType' | 'options'>): boolean =>
  LOCAL_TYPES.has(fsType) || (fsType === '9p' && options.includes('trans=virtio'));

/** Decides whether a path can be touched without the risk of waiting for ever. */
export type PathGuard = {
  /**
   * Fails if a mount on the way to `path`, or `path` itself, is of a type that may never answer. Symbolic links on the way are
   * followed one by one, each component is checked before it is touched, and `path` itself is not touched at all.
   */
  readonly check: (path: string) => Result<true>;
  /** The same for a path without links, and nothing is touched. */
  readonly checkMounts: (path: string) => Result<true>;
  /** The same for what lies on the mount with this id; fails too if there is no such mount (any more). */
  readonly checkMountId: (id: number) => Result<true>;
};

const refusal = (mountPoint: string, fsType: string): Result<never> =>
  fail(
    'io',
    `${mountPoint} is a file system of type ${fsType}, which may never answer: nothing is read there, except by a service of that user (clay-reaper install --user)`,
  );

/** path_resolution(7): the kernel gives up at as many. */
const MAX_LINKS = 40;

/**
 * A guard for the mounts of one moment; make a new one for each sweep. The root directory is not checked: the programs of
 * the system are on it too.
 */
export function newPathGuard(mounts: readonly Mount[]): PathGuard {
  const unsafe = new Map<string, string>();
  for (const mount of mounts) {
    const { mountPoint, fsType } = mount;
    // The last mount at a point is the one on top.
    if (isLocal(mount) || mountPoint === '/' || SYSTEM_PATH.test(mountPoint)) unsafe.delete(mountPoint);
    else unsafe.set(mountPoint, fsType);
  }
  const byId = new Map(mounts.map((mount) => [mount.id, mount]));
  const checked = new Map<string, Result<string>>();
  const realDirectories = new Set(['/']);

  const mountProblem = (path: string): Result<never> | null => {
    const fsType = unsafe.get(path);
    return fsType === undefined ? null : refusal(path, fsType);
  };

  const resolveDirectory = (path: string): Result<string> => {
    const pending = path.split('/').reverse();
    let real = '/';
    let links = 0;
    while (pending.length > 0) {
      const name = pending.pop() ?? '';
      if (name === '' || name === '.') continue;
      if (name === '..') {
        real = dirname(real);
        continue;
      }
      const next = real === '/' ? `/${name}` : `${real}/${name}`;
      const problem = mountProblem(next);
      if (problem) return problem;
      if (!realDirectories.has(next)) {
        const stat = attempt(next, () => lstatSync(next));
        if (!stat.ok) return stat;
        if (stat.value.isSymbolicLink()) {
          if (++links > MAX_LINKS)
            return fail('invalid', `${path} leads through more than ${MAX_LINKS} symbolic links`);
          const target = attempt(next, () => readlinkSync(next));
          if (!target.ok) return target;
          if (target.value.startsWith('/')) real = '/';
          pending.push(...target.value.split('/').reverse());
          continue;
        }
        if (stat.value.isDirectory()) realDirectories.add(next);
      }
      real = next;
    }
    return ok(real);
  };

  return {
    checkMounts: (path) => {
      for (let at = path; unsafe.size > 0 && at !== dirname(at); at = dirname(at)) {
        const problem = mountProblem(at);
        if (problem) return problem;
      }
      return ok(true);
    },
    checkMountId: (id) => {
      const mount = byId.get(id);
      if (!mount) return fail('io', 'its working directory is on a file system that is mounted nowhere');
      return isLocal(mount) || mount.mountPoint === '/' ? ok(true) : refusal(mount.mountPoint, mount.fsType);
    },
    check: (path) => {
      // The ordinary machine: there is nothing that a path could lead to.
      if (unsafe.size === 0) return ok(true);
      const parent = dirname(path);
      const real = checked.get(parent) ?? resolveDirectory(parent);
      // A directory that is not there may come.
      if (real.ok || real.failure.code !== 'not-found') checked.set(parent, real);
      if (!real.ok) return real;
      return mountProblem(join(real.value, basename(path))) ?? ok(true);
    },
  };
}
