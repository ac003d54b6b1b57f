import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test as plainTest } from 'vitest';
import { type Clay, type Sham, type ShamOptions, startClay } from '../support/clay.ts';
import { childrenOf, identify, isAlive, kill } from '../support/processes.ts';
import { type ProcessReport, type Report, reaperJson, startReaper } from '../support/reaper.ts';
import { until } from '../support/until.ts';
import { interfere, type Rule } from './interference.ts';

const IDLE: ShamOptions = { project: 'rest', journal: 'ended', idleSeconds: 3600 };
const row = (report: Report, sham: Sham): ProcessReport | undefined =>
  report.processes.find((each) => each.pid === sham.pid);

const test = plainTest.extend<{ clay: Clay; here: (...more: string[]) => string[] }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures that are needed from the pattern.
  clay: async ({}, use) => {
    const clay = await startClay({ projects: ['rest', 'busy'] });
    await use(clay);
    await clay.stop();
  },
  here: async ({ clay }, use) =>
    use((...more) => ['cleanup', '--yes', '--clay-home', clay.home, '--min-age', '0s', ...more]),
});

// Most of their time goes by in waiting: side by side.
describe.concurrent('10. a claude that', () => {
  test('ignores SIGTERM is killed, and what it leaves behind is ended', async ({ clay, here, expect }) => {
    const deaf = await clay.sham({ ...IDLE, start: { ignoreSigterm: true, mcpServer: true, threadChild: true } });
    const below = childrenOf(deaf.pid).flatMap((pid) => identify(pid) ?? []);
    expect(below).toHaveLength(2);
    const { status, report } = await reaperJson(here('--kill-after', '300ms'));
    expect(status).toBe(0);
    expect(row(report, deaf)).toMatchObject({ outcome: 'killed' });
    expect([deaf, ...below].map(isAlive)).toEqual([false, false, false]);
  });

  test('is stopped (SIGSTOP), so that SIGTERM waits for ever, is killed', async ({ clay, here, expect }) => {
    const sham = await clay.sham({ ...IDLE, shape: 'native' });
    kill(sham, 'SIGSTOP');
    const { status, report } = await reaperJson(here('--kill-after', '300ms'));
    expect(status).toBe(0);
    expect(row(report, sham)).toMatchObject({ outcome: 'killed' });
    expect(sham.isAlive()).toBe(false);
  });

  test('forks a child while it is dying has ended all the same', async ({ clay, here, expect }) => {
    const sham = await clay.sham({ ...IDLE, start: { forkWhileDying: true } });
    const { status, report } = await reaperJson(here());
    expect(status).toBe(0);
    expect(row(report, sham)).toMatchObject({ outcome: 'terminated' });
    expect(sham.isAlive()).toBe(false);
  });

  test('cannot be killed by anybody is said to have survived, with status 1, in bounded time', async ({
    clay,
    here,
    expect,
  }) => {
    const sham = await clay.sham({ ...IDLE, shape: 'native', start: { ignoreSigterm: true } });
    // As near as it gets to uninterruptible sleep without being root: the signal is sent, and nothing comes of it.
    const interference = interfere([{ call: `^kill ${sham.pid} SIGKILL$`, swallow: true }]);
    const begun = performance.now();
    const { status, report, stderr } = await reaperJson(here('--kill-after', '300ms'), { env: interference.env });
    interference.remove();
    expect(performance.now() - begun).toBeLessThan(20_000);
    expect(status).toBe(1);
    expect(row(report, sham)).toMatchObject({ outcome: 'survived' });
    expect(stderr).toContain(`claude ${sham.pid} should be gone and is not`);
  });

  test('is about to be ended when the time cannot be told any more is spared, and what was begun is finished', async ({
    clay,
    here,
    onTestFinished,
    expect,
  }) => {
    const deaf = await clay.sham({ ...IDLE, shape: 'native', idleSeconds: 7200, start: { ignoreSigterm: true } });
    const next = await clay.sham({ ...IDLE, shape: 'native' });
    const asked = join(clay.home, 'asked');
    const interference = interfere([
      // Two looks, and a last question to Clay; then the first in line reads the time, and the second cannot.
      { call: `^openSync ${clay.socket}$`, from: 3, run: `touch ${asked}` },
      { call: '^openSync /proc/uptime$', onceThereIs: asked, from: 2, error: 'EMFILE' },
    ]);
    onTestFinished(interference.remove);
    const { status, report } = await reaperJson(here('--kill-after', '300ms'), { env: interference.env });
    expect(status).toBe(0);
    expect(row(report, deaf)).toMatchObject({ outcome: 'killed' });
    expect(row(report, next)).toMatchObject({ outcome: 'spared' });
    expect([deaf.isAlive(), next.isAlive()]).toEqual([false, true]);
  });

  test('survives does not keep the service from the others, sweep after sweep', async ({
    clay,
    onTestFinished,
    expect,
  }) => {
    const stuck = await clay.sham({ ...IDLE, shape: 'native', start: { ignoreSigterm: true } });
    const interference = interfere([{ call: `^kill ${stuck.pid} SIGKILL$`, swallow: true }]);
    const args = ['--clay-home', clay.home, '--min-age', '0s', '--poll', '100ms', '--kill-after', '100ms'];
    const running = startReaper(args, { env: interference.env });
    onTestFinished(async () => {
      await running.stop();
      interference.remove();
    });
    await running.logged('survived', (line) => line.pid === stuck.pid);
    const next = await clay.sham({ ...IDLE, shape: 'native' });
    await running.logged('reaped', (line) => line.pid === next.pid, 40_000);
    expect(stuck.isAlive()).toBe(true);
  });
});

