import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Clay, type FakeClaude, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { NO_WAITS, type Report, startService } from '../helpers/cli.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { measured } from './measured.ts';
import {
  ADA,
  type Answer,
  claudeProgram,
  commonFolder,
  everyUsersHome,
  type FakeClay,
  fakeClay,
  fileOf,
  folderOf,
  MALLORY,
  startAs,
  unchanged,
} from './users.ts';

/**
 * File systems of mallory's that never answer: a process that asks them waits for ever, and not even SIGKILL ends that. Ada's
 * orphan must be ended in time, her work must live, and mallory's processes are left alone, with the path and the type of file system.
 */
const common = commonFolder();
const CLEANUP = ['cleanup', '--yes', '--now', '--json', '--min-age', '0s'];
let ada: Clay;
let helper: string;
let homes = 0;

beforeAll(async () => {
  helper = join(common.path, 'never-answers');
  const source = fileURLToPath(new URL('never-answers.c', import.meta.url));
  execFileSync('cc', ['-O1', '-Wall', '-Werror', '-o', helper, source]);
  // Setuid root, as fusermount3 is.
  execFileSync('chmod', ['4755', helper]);
  ada = await startClay({ user: ADA, projects: ['rest'] });
});
afterAll(async () => {
  await ada?.stop();
  common.remove();
});

/** A Clay of mallory's with one claude, which `command` becomes: FOLDER in it is her home, CLAUDE a program of that name. */
async function clayOfMallory(command: string, answer?: (pid: number) => Answer): Promise<FakeClay> {
  homes += 1;
  const folder = folderOf(MALLORY, join(common.path, `mallory${homes}`));
  folderOf(MALLORY, join(folder, 'project'));
  const claude = claudeProgram(join(common.path, `bin${homes}`));
  const clay = await fakeClay(
    MALLORY,
    folder,
    [command.replaceAll('CLAUDE', claude).replaceAll('FOLDER', folder)],
    answer,
  );
  onTestFinished(clay.end);
  return clay;
}

