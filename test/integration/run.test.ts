import { appendFileSync, statSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { type Clay, IDLE, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { type RunningService, runCliJson, startService } from '../helpers/cli.ts';
import { waitFor } from '../helpers/wait-for.ts';

const FAST = ['--poll', '200ms', '--min-age', '0s'];

/** A Clay and what is to be stopped with it, for each test its own. */
const it = test.extend<{ clay: Clay; watch: (...args: string[]) => RunningService }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures that are needed from the pattern.
  clay: async ({}, use) => {
    const clay = await startClay({ projects: ['rest', 'busy'] });
    await use(clay);
    await clay.stop();
  },
  watch: async ({ clay }, use) => {
    const running: RunningService[] = [];
    await use((...args) => {
      const reaper = startService(['--clay-home', clay.home, ...FAST, ...args]);
      running.push(reaper);
      return reaper;
    });
    await Promise.all(running.map((reaper) => reaper.stop()));
  },
});

describe.concurrent('run', () => {
  it('reaps a process that is idle for the whole grace period, and logs it', async ({ clay, watch, expect }) => {
    const idle = await clay.spawnClaude({ ...IDLE, journal: null, transcript: false });
    const waiting = await clay.spawnClaude({ project: 'busy', journal: 'permission' });
    const reaper = watch('--grace', '2s');
    expect(await reaper.logged('started')).toMatchObject({ level: 'info', dryRun: false });
    expect(await reaper.logged('clay-found')).toMatchObject({ clayPid: clay.pid, home: clay.home });
    expect(await reaper.logged('candidate')).toMatchObject({ pid: idle.pid, orphan: 'deleted' });
    const reaped = await reaper.logged('reaped');
    expect(reaped).toMatchObject({
      pid: idle.pid,
      orphan: 'deleted',
      signal: 'SIGTERM',
      project: 'rest',
      sessionId: idle.sessionId,
      rssBytes: expect.any(Number),
    });
    expect(reaped.idleSeconds).toBeGreaterThanOrEqual(2);
    expect(waiting.isAlive()).toBe(true);
    const { status } = await reaper.stop();
    expect(status).toBe(0);
    expect(reaper.log.filter((line) => line.event === 'candidate')).toHaveLength(1);
    expect(reaper.log.at(-1)).toMatchObject({ event: 'stopped', signal: 'SIGTERM' });
  });

  it('logs sentences with journal priorities if log.format is text', async ({ clay, expect, onTestFinished }) => {
    const idle = await clay.spawnClaude(IDLE);
    const reaper = startService(['--clay-home', clay.home, ...FAST], {
      env: { CLAY_REAPER_LOG_FORMAT: 'text', JOURNAL_STREAM: '8:1' },
    });
    onTestFinished(async () => void (await reaper.stop()));
    const lineWith = (part: string): string | undefined =>
      reaper.log.map(({ text }) => String(text)).find((text) => text.includes(part));
    await waitFor('it is ended', () => lineWith('ended claude') !== undefined);
    expect(lineWith('ended claude')).toMatch(
      new RegExp(
        `^<6>ended claude ${idle.pid} of project rest \\(parked\\): idle for 1h, \\d+(\\.\\d+)? MB came back$`,
      ),
    );
    expect(lineWith('started')).toMatch(/^<6>clay-reaper \S+ started\. Every 200ms, it ends the claude processes/);
  });

  it('says at its start that a dry run ends nothing, and why', async ({ watch, expect }) => {
    const { msg } = await watch('--dry-run').logged('started');
    expect(msg).toMatch(/dry run \(--dry-run\): it logs what it would end and ends nothing\..*it would end/);
  });

  it('says after the first sweep of a dry run what comes next and when', async ({ clay, watch, expect }) => {
    await clay.spawnClaude({ ...IDLE_NATIVE, idleSeconds: 600 });
    const { msg } = await watch('--dry-run', '--parked-after', '30m').logged('watching');
    expect(msg).toMatch(/^watching 1 claude processes: .*(would be ended in \d+m|is logged when it becomes idle)/);
  });

  it('counts idle time from before its own start', async ({ clay, watch, expect }) => {
    await clay.spawnClaude(IDLE);
    const reaped = await watch('--parked-after', '10m').logged('reaped');
    expect(reaped.idleSeconds).toBeGreaterThanOrEqual(3600);
  });

  it('restarts the idle time if a process is busy at one poll', async ({ clay, watch, expect }) => {
    const claude = await clay.spawnClaude(IDLE_NATIVE);
    const reaper = watch('--parked-after', '4s', '--log-level', 'debug');
    const sweeps = (): number => reaper.log.filter((line) => line.event === 'sweep' && line.protected === 1).length;
    await claude.command({ sessionFile: { status: 'busy' } });
    const before = sweeps();
    await waitFor('it was seen busy', () => sweeps() > before + 1);
    await claude.command({ sessionFile: { status: 'idle' } });
    const reaped = await reaper.logged('reaped');
    expect(reaped.idleSeconds).toBeLessThan(60);
    expect(reaped.idleSeconds).toBeGreaterThanOrEqual(4);
  });

  it('--dry-run logs but ends nothing', async ({ clay, watch, expect }) => {
    const idle = await clay.spawnClaude(IDLE);
    const reaper = watch('--dry-run', '--log-level', 'debug');
    expect(await reaper.logged('would-reap')).toMatchObject({ pid: idle.pid, orphan: 'parked' });
    await waitFor('some more sweeps', () => reaper.log.filter((line) => line.event === 'sweep').length > 4);
    expect(idle.isAlive()).toBe(true);
    expect(reaper.log.filter((line) => line.event === 'would-reap')).toHaveLength(1);
  });

  it('detects that another process continues the conversation of an idle one', async ({ clay, watch, expect }) => {
    const claude = await clay.spawnClaude({ ...IDLE_NATIVE, idleSeconds: 0 });
    // Long enough for five sweeps on a loaded machine.
    const reaper = watch('--dry-run', '--parked-after', '10s', '--log-level', 'debug');
    const sweeps = (): number => reaper.log.filter((line) => line.event === 'sweep').length;
    await waitFor('it is known to be at rest', () => sweeps() > 4);
    appendFileSync(claude.transcript, '{}\n');
    // Not the clock: the times of files are up to 4 ms behind it.
    const changedAt = statSync(claude.transcript).mtimeMs;
    await reaper.logged('would-reap');
    expect(Date.now() - changedAt).toBeGreaterThanOrEqual(10_000);
  });

  it('stops within 1.5 s, even while a sweep waits for a process to exit', async ({ clay, watch, expect }) => {
    const hooked = await clay.spawnClaude({ ...IDLE, start: { sessionEndHookSeconds: 60 } });
    const reaper = watch('--kill-after', '50s', '--log-level', 'debug');
    await waitFor(
      'it is ending',
      async () => (await runCliJson(['status', '--clay-home', clay.home])).report.processes[0]?.sessionId === null,
    );
    const begun = performance.now();
    const { status } = await reaper.stop();
    expect(performance.now() - begun).toBeLessThan(1500);
    expect(status).toBe(0);
    expect(reaper.log.at(-1)).toMatchObject({ event: 'stopped' });
    expect(hooked.isAlive()).toBe(true);
  });

  it('logs a Clay that stops cleanly as lost, and refuses nothing', async ({ clay, watch, expect }) => {
    const reaper = watch('--log-level', 'debug');
    await reaper.logged('clay-found');
    await clay.quit();
    await reaper.logged('clay-lost', (line) => line.clayPid === clay.pid);
    const sweeps = (): number => reaper.log.filter((line) => line.msg === 'swept').length;
    const before = sweeps();
    await waitFor('it sweeps again', () => sweeps() > before + 1);
    expect(reaper.log.filter((line) => line.event === 'clay-refused')).toEqual([]);
  });

  it('waits for Clay, and finds it again under a new pid', async ({ clay, watch, expect }) => {
    await clay.crash();
    // On a loaded machine, a sweep sees the process start, and its idle time begins then.
    const reaper = watch('--parked-after', '1s');
    expect(await reaper.logged('waiting')).toMatchObject({ msg: expect.stringContaining(clay.home) });
    const second = await startClay({ projects: ['rest'], after: clay });
    expect(await reaper.logged('clay-found')).toMatchObject({ clayPid: second.pid });
    await second.crash();
    expect(await reaper.logged('clay-lost')).toMatchObject({ clayPid: second.pid });
    const third = await startClay({ projects: ['rest'], after: clay });
    await reaper.logged('clay-found', (line) => line.clayPid === third.pid);
    const idle = await third.spawnClaude(IDLE);
    await reaper.logged('reaped', (line) => line.pid === idle.pid);
    await third.crash();
  });

  it('logs an unreachable API once and its recovery once, and reaps nothing in between', async ({
    clay,
    watch,
    expect,
  }) => {
    await clay.answerStatus({ mode: 'garbage' });
    const idle = await clay.spawnClaude(IDLE);
    const reaper = watch('--parked-after', '1s', '--log-level', 'debug');
    expect(await reaper.logged('api-unreachable')).toMatchObject({ clayPid: clay.pid, error: expect.any(String) });
    await waitFor('some more sweeps', () => reaper.log.filter((line) => line.event === 'sweep').length > 8);
    expect(idle.isAlive()).toBe(true);
    await clay.answerStatus({ mode: 'ok' });
    await reaper.logged('api-recovered');
    await reaper.logged('reaped', (line) => line.pid === idle.pid);
    expect(reaper.log.filter((line) => line.event === 'api-unreachable')).toHaveLength(1);
  });

  it('reaps a process with an open event stream after stale_connection_after', async ({ clay, watch, expect }) => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = server.address() as AddressInfo;
      const claude = await clay.spawnClaude({ ...IDLE, start: { connect: { port } } });
      const config = join(clay.directory, 'config.toml');
      writeFileSync(config, 'stale_connection_after = "2s"\nparked_after = "1s"\n');
      const reaper = watch('--config', config);
      const reaped = await reaper.logged('reaped');
      expect(reaped).toMatchObject({ pid: claude.pid });
      // Idle only since the connection no longer counts, whatever its files say.
      expect(reaped.idleSeconds).toBeLessThan(60);
    } finally {
      server.close();
    }
  });

  it('reloads the configuration on SIGHUP, and keeps the old one if the new one is invalid', async ({
    clay,
    watch,
    expect,
  }) => {
    const config = join(clay.directory, 'config.toml');
    writeFileSync(config, 'parked_after = "never"\n');
    const idle = await clay.spawnClaude(IDLE);
    const reaper = watch('--config', config, '--log-level', 'debug');
    await reaper.logged('candidate');
    writeFileSync(config, 'parked_after = "soon"\n');
    reaper.signal('SIGHUP');
    expect(await reaper.logged('reload-refused')).toMatchObject({
      level: 'error',
      error: expect.stringContaining('parked_after'),
    });
    expect(idle.isAlive()).toBe(true);
    writeFileSync(config, 'parked_after = "1s"\n');
    reaper.signal('SIGHUP');
    await reaper.logged('reloaded');
    await reaper.logged('reaped', (line) => line.pid === idle.pid);
  });
});

