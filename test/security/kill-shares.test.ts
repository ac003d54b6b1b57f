import { existsSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Clay, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { NO_WAITS, startService } from '../helpers/cli.ts';
import { isAlive } from '../helpers/processes.ts';
import { ADA, claudeProgram, commonFolder, fakeClay, fileOf, folderOf, MALLORY, saying, unchanged } from './users.ts';

const FAKES = 120;
const common = commonFolder();
let ada: Clay;
beforeAll(async () => {
  ada = await startClay({ user: ADA, projects: ['rest', 'busy'] });
});
afterAll(async () => {
  await ada?.stop();
  common.remove();
});

/**
 * Processes of mallory's, more than a sweep may end, idle since 1970, which survive SIGTERM. When they have got one, their Clay
 * says for a moment that a turn is on, so that they are spared before SIGKILL: sweep after sweep, ahead of everybody else.
 */
async function startFakes(folder: string) {
  const perl = claudeProgram(join(common.path, 'bin'), '/usr/bin/perl');
  const termed = join(folder, 'termed');
  const script = `$SIG{TERM} = sub { open my $f, ">>", "${termed}"; print $f "x"; close $f }; sleep 1 while 1`;
  const command = `exec ${perl} -e '${script}'`;
  const isTermed = (): boolean => existsSync(termed) && Date.now() - statSync(termed).mtimeMs < 2_000;
  const clay = await fakeClay(MALLORY, folder, Array(FAKES).fill(command) as string[], (pid) => (socket) => {
    const project = { slug: 'hers', path: folder, isProcessing: isTermed(), pendingPermissions: 0 };
    saying({ ...unchanged(pid), projects: [project] })(socket);
  });
  onTestFinished(clay.end);
  const sessions = folderOf(MALLORY, join(folder, '.claude/sessions'));
  folderOf(MALLORY, join(folder, '.claude/projects'));
  const transcripts = folderOf(MALLORY, join(folder, '.claude/projects/-'));
  clay.daemon.claudes.forEach(({ pid, startTicks }, index) => {
    const sessionId = `61802000-0000-4000-8000-${String(index).padStart(12, '0')}`;
    fileOf(MALLORY, join(sessions, `${pid}.json`), JSON.stringify({ pid, sessionId, procStart: String(startTicks) }));
    const transcript = fileOf(MALLORY, join(transcripts, `${sessionId}.jsonl`), '{}\n');
    utimesSync(transcript, 1, 1);
  });
  return { home: clay.home, fakes: clay.daemon.claudes };
}

describe('max_kills_per_sweep', () => {
  test('is shared: processes that one user has spared again and again do not keep another user’s orphan waiting', async () => {
    const { home, fakes } = await startFakes(join(common.path, 'mallory'));
    expect(fakes).toHaveLength(FAKES);
    const args = ['--clay-home', home, '--clay-home', ada.home, ...NO_WAITS];
    const running = startService([...args, '--poll', '3s', '--kill-after', '1s', '--log-level', 'debug']);
    onTestFinished(() => running.stop().then(() => {}));
    // The attack works: they are spared once, and come back.
    await running.logged('spared', (line) => line.uid === MALLORY.uid);
    const orphan = await ada.spawnClaude(IDLE_NATIVE);
    const working = await ada.spawnClaude({ ...IDLE_NATIVE, project: 'busy', journal: 'permission' });
    await running.logged('reaped', (line) => line.pid === orphan.pid, 30_000);
    expect(orphan.isAlive()).toBe(false);
    expect(working.isAlive()).toBe(true);

    expect(fakes.map(isAlive)).toEqual(fakes.map(() => true));
    const deferred = running.log.filter(({ event }) => event === 'deferred');
    expect(deferred).toMatchObject([{ uid: MALLORY.uid, count: FAKES - 100 }]);
  });
});