/** Mounts the file system over a directory of mallory's, where everybody sees it. From now on nobody may touch that. */
async function mountOver(path: string, mode: 'outside' | 'private' = 'outside'): Promise<void> {
  const server = await startAs(MALLORY, [helper, path, mode, 'sleep', '86400']);
  await waitFor('it is mounted', () => readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${path} `));
  onTestFinished(async () => {
    await server.end();
    execFileSync('umount', ['--lazy', path]);
  });
}

/** An orphan of ada's, and one at work. */
async function adasClaudes(): Promise<{ readonly orphan: FakeClaude; readonly atWork: FakeClaude }> {
  const orphan = await ada.spawnClaude(IDLE_NATIVE);
  const atWork = await ada.spawnClaude({ ...IDLE_NATIVE, journal: 'open' });
  return { orphan, atWork };
}

const refusalOf = (path: string): string =>
  `${path} is a file system of type fuse, which may never answer: nothing is read there, except by a service of that user (clay-reaper install --user)`;

async function sweepOver(home: string) {
  const { orphan, atWork } = await adasClaudes();
  const run = await measured([...CLEANUP, '--clay-home', home, '--clay-home', ada.home]);
  expect(run.signal).toBeNull();
  expect(run.tookMs).toBeLessThan(20_000);
  expect([orphan.isAlive(), atWork.isAlive()]).toEqual([false, true]);
  const report = JSON.parse(run.stdout) as Report;
  return { ...run, rows: report.processes.filter(({ uid }) => uid === MALLORY.uid) };
}

describe('a file system that never answers delays no other user', () => {
  test('if it is the working directory of a claude, in a mount namespace of its own', async () => {
    const clay = await clayOfMallory(`exec ${helper} FOLDER/project own CLAUDE 86400`);
    const { rows } = await sweepOver(clay.home);
    expect(rows).toMatchObject([{ verdict: 'protected' }]);
    expect(rows[0]?.reasons.map(({ detail }) => detail).join('; ')).toContain('mount namespace');
  });

  test('if it is the working directory of a claude, in the mount namespace of the service', async () => {
    const clay = await clayOfMallory(`exec ${helper} FOLDER/project inside CLAUDE 86400`);
    const project = join(clay.folder, 'project');
    onTestFinished(() => void execFileSync('umount', ['--lazy', project]));
    const { rows, stderr } = await sweepOver(clay.home);
    expect(rows).toMatchObject([{ verdict: 'protected' }]);
    expect(stderr).toContain(refusalOf(project));
  });

  test('if it is the working directory of a claude and was unmounted meanwhile', async () => {
    const clay = await clayOfMallory(`exec ${helper} FOLDER/project inside CLAUDE 86400`);
    execFileSync('umount', ['--lazy', join(clay.folder, 'project')]);
    const { rows } = await sweepOver(clay.home);
    expect(rows).toMatchObject([{ verdict: 'protected' }]);
    expect(rows[0]?.reasons.map(({ detail }) => detail).join('; ')).toContain('mounted nowhere');
  });

  test.each(['.claude', '.claude/sessions', '.claude/projects'])(
    'if it is mounted over %s in a home',
    async (place) => {
      const clay = await clayOfMallory('exec CLAUDE 86400');
      const [claude] = clay.daemon.claudes;
      for (const name of ['.claude', '.claude/sessions', '.claude/projects'])
        folderOf(MALLORY, join(clay.folder, name));
      // So that her transcripts are looked for.
      const session = { pid: claude?.pid, sessionId: '61802000-0000-4000-8000-000000000001', startedAt: Date.now() };
      fileOf(MALLORY, join(clay.folder, '.claude/sessions', `${claude?.pid}.json`), JSON.stringify(session));
      await mountOver(join(clay.folder, place));
      const { rows, stderr } = await sweepOver(clay.home);
      expect(rows).toMatchObject([{ verdict: 'protected' }]);
      expect(stderr).toContain(refusalOf(join(clay.folder, place)));
    },
  );

  test('if it is mounted while the service waits for the answer of her Clay', async () => {
    let isMounted = false;
    const clay: FakeClay = await clayOfMallory('exec CLAUDE 86400', (pid) => (socket) => {
      socket.on('data', async () => {
        if (!isMounted) {
          isMounted = true;
          await mountOver(join(clay.folder, '.claude'));
        }
        socket.write(`${JSON.stringify(unchanged(pid))}\n`);
      });
    });
    folderOf(MALLORY, join(clay.folder, '.claude'));
    const { rows, stderr } = await sweepOver(clay.home);
    expect(isMounted).toBe(true);
    expect(rows).toMatchObject([{ verdict: 'protected' }]);
    expect(stderr).toContain(refusalOf(join(clay.folder, '.claude')));
  });

  test('if it is mounted over a home that the password database names, for the service too', async () => {
    const clay = await clayOfMallory('exec CLAUDE 86400');
    const homesOfUsers = [[MALLORY, clay.folder] as const, [ADA, dirname(ada.home)] as const];
    onTestFinished(everyUsersHome(homesOfUsers, common.path));
    await mountOver(clay.folder);
    const { orphan, atWork } = await adasClaudes();
    const service = startService([...NO_WAITS, '--poll', '1s'], { env: { HOME: '/nonexistent' } });
    onTestFinished(async () => void (await service.stop()));
    await service.logged('reaped', ({ pid }) => pid === orphan.pid, 20_000);
    expect(await service.logged('clay-refused')).toMatchObject({ reason: refusalOf(clay.folder) });
    expect([orphan.isAlive(), atWork.isAlive()]).toEqual([false, true]);
  });
});

describe('a FUSE without allow_other', () => {
  test('refuses root at once, so that no helper process of root could read there', async () => {
    const folder = folderOf(MALLORY, join(common.path, 'private'));
    await mountOver(folder, 'private');
    for (const command of [
      ['ls', folder],
      ['stat', join(folder, '.clay')],
    ] as const) {
      const run = spawnSync(command[0], command.slice(1), { encoding: 'utf8', timeout: 10_000 });
      expect(run.error).toBeUndefined();
      expect(run.stderr).toContain('Permission denied');
    }
  });
});

describe('a device in the place of a file', () => {
  test('is not opened', async () => {
    const clay = await startClay({ user: MALLORY, projects: ['rest'] });
    onTestFinished(clay.stop);
    const claude = await clay.spawnClaude(IDLE_NATIVE);
    execFileSync('rm', [claude.transcript]);
    // No driver has this number: opening it fails with ENXIO, and of another one would do what its driver does.
    execFileSync('mknod', [claude.transcript, 'c', '240', '200']);
    const { rows } = await sweepOver(clay.home);
    expect(rows).toMatchObject([{ verdict: 'protected', reasons: [{ code: 'unverified' }] }]);
    expect(rows[0]?.reasons[0]?.detail).toBe(`${claude.transcript} is not a regular file`);
  });

  const LOCK = 'project/.claude/scheduled_tasks.lock';
  /** Tells how often /dev/fuse was opened since, but for O_PATH. */
  async function watchDevice(): Promise<() => number> {
    const program = join(common.path, 'watch-opens');
    execFileSync('cc', ['-O1', '-o', program, fileURLToPath(new URL('watch-opens.c', import.meta.url))]);
    const watcher = spawn(program, ['/dev/fuse'], { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => void watcher.kill());
    let text = '';
    watcher.stdout.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
    const opened = (): number => text.split('opened').length - 1;
    await waitFor('the watch is set', () => opened() === 1);
    return () => opened() - 1;
  }

  test('is not opened: /dev/fuse over scheduled_tasks.lock, in a mount namespace of her own', async () => {
    const opened = await watchDevice();
    const inside = `mount --bind /dev/fuse FOLDER/${LOCK} && cd FOLDER/project && exec CLAUDE 86400`;
    const prepare = `mkdir -p FOLDER/project/.claude && : >FOLDER/${LOCK}`;
    const clay = await clayOfMallory(`${prepare} && exec unshare --user --mount --map-root-user sh -c "${inside}"`);
    const [claude] = clay.daemon.claudes;
    // The attack is in place: in her namespace it is a device.
    expect(statSync(`/proc/${claude?.pid}/root${join(clay.folder, LOCK)}`).isCharacterDevice()).toBe(true);
    const { rows } = await sweepOver(clay.home);
    expect(rows).toMatchObject([{ verdict: 'protected' }]);
    expect(rows[0]?.reasons.map(({ detail }) => detail).join('; ')).toContain('user namespace');
    expect(opened()).toBe(0);
  });

  test('is not opened: /dev/fuse over scheduled_tasks.lock, where everybody sees it', async () => {
    const opened = await watchDevice();
    const clay = await clayOfMallory(
      `mkdir -p FOLDER/project/.claude && : >FOLDER/${LOCK} && cd FOLDER/project && exec CLAUDE 86400`,
    );
    const lock = join(clay.folder, LOCK);
    execFileSync('mount', ['--bind', '/dev/fuse', lock]);
    onTestFinished(() => void execFileSync('umount', ['--lazy', lock]));
    const { rows } = await sweepOver(clay.home);
    expect(rows).toMatchObject([{ verdict: 'protected' }]);
    expect(rows[0]?.reasons.map(({ detail }) => detail).join('; ')).toContain('not a regular file');
    expect(opened()).toBe(0);
  });
});
