import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { isLocal, newPathGuard } from '../../../src/fs/path-guard.ts';

let root: string;
beforeAll(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'guard-')));
  mkdirSync(join(root, 'home/alice/.claude/sessions'), { recursive: true });
  mkdirSync(join(root, 'mnt/dead'), { recursive: true });
  symlinkSync(join(root, 'mnt/dead/claude'), join(root, 'home/alice/linked'));
  symlinkSync('../../mnt/./dead', join(root, 'home/alice/relative'));
  symlinkSync('loop', join(root, 'home/alice/loop'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const at = (path: string): string => join(root, path);
const dead = (fsType = 'fuse.sshfs') => newPathGuard([{ id: 1, mountPoint: at('mnt/dead'), fsType }]);
const refusal = (fsType: string) =>
  `${at('mnt/dead')} is a file system of type ${fsType}, which may never answer: nothing is read there, except by a service of that user (clay-reaper install --user)`;

it('lets paths through that no mount lies on', () => {
  expect(dead().check(at('home/alice/.claude/sessions/1.json'))).toEqual({ ok: true, value: true });
  expect(dead().check(at('mnt/other'))).toMatchObject({ ok: true });
});

it.each(['fuse', 'fuse.sshfs', 'ecryptfs', 'nfs4', 'cifs', 'smb3', '9p', 'ceph', 'autofs', 'unknownfs'])(
  'refuses a path on %s, and names both',
  (fsType) => {
    const expected = { ok: false, failure: { code: 'io', detail: refusal(fsType) } };
    expect(dead(fsType).check(at('mnt/dead/.clay/daemon.json'))).toEqual(expected);
    expect(dead(fsType).check(at('mnt/dead'))).toEqual(expected);
  },
);

it.each(['ext4', 'xfs', 'btrfs', 'zfs', 'tmpfs', 'overlay', 'virtiofs'])('lets a path on %s through', (fsType) => {
  expect(isLocal({ fsType })).toBe(true);
  expect(dead(fsType).check(at('mnt/dead/file'))).toMatchObject({ ok: true });
});

it('lets a path through that the host of a virtual machine serves as 9p', () => {
  const shared = (transport: string) =>
    newPathGuard([{ id: 1, mountPoint: at('mnt/dead'), fsType: '9p', options: ['rw', `trans=${transport}`] }]);
  expect(shared('virtio').check(at('mnt/dead/file'))).toMatchObject({ ok: true });
  for (const transport of ['tcp', 'fd', 'unix']) expect(shared(transport).check(at('mnt/dead/file')).ok).toBe(false);
});

it('sees where absolute and relative links lead', () => {
  for (const path of ['home/alice/linked/sessions/1.json', 'home/alice/relative/1.json', 'home/alice/relative/../x/y'])
    expect(dead().check(at(path))).toMatchObject({ ok: path.endsWith('x/y') ? expect.anything() : false });
  expect(dead().check(at('home/alice/relative/1.json'))).toMatchObject({ failure: { detail: refusal('fuse.sshfs') } });
});

it('gives up on links that lead in circles', () => {
  expect(dead().check(at('home/alice/loop/file'))).toMatchObject({ ok: false, failure: { code: 'invalid' } });
});

it('takes what is mounted on top, and a file that something is mounted on', () => {
  const over = newPathGuard([
    { id: 1, mountPoint: at('mnt/dead'), fsType: 'fuse' },
    { id: 1, mountPoint: at('mnt/dead'), fsType: 'ext4' },
    { id: 1, mountPoint: at('home/alice/.claude/sessions/1.json'), fsType: 'fuse' },
  ]);
  expect(over.check(at('mnt/dead/file'))).toMatchObject({ ok: true });
  expect(over.check(at('home/alice/.claude/sessions/1.json'))).toMatchObject({ ok: false });
  expect(over.check(at('home/alice/.claude/sessions/2.json'))).toMatchObject({ ok: true });
});

it('does not check the root directory, nor what systemd mounts below /proc', () => {
  const guard = newPathGuard([
    { id: 1, mountPoint: '/', fsType: 'fuse.overlayfs' },
    { id: 1, mountPoint: '/proc/sys/fs/binfmt_misc', fsType: 'autofs' },
  ]);
  expect(guard.check(at('home/alice/file'))).toMatchObject({ ok: true });
});

it('tells by its id whether a mount may never answer, and refuses one that is not there any more', () => {
  const guard = newPathGuard([
    { id: 1, mountPoint: '/', fsType: 'ext4' },
    { id: 2, mountPoint: '/mnt/dead', fsType: 'fuse' },
  ]);
  expect(guard.checkMountId(1)).toMatchObject({ ok: true });
  expect(guard.checkMountId(2)).toMatchObject({ ok: false });
  expect(guard.checkMountId(3)).toMatchObject({ failure: { detail: expect.stringContaining('mounted nowhere') } });
});

it('checks a path without touching it', () => {
  expect(dead().checkMounts(at('mnt/dead/not/there'))).toMatchObject({ failure: { detail: refusal('fuse.sshfs') } });
  expect(dead().checkMounts(at('home/alice/linked'))).toMatchObject({ ok: true });
});
