import { appendFileSync, statSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { type Clay, type ShamOptions, startClay } from '../support/clay.ts';
import { openFiles } from '../support/processes.ts';
import { type RunningReaper, reaperJson, startReaper } from '../support/reaper.ts';
import { until } from '../support/until.ts';

const IDLE: ShamOptions = { project: 'rest', journal: 'ended', transcript: true, idleSeconds: 3600 };
const FAST = ['--poll', '200ms', '--min-age', '0s'];

/** A Clay and what is to be stopped with it, for each test its own. */
const it = test.extend<{ clay: Clay; watch: (...args: string[]) => RunningReaper }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures that are needed from the pattern.
  clay: async ({}, use) => {
    const clay = await startClay({ projects: ['rest', 'busy'] });
    await use(clay);
    await clay.stop();
  },
  watch: async ({ clay }, use) => {
    const running: RunningReaper[] = [];
    await use((...args) => {
      const reaper = startReaper(['--clay-home', clay.home, ...FAST, ...args]);
      running.push(reaper);
      return reaper;
    });
    await Promise.all(running.map((reaper) => reaper.stop()));
  },
});

describe.concurrent('run', () => {
  it('reaps what is idle for the whole grace period, and tells what it does', async ({ clay, watch, expect }) => {
    const idle = await clay.sham({ ...IDLE, journal: null, transcript: false });
    const waiting = await clay.sham({ project: 'busy', journal: 'permission' });
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

  it('knows idle time from before its own start', async ({ clay, watch, expect }) => {
    await clay.sham(IDLE);
    const reaped = await watch('--parked-after', '10m').logged('reaped');
    expect(reaped.idleSeconds).toBeGreaterThanOrEqual(3600);
  });

  it('begins again from zero when a process gets busy for one poll', async ({ clay, watch, expect }) => {
    const sham = await clay.sham({ ...IDLE, shape: 'native' });
    const reaper = watch('--parked-after', '4s', '--log-level', 'debug');
    const sweeps = (): number => reaper.log.filter((line) => line.event === 'sweep' && line.protected === 1).length;
    await sham.tell({ sessionFile: { status: 'busy' } });
    const before = sweeps();
    await until('it was seen busy', () => sweeps() > before + 1);
    await sham.tell({ sessionFile: { status: 'idle' } });
    const reaped = await reaper.logged('reaped');
    expect(reaped.idleSeconds).toBeLessThan(60);
    expect(reaped.idleSeconds).toBeGreaterThanOrEqual(4);
  });

  it('--dry-run only tells', async ({ clay, watch, expect }) => {
    const idle = await clay.sham(IDLE);
    const reaper = watch('--dry-run', '--log-level', 'debug');
    expect(await reaper.logged('would-reap')).toMatchObject({ pid: idle.pid, orphan: 'parked' });
    await until('some more sweeps', () => reaper.log.filter((line) => line.event === 'sweep').length > 4);
    expect(idle.isAlive()).toBe(true);
    expect(reaper.log.filter((line) => line.event === 'would-reap')).toHaveLength(1);
  });

  it('sees that another one goes on with the conversation of a process at rest', async ({ clay, watch, expect }) => {
    const sham = await clay.sham({ ...IDLE, shape: 'native', idleSeconds: 0 });
    const reaper = watch('--dry-run', '--parked-after', '4s', '--log-level', 'debug');
    const sweeps = (): number => reaper.log.filter((line) => line.event === 'sweep').length;
    await until('it is known to be at rest', () => sweeps() > 4);
    appendFileSync(sham.transcript, '{}\n');
    // Not the clock: the times of files are up to 4 ms behind it.
    const changedAt = statSync(sham.transcript).mtimeMs;
    await reaper.logged('would-reap');
    expect(Date.now() - changedAt).toBeGreaterThanOrEqual(4_000);
  });

  it('holds open what it reads of a process at rest, for as long as that lives', async ({ clay, watch }) => {
    const sham = await clay.sham({ ...IDLE, shape: 'native' });
    const reaper = watch('--dry-run');
    const isHeld = (): boolean => openFiles(reaper.pid).includes(`/proc/${sham.pid}/schedstat`);
    await until('it is held', isHeld);
    process.kill(sham.pid, 'SIGKILL');
    await until('it is let go', () => !openFiles(reaper.pid).some((path) => path.includes('schedstat')));
  });

  it('ends within a second, also in the middle of a sweep that waits for a process to end', async ({
    clay,
    watch,
    expect,
  }) => {
    const hooked = await clay.sham({ ...IDLE, start: { sessionEndHookSeconds: 60 } });
    const reaper = watch('--kill-after', '50s', '--log-level', 'debug');
    await until(
      'it is ending',
      async () => (await reaperJson(['status', '--clay-home', clay.home])).report.processes[0]?.sessionId === null,
    );
    const begun = performance.now();
    const { status } = await reaper.stop();
    expect(performance.now() - begun).toBeLessThan(1500);
    expect(status).toBe(0);
    expect(reaper.log.at(-1)).toMatchObject({ event: 'stopped' });
    expect(hooked.isAlive()).toBe(true);
  });

  it('waits for Clay, and finds it again with another pid', async ({ clay, watch, expect }) => {
    await clay.crash();
    const reaper = watch();
    expect(await reaper.logged('waiting')).toMatchObject({ msg: expect.stringContaining(clay.home) });
    const second = await startClay({ projects: ['rest'], after: clay });
    expect(await reaper.logged('clay-found')).toMatchObject({ clayPid: second.pid });
    await second.crash();
    expect(await reaper.logged('clay-lost')).toMatchObject({ clayPid: second.pid });
    const third = await startClay({ projects: ['rest'], after: clay });
    await reaper.logged('clay-found', (line) => line.clayPid === third.pid);
    const idle = await third.sham(IDLE);
    await reaper.logged('reaped', (line) => line.pid === idle.pid);
    await third.crash();
  });

  it('tells once when the API falls silent and once when it is back, and reaps nothing meanwhile', async ({
    clay,
    watch,
    expect,
  }) => {
    await clay.answerStatus({ mode: 'garbage' });
    const idle = await clay.sham(IDLE);
    const reaper = watch('--parked-after', '1s', '--log-level', 'debug');
    expect(await reaper.logged('api-unreachable')).toMatchObject({ clayPid: clay.pid, error: expect.any(String) });
    await until('some more sweeps', () => reaper.log.filter((line) => line.event === 'sweep').length > 8);
    expect(idle.isAlive()).toBe(true);
    await clay.answerStatus({ mode: 'ok' });
    await reaper.logged('api-recovered');
    await reaper.logged('reaped', (line) => line.pid === idle.pid);
    expect(reaper.log.filter((line) => line.event === 'api-unreachable')).toHaveLength(1);
  });

  it('reaps what an event stream keeps open for ever, after the longer wait', async ({ clay, watch, expect }) => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = server.address() as AddressInfo;
      const sham = await clay.sham({ ...IDLE, start: { connect: { port } } });
      const config = join(clay.directory, 'config.toml');
      writeFileSync(config, 'stale_connection_after = "2s"\nparked_after = "1s"\n');
      const reaper = watch('--config', config);
      const reaped = await reaper.logged('reaped');
      expect(reaped).toMatchObject({ pid: sham.pid });
      // Idle only since the connection no longer counts, whatever its files say.
      expect(reaped.idleSeconds).toBeLessThan(60);
    } finally {
      server.close();
    }
  });

  it('reads its configuration again on SIGHUP, and keeps the old one if the new one is bad', async ({
    clay,
    watch,
    expect,
  }) => {
    const config = join(clay.directory, 'config.toml');
    writeFileSync(config, 'parked_after = "never"\n');
    const idle = await clay.sham(IDLE);
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

describe('a Clay that died', () => {
  let clay: Clay | undefined;
  afterEach(async () => clay?.stop());

  it('leaves abandoned processes behind, which are found by themselves', async () => {
    clay = await startClay({ projects: ['rest'] });
    const idle = await clay.sham({ ...IDLE, start: { outliveDaemon: true } });
    const working = await clay.sham({ ...IDLE, start: { outliveDaemon: true, toolShell: true } });
    await clay.crash();
    const finished = await reaperJson(['cleanup', '--yes', '--clay-home', clay.home, '--min-age', '0s']);
    expect(finished.status).toBe(0);
    expect(finished.report.clay).toEqual([]);
    const byPid = new Map(finished.report.processes.map((row) => [row.pid, row]));
    expect(byPid.get(idle.pid)).toMatchObject({ clayPid: null, orphan: 'abandoned', outcome: 'terminated' });
    expect(byPid.get(working.pid)).toMatchObject({ clayPid: null, verdict: 'protected', reasons: [{ code: 'tool' }] });
    expect([idle.isAlive(), working.isAlive()]).toEqual([false, true]);
  });
});

describe('finding Clay', () => {
  let clay: Clay | undefined;
  afterEach(async () => clay?.stop());

  it('by $CLAY_HOME, by ~/.clay, and by its process if no home leads to it', async () => {
    clay = await startClay({ projects: ['rest'], clayHome: 'elsewhere' });
    const home = clay.home;
    const pid = clay.pid;
    const found = async (env: Record<string, string>): Promise<boolean> => {
      const { report } = await reaperJson(['status'], { env });
      return report.clay.some((each) => each.pid === pid && each.home === home);
    };
    expect(await found({ CLAY_HOME: home, HOME: '/nonexistent' })).toBe(true);
    expect(await found({ HOME: '/nonexistent' })).toBe(true);
    const atHome = await startClay({ projects: ['rest'] });
    try {
      const { report } = await reaperJson(['status'], { env: { HOME: atHome.userHome } });
      expect(report.clay.map((each) => each.pid)).toContain(atHome.pid);
    } finally {
      await atHome.stop();
    }
  });

  it('also in dev mode', async () => {
    clay = await startClay({ projects: ['rest'], dev: true });
    const { report } = await reaperJson(['status', '--clay-home', clay.home]);
    expect(report.clay).toMatchObject([{ pid: clay.pid, api: 'ok' }]);
  });
});
