import { describe, onTestFinished, test } from 'vitest';
import { type Clay, type ShamOptions, startClay } from '../support/clay.ts';
import { type RunningReaper, startReaper } from '../support/reaper.ts';
import { until } from '../support/until.ts';
import { interfere } from './interference.ts';

const DAY = 24 * 3600 * 1000;
const NIGHT = 9 * 3600 * 1000;
const NATIVE: ShamOptions = { project: 'rest', shape: 'native', journal: 'ended' };

const it = test.extend<{ clay: Clay }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures that are needed from the pattern.
  clay: async ({}, use) => {
    const clay = await startClay({ projects: ['rest', 'busy'] });
    await use(clay);
    await clay.stop();
  },
});

const sweepsOf = (running: RunningReaper): number => running.log.filter((line) => line.msg === 'swept').length;

async function sweeps(running: RunningReaper, count: number): Promise<void> {
  const before = sweepsOf(running);
  await until(`${count} sweeps`, () => sweepsOf(running) > before + count);
}

/** How far the wall clock of the service is from ours by its own last line; ms. */
const clockOf = (running: RunningReaper): number => Date.parse(String(running.log.at(-1)?.time)) - Date.now();

/** A service whose clocks can be set. */
function watch(clay: Clay, ...args: readonly string[]) {
  const interference = interfere([]);
  const common = ['--clay-home', clay.home, '--min-age', '0s', '--poll', '100ms', '--log-level', 'debug'];
  const running = startReaper([...common, ...args], { env: interference.env });
  onTestFinished(async () => {
    await running.stop();
    interference.remove();
  });
  return { running, setClock: interference.setClock };
}

describe('8. a clock that', () => {
  it('jumps a day forward makes nobody idle for a day', async ({ clay, expect }) => {
    const resting = await clay.sham({ ...NATIVE, idleSeconds: 60 });
    const waiting = await clay.sham({ ...NATIVE, project: 'busy', journal: 'permission' });
    const { running, setClock } = watch(clay, '--parked-after', '10m', '--grace', '10m');
    await running.logged('candidate', (line) => line.pid === resting.pid);
    setClock({ wallMs: DAY, uptimeMs: 0 });
    await sweeps(running, 5);
    expect(clockOf(running)).toBeGreaterThan(DAY / 2);
    expect([resting.isAlive(), waiting.isAlive()]).toEqual([true, true]);
    expect(running.log.filter((line) => line.event === 'sweep-failed')).toEqual([]);
  });

  it('jumps a day back, so that all files are from tomorrow, protects', async ({ clay, expect }) => {
    const resting = await clay.sham({ ...NATIVE, idleSeconds: 3600 });
    const { running, setClock } = watch(clay, '--parked-after', '2h');
    await running.logged('candidate', (line) => line.pid === resting.pid);
    setClock({ wallMs: -DAY, uptimeMs: 0 });
    await sweeps(running, 5);
    expect(clockOf(running)).toBeLessThan(-DAY / 2);
    expect(resting.isAlive()).toBe(true);
    expect(running.log.filter((line) => line.event === 'sweep-failed')).toEqual([]);
  });

  it('jumps to and fro while a process is at work never ends it, and what is idle goes when all is well', async ({
    clay,
    expect,
  }) => {
    const waiting = await clay.sham({ ...NATIVE, project: 'busy', journal: 'permission' });
    const resting = await clay.sham({ ...NATIVE, idleSeconds: 3600 });
    const { running, setClock } = watch(clay, '--parked-after', '2s', '--grace', '2s', '--dry-run');
    for (const wallMs of [DAY, -DAY, DAY * 365, -DAY * 365, 0]) {
      setClock({ wallMs, uptimeMs: 0 });
      await sweeps(running, 3);
    }
    await running.logged('would-reap', (line) => line.pid === resting.pid);
    expect(running.log.filter((line) => line.event === 'would-reap' && line.pid === waiting.pid)).toEqual([]);
    expect(running.log.filter((line) => line.event === 'sweep-failed')).toEqual([]);
  });
});

describe('8. a machine that was suspended for a night', () => {
  it('has nobody idle for a night when it wakes up', async ({ clay, expect }) => {
    const resting = await clay.sham({ ...NATIVE, idleSeconds: 60 });
    const waiting = await clay.sham({ ...NATIVE, project: 'busy', journal: 'permission' });
    const { running, setClock } = watch(clay, '--parked-after', '10m', '--grace', '10m');
    await running.logged('candidate', (line) => line.pid === resting.pid);
    setClock({ wallMs: NIGHT, uptimeMs: NIGHT });
    await sweeps(running, 5);
    expect(clockOf(running)).toBeGreaterThan(NIGHT / 2);
    expect([resting.isAlive(), waiting.isAlive()]).toEqual([true, true]);
  });
});

describe('8. a sweep that takes longer than the poll interval', () => {
  it('is followed by the next one, and never has one beside it', async ({ clay, expect }) => {
    const slow = await clay.sham({ ...NATIVE, start: { ignoreSigterm: true }, idleSeconds: 3600 });
    await clay.answerStatus({ mode: 'ok', delayMs: 700 });
    const before = await clay.statusRequests();
    const { running } = watch(clay, '--kill-after', '1500ms');
    const reaped = await running.logged('reaped', (line) => line.pid === slow.pid);
    expect(reaped.signal).toBe('SIGKILL');
    // One for each sweep, and one more before each of the two signals: nothing was asked beside that.
    expect((await clay.statusRequests()) - before).toBeLessThanOrEqual(sweepsOf(running) + 1 + 2);
    const next = await clay.sham({ ...NATIVE, idleSeconds: 3600 });
    await running.logged('reaped', (line) => line.pid === next.pid);
    expect(running.log.filter((line) => line.event === 'reaped')).toHaveLength(2);
  });
});
