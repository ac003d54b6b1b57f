import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Clay, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { NO_WAITS, runCli, startService } from '../helpers/cli.ts';
import { childrenOf } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { ADA, claudeProgram, commOf, commonFolder, fakeClay, MALLORY } from './users.ts';

const common = commonFolder();
let ada: Clay;
beforeAll(async () => {
  ada = await startClay({ user: ADA, projects: ['rest', 'busy'] });
});
afterAll(async () => {
  await ada?.stop();
  common.remove();
});

type HistoryReport = { readonly processes: readonly { readonly uid: number; readonly pid: number }[] };

describe('what is kept for all users', () => {
  test('the history keeps ada’s entries, whatever number of mallory’s processes is ended', async () => {
    const state = join(common.path, 'state');
    const env = { STATE_DIRECTORY: state };
    const running = startService(['--clay-home', ada.home, ...NO_WAITS, '--poll', '200ms'], { env });
    onTestFinished(async () => void (await running.stop()));
    const first = await ada.spawnClaude(IDLE_NATIVE);
    await running.logged('reaped', ({ pid }) => pid === first.pid);
    const path = join(state, 'history.jsonl');
    await waitFor('it is in the history', () => existsSync(path) && readFileSync(path, 'utf8').endsWith('\n'));
    const record = JSON.parse(readFileSync(path, 'utf8').trim()) as Record<string, unknown>;
    // What 100 fakes a sweep leave within some minutes: both files are full, and there is no room for one line more.
    let pid = 100_000;
    const hers = (maxBytes: number): string => {
      let lines = '';
      for (let line = ''; lines.length + line.length <= maxBytes; pid += 1) {
        lines += line;
        line = `${JSON.stringify({ ...record, uid: MALLORY.uid, pid, at: new Date().toISOString() })}\n`;
      }
      return lines;
    };
    const room = 4 * 1024 * 1024;
    writeFileSync(`${path}.1`, `${JSON.stringify(record)}\n${hers(room - 10_000)}`);
    writeFileSync(path, hers(room));
    const second = await ada.spawnClaude(IDLE_NATIVE);
    await running.logged('reaped', ({ pid }) => pid === second.pid);
    // While the files are rotated there is none of that name.
    const isWritten = (): boolean => readFileSync(path, 'utf8').includes(`"pid":${second.pid},`);
    await waitFor('it is in the history too', () => {
      try {
        return isWritten();
      } catch {
        return false;
      }
    });
    const { stdout } = await runCli(['history', '--json'], { env });
    const { processes } = JSON.parse(stdout) as HistoryReport;
    expect(processes.filter(({ uid }) => uid === ADA.uid).map(({ pid }) => pid)).toEqual([first.pid, second.pid]);
    expect(processes.filter(({ uid }) => uid === MALLORY.uid).length).toBeGreaterThan(1_000);
  });

  test('the log has room for ada’s lines, whatever number of idle processes mallory has', async () => {
    const claude = claudeProgram(join(common.path, 'bin'));
    const count = 300;
    const starting = `n=0; while [ $n -lt ${count} ]; do ${claude} 86400 & n=$((n+1)); done; true`;
    const clay = await fakeClay(MALLORY, join(common.path, 'mallory'), [starting]);
    onTestFinished(clay.end);
    await waitFor(
      'they all run',
      () => childrenOf(clay.daemon.pid).filter((pid) => commOf(pid) === 'claude').length === count,
    );
    const orphan = await ada.spawnClaude(IDLE_NATIVE);
    const working = await ada.spawnClaude({ ...IDLE_NATIVE, project: 'busy', journal: 'permission' });
    const homes = ['--clay-home', clay.home, '--clay-home', ada.home];
    const running = startService([...homes, ...NO_WAITS, '--poll', '200ms', '--dry-run']);
    onTestFinished(async () => void (await running.stop()));
    await running.logged('would-reap', ({ pid }) => pid === orphan.pid);
    const rest = await running.logged('would-reap', ({ uid, count }) => uid === MALLORY.uid && count !== undefined);
    expect(rest.count).toBe(count - 100);
    for (const event of ['candidate', 'would-reap']) {
      const lines = running.log.filter((line) => line.event === event && line.uid === MALLORY.uid);
      expect(lines.length).toBeLessThanOrEqual(101);
    }
    expect(running.log.filter((line) => line.pid === working.pid)).toEqual([]);
  });
});
