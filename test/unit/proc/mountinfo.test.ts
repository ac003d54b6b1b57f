import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { locate, type Mount, newOwnMountsReader, parseMount, readMountInfo } from '../../../src/proc/mountinfo.ts';

// From a container of Docker 27 with a volume at /root/.claude; the last two rows cover earlier ones.
const CONTAINER = `742 641 0:51 / / rw,relatime master:263 - overlay overlay rw,lowerdir=/a:/b,upperdir=/c,workdir=/d
743 742 0:54 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
750 742 254:1 /var/lib/docker/volumes/claude/_data /root/.claude rw,relatime - ext4 /dev/vda1 rw
751 742 254:1 /srv/my\\040files /srv/my\\040files rw,relatime - ext4 /dev/vda1 rw
752 742 0:60 / /srv/covered rw - tmpfs tmpfs rw
753 742 0:61 / /srv/covered rw - tmpfs tmpfs rw
`;

const parseAll = (text: string): Mount[] => text.split('\n').flatMap((line) => parseMount(line) ?? []);

describe('parseMount', () => {
  it('reads device, root, mount point and options, with escaped characters', () => {
    expect(parseAll(CONTAINER).slice(2, 4)).toEqual([
      {
        id: 750,
        fsType: 'ext4',
        options: ['rw'],
        device: '254:1',
        root: '/var/lib/docker/volumes/claude/_data',
        mountPoint: '/root/.claude',
      },
      {
        id: 751,
        fsType: 'ext4',
        options: ['rw'],
        device: '254:1',
        root: '/srv/my files',
        mountPoint: '/srv/my files',
      },
    ]);
  });
  it('skips lines of another form', () => {
    expect(parseAll('\n1 2 3\nx\n')).toEqual([]);
  });
});

/** A /proc with a table of 200 mounts with long paths, between two others. */
function longTable(): string {
  const procRoot = mkdtempSync(join(tmpdir(), 'mountinfo-'));
  onTestFinished(() => rmSync(procRoot, { recursive: true, force: true }));
  const name = '\\040'.repeat(4000);
  const long = `2 1 0:2 / /home/mallory/${name} rw - fuse ${name}${name} rw,allow_other\n`;
  const after = '3 1 0:3 / /home/carol rw - nfs4 server:/carol rw\n';
  for (const pid of ['self', '1193']) {
    mkdirSync(join(procRoot, pid));
    writeFileSync(join(procRoot, pid, 'mountinfo'), `1 0 0:1 / / rw - ext4 /dev/vda rw\n${long.repeat(200)}${after}`);
  }
  return procRoot;
}

describe('readMountInfo', () => {
  it('finds what others have mounted behind a megabyte of long paths', () => {
    const mounts = readMountInfo(longTable(), 'self');
    expect(mounts).toMatchObject({ ok: true, value: { length: 202 } });
    expect(mounts.ok && mounts.value[1]).toMatchObject({
      fsType: 'fuse',
      mountPoint: `/home/mallory/${' '.repeat(4000)}`,
    });
    expect(mounts.ok && mounts.value.at(-1)).toMatchObject({ fsType: 'nfs4', mountPoint: '/home/carol' });
  });
  it('refuses such a table of another process, which may have 100,000 mounts', () => {
    expect(readMountInfo(longTable(), 1193)).toMatchObject({ ok: false });
  });
});

describe('newOwnMountsReader', () => {
  /** A /proc of which this program's table of mounts is this. */
  function procWith(table: string): { procRoot: string; change: (table: string) => void } {
    const procRoot = mkdtempSync(join(tmpdir(), 'mountinfo-'));
    onTestFinished(() => rmSync(procRoot, { recursive: true, force: true }));
    mkdirSync(join(procRoot, 'self'));
    const change = (table: string): void => writeFileSync(join(procRoot, 'self', 'mountinfo'), table);
    change(table);
    return { procRoot, change };
  }

  it('reads the same as readMountInfo, names that are not ASCII included', () => {
    const { procRoot } = procWith(`${CONTAINER}754 742 0:62 / /home/zoë rw - nfs4 server:/zoë rw\n`);
    expect(newOwnMountsReader(procRoot)()).toEqual(readMountInfo(procRoot, 'self'));
  });
  it('sees a mount that was added between two readings, and one of the same length in its place', () => {
    const { procRoot, change } = procWith('1 0 0:1 / / rw - ext4 /dev/vda rw\n');
    const read = newOwnMountsReader(procRoot);
    const points = (): string[] => {
      const mounts = read();
      return mounts.ok ? mounts.value.map(({ mountPoint }) => mountPoint) : [];
    };
    expect([points(), points()]).toEqual([['/'], ['/']]);
    change('1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / /home/ada rw - fuse x rw\n');
    expect(points()).toEqual(['/', '/home/ada']);
    change('1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / /home/bob rw - fuse x rw\n');
    expect(points()).toEqual(['/', '/home/bob']);
  });
  it('reads a table that is too long to be kept', () => {
    const procRoot = longTable();
    expect(newOwnMountsReader(procRoot)()).toEqual(readMountInfo(procRoot, 'self'));
  });
  it('fails if the table cannot be read', () => {
    expect(newOwnMountsReader('/nonexistent')()).toMatchObject({ ok: false });
  });
});

describe('locate', () => {
  const mounts = parseAll(CONTAINER);
  it.each([
    ['/', { device: '0:51', path: '/' }],
    ['/root', { device: '0:51', path: '/root' }],
    ['/root/.claude', { device: '254:1', path: '/var/lib/docker/volumes/claude/_data' }],
    ['/root/.claude/sessions', { device: '254:1', path: '/var/lib/docker/volumes/claude/_data/sessions' }],
    ['/root/.claude-2', { device: '0:51', path: '/root/.claude-2' }],
    ['/srv/covered/x', { device: '0:61', path: '/x' }],
  ])('finds %s by the innermost and latest mount', (path, expected) => {
    expect(locate(mounts, path)).toEqual(expected);
  });
  it('is the same for a bind mount and for the file system that it shows', () => {
    const bind = parseAll('1 0 254:0 / / rw - ext4 /dev/vda rw\n2 1 254:0 /home /home ro - ext4 /dev/vda rw\n');
    expect(locate(bind, '/home/ada/.claude')).toEqual(locate(bind.slice(0, 1), '/home/ada/.claude'));
  });
  it('is null where nothing is mounted', () => {
    expect(locate([], '/root')).toBeNull();
  });
});
