import { describe, onTestFinished, test } from 'vitest';
import { type Clay, type FakeClaudeOptions, startClay } from '../helpers/clay.ts';
import { type RunningService, startService } from '../helpers/cli.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { injectFault } from './interference.ts';

const DAY = 24 * 3600 * 1000;
const NIGHT = 9 * 3600 * 1000;
const NATIVE: FakeClaudeOptions = { project: 'rest', shape: 'native', journal: 'ended' };

const it = test.extend<{ clay: Clay }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures that are needed from the pattern.
  clay: async ({}, use) => {
    const clay = await startClay({ projects: ['rest', 'busy'] });
    await use(clay);
    await clay.stop();
  },
});

const sweepsOf = (running: RunningService): number => running.log.filter((line) => line.msg === 'swept').length;

async function sweeps(running: RunningService, count: number): Promise<void> {
  const before = sweepsOf(running);
  await waitFor(`${count} sweeps`, () => sweepsOf(running) > before + count);
}

/** How far the wall clock of the service is from ours by its own last line; ms. */
const clockOf = (running: RunningService): number => Date.parse(String(running.log.at(-1)?.time)) - Date.now();

/** A service whose clocks can be set; `wallMs`: how far its wall clock is ahead from the beginning. */
function watch(clay: Clay, args: readonly string[], wallMs = 0) {
  const interference = injectFault([]);
  interference.setClock({ wallMs, uptimeMs: 0 });
  const common = ['--clay-home', clay.home, '--min-age', '0s', '--poll', '100ms', '--log-level', 'debug'];
  const running = startService([...common, ...args], { env: interference.env });
  onTestFinished(async () => {
    await running.stop();
    interference.remove();
  });
  return { running, setClock: interference.setClock };
}

describe('wall clock', () => {
  it('a jump of a day forward adds no idle time', async ({ clay, expect }) => {
    const resting = await clay.spawnClaude({ ...NATIVE, idleSeconds: 60 });
    const waiting = await clay.spawnClaude({ ...NATIVE, project: 'busy', journal: 'permission' });
    const { running, setClock } = watch(clay, ['--parked-after', '10m', '--grace', '10m']);
    await running.logged('candidate', (line) => line.pid === resting.pid);
    setClock({ wallMs: DAY, uptimeMs: 0 });
    await sweeps(running, 5);
    expect(clockOf(running)).toBeGreaterThan(DAY / 2);
    expect([resting.isAlive(), waiting.isAlive()]).toEqual([true, true]);
    expect(running.log.filter((line) => line.event === 'sweep-failed')).toEqual([]);
  });

  it('a jump of a day back, which puts all files in the future, protects', async ({ clay, expect }) => {
    const resting = await clay.spawnClaude({ ...NATIVE, idleSeconds: 3600 });
    const { running, setClock } = watch(clay, ['--parked-after', '2h']);
    await running.logged('candidate', (line) => line.pid === resting.pid);
    setClock({ wallMs: -DAY, uptimeMs: 0 });
    await sweeps(running, 5);
    expect(clockOf(running)).toBeLessThan(-DAY / 2);
    expect(resting.isAlive()).toBe(true);
    expect(running.log.filter((line) => line.event === 'sweep-failed')).toEqual([]);
  });

  it('jumps back and forth never end a process at work, and idle ones are reaped afterwards', async ({
    clay,
    expect,
  }) => {
    const waiting = await clay.spawnClaude({ ...NATIVE, project: 'busy', journal: 'permission' });
    const resting = await clay.spawnClaude({ ...NATIVE, idleSeconds: 3600 });
    const { running, setClock } = watch(clay, ['--parked-after', '2s', '--grace', '2s', '--dry-run']);
    for (const wallMs of [DAY, -DAY, DAY * 365, -DAY * 365, 0]) {
      setClock({ wallMs, uptimeMs: 0 });
      await sweeps(running, 3);
    }
    await running.logged('would-reap', (line) => line.pid === resting.pid);
    expect(running.log.filter((line) => line.event === 'would-reap' && line.pid === waiting.pid)).toEqual([]);
    expect(running.log.filter((line) => line.event === 'sweep-failed')).toEqual([]);
  });
});

describe('wall clock that was set between the start of a process and that of the service', () => {
  const OLDER: FakeClaudeOptions = { project: 'rest', shape: 'node', journal: 'ended', idleSeconds: 2 * 3600 };
  const HOUR = 3600 * 1000;
  it.for<readonly [string, number]>([
    ['3 s forward', 3_000],
    ['an hour forward', HOUR],
    ['a year forward, as on a machine without a battery clock', 365 * DAY],
    ['3 s back', -3_000],
    ['an hour back', -HOUR],
  ])('does not keep an idle 0.2.92 for ever: %s', async ([, wallMs], { clay, expect }) => {
    const resting = await clay.spawnClaude(OLDER);
    const waiting = await clay.spawnClaude({ ...OLDER, project: 'busy', journal: 'permission' });
    const { running } = watch(clay, ['--parked-after', '2s', '--grace', '2s'], wallMs);
    await running.logged('reaped', (line) => line.pid === resting.pid);
    await sweeps(running, 30);
    expect(waiting.isAlive()).toBe(true);
    expect(clockOf(running) / wallMs).toBeGreaterThan(0.5);
  });
});

describe('resume from suspend', () => {
  it('adds no idle time for the night', async ({ clay, expect }) => {
    const resting = await clay.spawnClaude({ ...NATIVE, idleSeconds: 60 });
    const waiting = await clay.spawnClaude({ ...NATIVE, project: 'busy', journal: 'permission' });
    const { running, setClock } = watch(clay, ['--parked-after', '10m', '--grace', '10m']);
    await running.logged('candidate', (line) => line.pid === resting.pid);
    setClock({ wallMs: NIGHT, uptimeMs: NIGHT });
    await sweeps(running, 5);
    expect(clockOf(running)).toBeGreaterThan(NIGHT / 2);
    expect([resting.isAlive(), waiting.isAlive()]).toEqual([true, true]);
  });
});

describe('sweep longer than the poll interval', () => {
  it('sweeps run one after another, never in parallel', async ({ clay, expect }) => {
    const slow = await clay.spawnClaude({ ...NATIVE, start: { ignoreSigterm: true }, idleSeconds: 3600 });
    await clay.answerStatus({ mode: 'ok', delayMs: 700 });
    const before = await clay.statusRequests();
    const { running } = watch(clay, ['--kill-after', '1500ms']);
    const reaped = await running.logged('reaped', (line) => line.pid === slow.pid);
    expect(reaped.signal).toBe('SIGKILL');
    // One for each sweep, and one more before each of the two signals: nothing was asked beside that.
    expect((await clay.statusRequests()) - before).toBeLessThanOrEqual(sweepsOf(running) + 1 + 2);
    const next = await clay.spawnClaude({ ...NATIVE, idleSeconds: 3600 });
    await running.logged('reaped', (line) => line.pid === next.pid);
    expect(running.log.filter((line) => line.event === 'reaped')).toHaveLength(2);
  });
});
