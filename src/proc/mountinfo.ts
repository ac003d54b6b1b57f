import { ok, type Result } from '../result.ts';
import { forEachLine, readProcBytes } from './read-file.ts';

/** A mount, see proc_pid_mountinfo(5). */
export type Mount = {
  /** /proc/PID/fdinfo/FD names it as mnt_id. */
  readonly id: number;
  /** `major:minor` of its file system. */
  readonly device: string;
  /** The directory of the file system that is mounted. */
  readonly root: string;
  /** Where, as the process sees it. */
  readonly mountPoint: string;
  readonly fsType: string;
  /** Of the file system, not of the mount: `trans=virtio`. */
  readonly options: readonly string[];
};

/** A place in a file system; many paths can lead to it. */
export type Location = { readonly device: string; readonly path: string };

/**
 * Of another process: a Docker host with 200 containers has some 100 kB, and any user can mount 100,000 times in a namespace of
 * their own (sysctl fs.mount-max).
 */
const MAX_BYTES = 512 * 1024;

/**
 * Of this program: no user may hide what others have mounted. fusermount(1) lets users mount 1,000 times, each over a path of
 * 4 kB, which the kernel escapes to 16 kB, and with a name as long.
 */
const MAX_OWN_BYTES = 64 * 1024 * 1024;

/** Parses a line of a mountinfo file; null if it is none. A line that was cut off may have no options. */
export function parseMount(line: string): Mount | null {
  // The kernel escapes spaces in paths, so this separator is the only one of its kind.
  const [before = '', after] = line.split(' - ', 2);
  const [id, , device, root, mountPoint] = before.split(' ', 5);
  const [fsType, , options = ''] = after?.split(' ', 3) ?? [];
  if (device === undefined || root === undefined || mountPoint === undefined || !fsType) return null;
  return {
    id: Number(id),
    device,
    root: unescapePath(root),
    mountPoint: unescapePath(mountPoint),
    fsType,
    options: options.split(','),
  };
}

/** Space, tab, newline and backslash are written as `\040` and so on. */
const unescapePath = (path: string): string =>
  !path.includes('\\')
    ? path
    : path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

const NOT_ASCII = /[\u0080-\u00ff]/;

/** Reads /proc/PID/mountinfo; `pid` may be `self`. What is mounted over something else comes after it. */
export function readMountInfo(procRoot: string, pid: number | 'self'): Result<Mount[]> {
  const mounts: Mount[] = [];
  const maxBytes = pid === 'self' ? MAX_OWN_BYTES : MAX_BYTES;
  let bytes = 0;
  const read = forEachLine(
    `${procRoot}/${pid}/mountinfo`,
    () => bytes > maxBytes,
    (line) => {
      bytes += line.length;
      const mount = parseMount(NOT_ASCII.test(line) ? Buffer.from(line, 'latin1').toString('utf8') : line);
      if (mount) mounts.push(mount);
    },
    'cut',
  );
  return read.ok ? ok(mounts) : read;
}

/** A Docker host with 200 containers has some 100 kB; a table that is longer is parsed each time. */
const MAX_KEPT_BYTES = 256 * 1024;

/**
 * Returns a reader of this program's mounts, which parses the table again only if it has changed: it is read twice a sweep,
 * and parsing it takes about as long as reading it.
 */
export function newOwnMountsReader(procRoot: string): () => Result<Mount[]> {
  let kept: { readonly table: Buffer; readonly mounts: Result<Mount[]> } | null = null;
  return () => {
    const table = readProcBytes(`${procRoot}/self/mountinfo`, MAX_KEPT_BYTES);
    if (!table.ok) return readMountInfo(procRoot, 'self');
    if (!kept?.table.equals(table.value)) {
      const lines = table.value.toString('utf8').split('\n');
      kept = { table: Buffer.from(table.value), mounts: ok(lines.flatMap((line) => parseMount(line) ?? [])) };
    }
    return kept.mounts;
  };
}

/** Where an absolute path without links leads, by the innermost mount above it; null if nothing is mounted there. */
export function locate(mounts: readonly Mount[], path: string): Location | null {
  let found: Mount | null = null;
  for (const mount of mounts) {
    const isAbove = path === mount.mountPoint || path.startsWith(mount.mountPoint.replace(/\/?$/, '/'));
    // Of two at the same place, the later one covers the earlier.
    if (isAbove && mount.mountPoint.length >= (found?.mountPoint.length ?? 0)) found = mount;
  }
  if (found === null) return null;
  const below = path.slice(found.mountPoint.replace(/\/$/, '').length);
  return { device: found.device, path: `${found.root.replace(/\/$/, '')}${below}` || '/' };
}
