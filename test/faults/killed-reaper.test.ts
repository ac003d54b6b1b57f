import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Clay, type FakeClaude, IDLE, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { runCli, startService } from '../helpers/cli.ts';
import { childrenOf, identify, isAlive, type ProcessId } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';

const ROUNDS = 200;

let clay: Clay;
let directory: string;
beforeAll(async () => {
  clay = await startClay({ projects: ['rest', 'busy'] });
  directory = mkdtempSync(join(tmpdir(), 'state-'));
});
afterAll(async () => {
  await clay?.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** From the start of the program over its sweeps to SIGTERM, SIGKILL, the history: a life of a reaper takes so long here. */
const LIFE_MS = 700;

test(`clay-reaper killed at ${ROUNDS} moments leaves no termination half-done and a valid history`, async () => {
  const waiting: FakeClaude[] = [
    await clay.spawnClaude({ ...IDLE_NATIVE, project: 'busy', journal: 'permission' }),
    await clay.spawnClaude({ ...IDLE, start: { toolShell: true } }),
  ];
  const env = { STATE_DIRECTORY: directory };
  const args = ['--clay-home', clay.home, '--min-age', '0s', '--poll', '100ms', '--kill-after', '150ms'];
  const claudes: FakeClaude[] = [];
  let ended = 0;
  const oneLife = async (round: number): Promise<void> => {
    if (claudes.filter((claude) => claude.isAlive()).length < 4) {
      claudes.push(
        await clay.spawnClaude(IDLE_NATIVE),
        await clay.spawnClaude({ ...IDLE_NATIVE, start: { ignoreSigterm: true } }),
      );
    }
    const running = startService(args, { env });
    // Spread evenly over its life, in an order that does not matter.
    const moment = LIFE_MS * (((round * 37) % ROUNDS) / ROUNDS);
    await new Promise((resolve) => setTimeout(resolve, moment));
    running.signal(round % 2 === 0 ? 'SIGKILL' : 'SIGTERM');
    const { status, signal, stderr } = await running.stop();
    expect([0, 'SIGKILL', 'SIGTERM']).toContain(signal ?? status);
    expect(stderr).not.toMatch(/sweep-failed|internal error|\n {4}at /);
    ended += running.log.filter((line) => line.event === 'reaped').length;
    if (round % 20 === 19) await expectSoundHistory(env);
  };
  // Several side by side, as when somebody runs cleanup beside the service: they share the processes and the history.
  let next = 0;
  const lives = Array.from({ length: 3 }, async () => {
    while (next < ROUNDS) {
      const round = next;
      next += 1;
      await oneLife(round);
    }
  });
  await Promise.all(lives);
  // Otherwise nothing was interrupted.
  expect(ended).toBeGreaterThan(10);
  expect(waiting.map((claude) => claude.isAlive())).toEqual([true, true]);

  // Whatever state they were left in, the next reaper does the rest.
  const last = startService(args, { env });
  await waitFor('all are gone', () => claudes.every((claude) => !claude.isAlive()), 60_000);
  await last.stop();
  expect(waiting.map((claude) => claude.isAlive())).toEqual([true, true]);
  await expectSoundHistory(env);
  expect(readdirSync(directory).sort()).toEqual(['history.jsonl']);
}, 300_000);

test("a service stopped right after its SIGKILL still ends the killed process's descendants", async () => {
  for (let round = 0; round < 6; round += 1) {
    const deaf = await clay.spawnClaude({
      ...IDLE,
      start: { ignoreSigterm: true, mcpServer: true },
    });
    const below = childrenOf(deaf.pid).flatMap((pid): ProcessId[] => [identify(pid) ?? []].flat());
    expect(below).toHaveLength(1);
    const running = startService([
      '--clay-home',
      clay.home,
      '--min-age',
      '0s',
      '--poll',
      '100ms',
      '--kill-after',
      '200ms',
    ]);
    await waitFor('it is killed', () => !deaf.isAlive());
    running.signal('SIGTERM');
    await running.stop();
    await waitFor('what was below it is gone', () => below.every((child) => !isAlive(child)), 5_000);
  }
});

async function expectSoundHistory(env: Readonly<Record<string, string>>): Promise<void> {
  const { status, stderr, stdout } = await runCli(['history', '--json'], { env });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(() => JSON.parse(stdout)).not.toThrow();
}
