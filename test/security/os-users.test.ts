import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { injectFault } from '../faults/interference.ts';
import { type Clay, type FakeClaude, IDLE, IDLE_NATIVE, startClay, type Worker } from '../helpers/clay.ts';
import { NO_WAITS, runCliJson, startService } from '../helpers/cli.ts';
import { identify, isAlive, type ProcessId } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { ADA, MALLORY } from './users.ts';

const WORKERS: readonly (readonly [name: string, worker: Worker])[] = [
  ['sdk-worker.js, as in 2.17', { ...ADA, script: 'sdk-worker.js' }],
  ['yoke/adapters/claude-worker.js, as in 2.36 and 2.41', { ...ADA, script: 'yoke/adapters/claude-worker.js' }],
  ['a script that no release has so far', { ...MALLORY, script: 'agents/session-worker.js' }],
  ['an environment that names the Agent SDK', { ...ADA, env: { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts' } }],
];

/** The highest uid that Node can start a process with; 61,801 is an ordinary one. */
const HIGH: Worker = { uid: 2_147_483_647, gid: 2_147_483_647, script: 'yoke/adapters/claude-worker.js' };

let clay: Clay;
beforeAll(async () => {
  clay = await startClay({ osUsers: true, projects: ['rest', 'busy'] });
});
afterAll(() => clay?.stop());

const workerOf = ({ workerPid }: FakeClaude): ProcessId => {
  const worker = identify(workerPid ?? 0);
  if (!worker) throw new Error('it has no worker');
  return worker;
};

describe('the worker of an OS user', () => {
  test.each([...WORKERS, ['a uid above 65535', HIGH] as const])(
    'is never signalled, neither with its claude nor without one: %s',
    async (_, worker) => {
      const idle = await clay.spawnClaude({ ...IDLE_NATIVE, worker });
      const ignoring = await clay.spawnClaude({
        ...IDLE,
        worker,
        start: { ignoreSigterm: true, mcpServer: true },
      });
      const waiting = await clay.spawnClaude({ project: 'busy', shape: 'native', journal: 'permission', worker });
      const workers = [idle, ignoring, waiting].map(workerOf);
      const ended = [idle, ignoring].map(({ pid }) => pid);
      const recorded = injectFault([]);
      onTestFinished(recorded.remove);
      const service = startService(
        ['--clay-home', clay.home, ...NO_WAITS, '--kill-after', '1s', '--poll', '100ms', '--log-level', 'debug'],
        { env: recorded.env },
      );
      onTestFinished(async () => void (await service.stop()));
      for (const pid of ended) await service.logged('reaped', (line) => line.pid === pid);
      const sweeps = (): number => service.log.filter(({ msg }) => msg === 'swept').length;
      const before = sweeps();
      await waitFor('it has swept again', () => sweeps() > before + 5);

      const allowed = new Set([...ended, ...Object.values(ignoring.children)]);
      const signalled = recorded.signals().filter(({ signal }) => signal !== '0');
      expect(signalled.filter(({ pid }) => !allowed.has(pid))).toEqual([]);
      expect(new Set(signalled.map(({ pid }) => pid))).toEqual(allowed);
      expect(workers.map(isAlive)).toEqual([true, true, true]);
      expect(waiting.isAlive()).toBe(true);
      const { report } = await runCliJson(['status', '--clay-home', clay.home, ...NO_WAITS]);
      expect(report.processes.find(({ pid }) => pid === waiting.pid)).toMatchObject({
        uid: worker.uid,
        ppid: workers[2]?.pid,
        verdict: 'protected',
      });
      await waiting.command({ sessionFile: false });
    },
  );
});