/** What makes a process somebody's work, and the last read of the second look that can tell. */
const WAKE_UPS: Readonly<
  Record<string, { readonly read: (sham: Sham) => string; readonly wake: (sham: Sham) => string }>
> = {
  'its session file says busy': {
    read: (sham) => `^openSync ${sham.sessionFile}$`,
    wake: (sham) => `sed -i 's/"status":"idle"/"status":"busy"/' ${sham.sessionFile}`,
  },
  'its conversation has a turn open': {
    read: (sham) => `^openSync ${sham.journal}$`,
    wake: (sham) => `echo '{"type":"user_message","text":"go on"}' >>${sham.journal}`,
  },
  'its transcript is written to': {
    read: (sham) => `^openSync ${sham.transcript}$`,
    wake: (sham) => `echo '{}' >>${sham.transcript}`,
  },
  'it waits for a permission': {
    read: (sham) => `^openSync ${sham.sessionFile}$`,
    wake: (sham) => `sed -i 's/"status":"idle"/"status":"waiting"/' ${sham.sessionFile}`,
  },
};

describe('10. a claude that becomes busy between two reads of the second look is spared:', () => {
  let clay: Clay;
  const args = (): string[] => ['--clay-home', clay.home, '--min-age', '0s', '--poll', '100ms', '--log-level', 'debug'];
  const native: ShamOptions = { ...IDLE, shape: 'native' };

  beforeAll(async () => {
    clay = await startClay({ projects: ['rest'] });
  });
  afterAll(async () => clay?.stop());

  plainTest.for(Object.entries(WAKE_UPS))(
    '%s right before that is read',
    async ([, { read, wake }], { onTestFinished }) => {
      // How often it is read until SIGTERM: the last time is that of the second look.
      const trial = await clay.sham(native);
      const tried = interfere([]);
      const first = startReaper(args(), { env: tried.env });
      await first.logged('reaped', (line) => line.pid === trial.pid);
      await first.stop();
      const calls = tried.calls();
      tried.remove();
      const pattern = new RegExp(read(trial));
      const reads = calls.filter((call) => pattern.test(call)).length;
      expect(reads).toBeGreaterThan(1);

      const sham = await clay.sham(native);
      const rule: Rule = { call: read(sham), from: reads, to: reads, run: wake(sham) };
      const interference = interfere([rule]);
      const running = startReaper(args(), { env: interference.env });
      onTestFinished(async () => {
        await running.stop();
        interference.remove();
      });
      const spared = await running.logged('spared', (line) => line.pid === sham.pid);
      expect(spared.reason).toBeTruthy();
      const swept = (): number => running.log.filter((line) => line.msg === 'swept').length;
      const before = swept();
      await until('two sweeps more', () => swept() > before + 2);
      expect(sham.isAlive()).toBe(true);
      expect(interference.signals().filter((each) => each.pid === sham.pid && each.signal !== '0')).toEqual([]);
      kill(sham);
    },
  );
});