describe('abandoned processes', () => {
  let clay: Clay | undefined;
  afterEach(async () => clay?.stop());

  it('are found after their Clay has died', async () => {
    clay = await startClay({ projects: ['rest'] });
    const idle = await clay.spawnClaude({ ...IDLE, start: { outliveDaemon: true } });
    const working = await clay.spawnClaude({ ...IDLE, start: { outliveDaemon: true, toolShell: true } });
    await clay.crash();
    const finished = await runCliJson(['cleanup', '--yes', '--clay-home', clay.home, '--min-age', '0s']);
    expect(finished.status).toBe(0);
    expect(finished.report.clay).toEqual([]);
    const byPid = new Map(finished.report.processes.map((row) => [row.pid, row]));
    expect(byPid.get(idle.pid)).toMatchObject({ clayPid: null, orphan: 'abandoned', outcome: 'terminated' });
    expect(byPid.get(working.pid)).toMatchObject({ clayPid: null, verdict: 'protected', reasons: [{ code: 'tool' }] });
    expect([idle.isAlive(), working.isAlive()]).toEqual([false, true]);
  });
});

describe('discovery of Clay', () => {
  let clay: Clay | undefined;
  afterEach(async () => clay?.stop());

  it('finds it through $CLAY_HOME, ~/.clay, and the process table', async () => {
    clay = await startClay({ projects: ['rest'], clayHome: 'elsewhere' });
    const home = clay.home;
    const pid = clay.pid;
    const found = async (env: Record<string, string>): Promise<boolean> => {
      const { report } = await runCliJson(['status'], { env });
      return report.clay.some((daemon) => daemon.pid === pid && daemon.home === home);
    };
    expect(await found({ CLAY_HOME: home, HOME: '/nonexistent' })).toBe(true);
    expect(await found({ HOME: '/nonexistent' })).toBe(true);
    const atHome = await startClay({ projects: ['rest'] });
    try {
      const { report } = await runCliJson(['status'], { env: { HOME: atHome.userHome } });
      expect(report.clay.map((daemon) => daemon.pid)).toContain(atHome.pid);
    } finally {
      await atHome.stop();
    }
  });

  it('finds a Clay in dev mode', async () => {
    clay = await startClay({ projects: ['rest'], dev: true });
    const { report } = await runCliJson(['status', '--clay-home', clay.home]);
    expect(report.clay).toMatchObject([{ pid: clay.pid, api: 'ok' }]);
  });
});
