import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test as plainTest } from 'vitest';
import { type Clay, type FakeClaude, IDLE, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { type ProcessReport, type Report, runCliJson, startService } from '../helpers/cli.ts';
import { childrenOf, identify, isAlive, kill } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { injectFault, type Rule } from './interference.ts';

const row = (report: Report, claude: FakeClaude): ProcessReport | undefined =>
  report.processes.find((process) => process.pid === claude.pid);

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
describe.concurrent('ending a claude', () => {
  test('sends SIGKILL if it ignores SIGTERM, and ends its surviving descendants', async ({ clay, here, expect }) => {
    const deaf = await clay.spawnClaude({
      ...IDLE,
      start: { ignoreSigterm: true, mcpServer: true, threadChild: true },
    });
    const below = childrenOf(deaf.pid).flatMap((pid) => identify(pid) ?? []);
    expect(below).toHaveLength(2);
    const { status, report } = await runCliJson(here('--kill-after', '300ms'));
    expect(status).toBe(0);
    expect(row(report, deaf)).toMatchObject({ outcome: 'killed' });
    expect([deaf, ...below].map(isAlive)).toEqual([false, false, false]);
  });

  test('sends SIGKILL if it is stopped (SIGSTOP) and cannot handle SIGTERM', async ({ clay, here, expect }) => {
    const claude = await clay.spawnClaude(IDLE_NATIVE);
    kill(claude, 'SIGSTOP');
    const { status, report } = await runCliJson(here('--kill-after', '300ms'));
    expect(status).toBe(0);
    expect(row(report, claude)).toMatchObject({ outcome: 'killed' });
    expect(claude.isAlive()).toBe(false);
  });

  test('reports "terminated" if it forks a child while it exits', async ({ clay, here, expect }) => {
    const claude = await clay.spawnClaude({ ...IDLE, start: { forkWhileDying: true } });
    const { status, report } = await runCliJson(here());
    expect(status).toBe(0);
    expect(row(report, claude)).toMatchObject({ outcome: 'terminated' });
    expect(claude.isAlive()).toBe(false);
  });

  test('reports "survived" and exits with 1, in bounded time, if SIGKILL has no effect', async ({
    clay,
    here,
    expect,
  }) => {
    const claude = await clay.spawnClaude({ ...IDLE_NATIVE, start: { ignoreSigterm: true } });
    // As near as it gets to uninterruptible sleep without being root: the signal is sent, and nothing comes of it.
    const interference = injectFault([{ call: `^kill ${claude.pid} SIGKILL$`, swallow: true }]);
    const begun = performance.now();
    const { status, report, stderr } = await runCliJson(here('--kill-after', '300ms'), { env: interference.env });
    interference.remove();
    expect(performance.now() - begun).toBeLessThan(20_000);
    expect(status).toBe(1);
    expect(row(report, claude)).toMatchObject({ outcome: 'survived' });
    expect(stderr).toContain(`claude ${claude.pid} did not end`);
  });

  test('spares it if the clock cannot be read any more, and finishes terminations in progress', async ({
    clay,
    here,
    onTestFinished,
    expect,
  }) => {
    const deaf = await clay.spawnClaude({
      ...IDLE,
      shape: 'native',
      idleSeconds: 7200,
      start: { ignoreSigterm: true },
    });
    const next = await clay.spawnClaude(IDLE_NATIVE);
    const asked = join(clay.home, 'asked');
    const interference = injectFault([
      // Two assessments, and a last query to Clay; then the first process reads the time, and the second cannot.
      { call: `^openSync ${clay.socket}$`, from: 3, run: `touch ${asked}` },
      { call: '^openSync /proc/uptime$', onceThereIs: asked, from: 2, error: 'EMFILE' },
    ]);
    onTestFinished(interference.remove);
    const { status, report } = await runCliJson(here('--kill-after', '300ms'), { env: interference.env });
    expect(status).toBe(0);
    expect(row(report, deaf)).toMatchObject({ outcome: 'killed' });
    expect(row(report, next)).toMatchObject({ outcome: 'spared' });
    expect([deaf.isAlive(), next.isAlive()]).toEqual([false, true]);
  });

  test('continues with other processes in later sweeps if one survives', async ({ clay, onTestFinished, expect }) => {
    const stuck = await clay.spawnClaude({ ...IDLE_NATIVE, start: { ignoreSigterm: true } });
    const interference = injectFault([{ call: `^kill ${stuck.pid} SIGKILL$`, swallow: true }]);
    const args = ['--clay-home', clay.home, '--min-age', '0s', '--poll', '100ms', '--kill-after', '100ms'];
    const running = startService(args, { env: interference.env });
    onTestFinished(async () => {
      await running.stop();
      interference.remove();
    });
    await running.logged('survived', (line) => line.pid === stuck.pid);
    const next = await clay.spawnClaude(IDLE_NATIVE);
    await running.logged('reaped', (line) => line.pid === next.pid, 40_000);
    expect(stuck.isAlive()).toBe(true);
  });
});

/** What makes a process busy, and the last read of the second assessment that can show it. */
const WAKE_UPS: Readonly<
  Record<string, { readonly read: (claude: FakeClaude) => string; readonly wake: (claude: FakeClaude) => string }>
> = {
  'its session file says busy': {
    read: (claude) => `^openSync ${claude.sessionFile}$`,
    wake: (claude) => `sed -i 's/"status":"idle"/"status":"busy"/' ${claude.sessionFile}`,
  },
  'its conversation has a turn open': {
    read: (claude) => `^openSync ${claude.journal}$`,
    wake: (claude) => `echo '{"type":"user_message","text":"go on"}' >>${claude.journal}`,
  },
  'its transcript is written to': {
    read: (claude) => `^openSync ${claude.transcript}$`,
    wake: (claude) => `echo '{}' >>${claude.transcript}`,
  },
  'it waits for a permission': {
    read: (claude) => `^openSync ${claude.sessionFile}$`,
    wake: (claude) => `sed -i 's/"status":"idle"/"status":"waiting"/' ${claude.sessionFile}`,
  },
};

describe('recheck before SIGTERM spares a claude that becomes busy', () => {
  let clay: Clay;
  const args = (): string[] => ['--clay-home', clay.home, '--min-age', '0s', '--poll', '100ms', '--log-level', 'debug'];

  beforeAll(async () => {
    clay = await startClay({ projects: ['rest'] });
  });
  afterAll(async () => clay?.stop());

  plainTest.for(Object.entries(WAKE_UPS))(
    '%s right before that is read',
    async ([, { read, wake }], { onTestFinished }) => {
      // How often it is read until SIGTERM: the last time is that of the second assessment.
      const trial = await clay.spawnClaude(IDLE_NATIVE);
      const tried = injectFault([]);
      const first = startService(args(), { env: tried.env });
      await first.logged('reaped', (line) => line.pid === trial.pid);
      await first.stop();
      const all = tried.calls();
      // What is read later goes into the history.
      const calls = all.slice(0, all.indexOf(`kill ${trial.pid} SIGTERM`));
      tried.remove();
      const pattern = new RegExp(read(trial));
      const reads = calls.filter((call) => pattern.test(call)).length;
      expect(reads).toBeGreaterThan(1);

      const claude = await clay.spawnClaude(IDLE_NATIVE);
      const rule: Rule = { call: read(claude), from: reads, to: reads, run: wake(claude) };
      const interference = injectFault([rule]);
      const running = startService(args(), { env: interference.env });
      onTestFinished(async () => {
        await running.stop();
        interference.remove();
      });
      const spared = await running.logged('spared', (line) => line.pid === claude.pid);
      expect(spared.reason).toBeTruthy();
      const swept = (): number => running.log.filter((line) => line.msg === 'swept').length;
      const before = swept();
      await waitFor('two sweeps more', () => swept() > before + 2);
      expect(claude.isAlive()).toBe(true);
      expect(interference.signals().filter((process) => process.pid === claude.pid && process.signal !== '0')).toEqual(
        [],
      );
      kill(claude);
    },
  );
});
