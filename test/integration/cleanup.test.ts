import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Clay, type Sham, type ShamOptions, type StatusBehaviour, startClay } from '../support/clay.ts';
import { identify, isAlive } from '../support/processes.ts';
import { type ProcessReport, type Report, reaper, reaperJson } from '../support/reaper.ts';
import { until } from '../support/until.ts';

const IDLE: ShamOptions = { project: 'rest', journal: 'ended', transcript: true, idleSeconds: 3600 };
const row = (report: Report, sham: Sham): ProcessReport | undefined =>
  report.processes.find((each) => each.pid === sham.pid);

// Each has a Clay of its own, and most of its time goes by in waiting: side by side.
const it = test.extend<{ clay: Clay; here: (...more: string[]) => string[] }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures that are needed from the pattern.
  clay: async ({}, use) => {
    const clay = await startClay({ projects: ['rest', 'busy'] });
    await use(clay);
    await clay.stop();
  },
  here: async ({ clay }, use) => use((...more) => ['cleanup', '--clay-home', clay.home, '--min-age', '0s', ...more]),
});

/** Listens on a unix socket of this name, and says so. */
const FORGER = "require('node:net').createServer().listen(process.argv[1], () => console.log('listens'))";

/** The inode of the one TCP socket of a process; null while it has none. */
function tcpSocketOf(pid: number): string | null {
  const tcp = readFileSync('/proc/net/tcp', 'utf8');
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
  const inodes = links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []);
  return inodes.find((inode) => tcp.includes(` ${inode} `)) ?? null;
}

describe.concurrent('cleanup', () => {
  it('ends what is idle, and nothing else', async ({ clay, here, expect }) => {
    const idle = await clay.sham(IDLE);
    const withServer = await clay.sham({ ...IDLE, start: { mcpServer: true } });
    const waiting = await clay.sham({ project: 'busy', journal: 'permission' });
    const tool = await clay.sham({ ...IDLE, start: { toolShell: true } });
    const { status, report } = await reaperJson(here('--yes'));
    expect(status).toBe(0);
    expect(row(report, idle)).toMatchObject({ verdict: 'reap', outcome: 'terminated' });
    expect(row(report, withServer)).toMatchObject({ verdict: 'reap', outcome: 'terminated' });
    expect(row(report, waiting)?.outcome).toBeUndefined();
    expect([idle, withServer, waiting, tool].map((sham) => sham.isAlive())).toEqual([false, false, true, true]);
    expect(report.totals.failed).toBe(0);
    expect(report.totals.reclaimedBytes).toBe(
      (row(report, idle)?.rssBytes ?? 0) + (row(report, withServer)?.rssBytes ?? 0),
    );
  });

  it('--dry-run ends nothing', async ({ clay, here, expect }) => {
    const idle = await clay.sham(IDLE);
    const { status, report } = await reaperJson(here('--dry-run'));
    expect(status).toBe(0);
    expect(row(report, idle)).toMatchObject({ verdict: 'reap', outcome: 'would-reap' });
    expect(report.totals).toMatchObject({ reclaimedBytes: 0, failed: 0 });
    expect(idle.isAlive()).toBe(true);
  });

  it('--now does not wait, but every protection and min_age still hold', async ({ clay, here, expect }) => {
    const fresh = await clay.sham({ ...IDLE, idleSeconds: 0 });
    const waiting = await clay.sham({ project: 'busy', journal: 'permission' });
    const young = await reaperJson(['cleanup', '--clay-home', clay.home, '--yes', '--now']);
    expect(young.report.processes.map((each) => each.reasons.map((reason) => reason.code))).toEqual([
      ['young'],
      ['young', 'turn', 'processing'],
    ]);
    const { report } = await reaperJson(here('--yes', '--now'));
    expect(row(report, fresh)).toMatchObject({ outcome: 'terminated', graceSeconds: 0 });
    expect(waiting.isAlive()).toBe(true);
  });

  it('kills what ignores SIGTERM, and ends what the killed one leaves behind', async ({ clay, here, expect }) => {
    const deaf = await clay.sham({ ...IDLE, start: { ignoreSigterm: true, mcpServer: true } });
    const server = identify(deaf.children.mcpServer ?? 0);
    const { status, report } = await reaperJson(here('--yes', '--kill-after', '500ms'));
    expect(status).toBe(0);
    expect(row(report, deaf)).toMatchObject({ outcome: 'killed' });
    expect(deaf.isAlive()).toBe(false);
    expect(server && isAlive(server)).toBe(false);
  });

  it('lets a SessionEnd hook run to its end', async ({ clay, here, expect }) => {
    const hooked = await clay.sham({ ...IDLE, start: { sessionEndHookSeconds: 2 } });
    const { report } = await reaperJson(here('--yes', '--kill-after', '20s'));
    expect(row(report, hooked)).toMatchObject({ outcome: 'terminated' });
  });

  it('asks Clay again before SIGKILL: a turn that has begun meanwhile spares the process', async ({
    clay,
    here,
    expect,
  }) => {
    const hooked = await clay.sham({ ...IDLE, start: { sessionEndHookSeconds: 60 } });
    const running = reaperJson(here('--yes', '--kill-after', '3s'));
    // The session file goes first.
    await until('it has got SIGTERM', () => !existsSync(hooked.sessionFile), 30_000);
    await hooked.record('open');
    const { status, report } = await running;
    expect(row(report, hooked)).toMatchObject({ verdict: 'reap', outcome: 'spared' });
    expect(hooked.isAlive()).toBe(true);
    expect(status).toBe(0);
  });

  it('looks again right before SIGTERM: one that has woken up is spared', async ({ clay, here, expect }) => {
    const sham = await clay.sham({ ...IDLE, shape: 'native' });
    // Slow enough that a process can wake up while Clay is asked for the third time.
    await clay.answerStatus({ mode: 'slow', delayMs: 1 });
    const running = reaperJson(here('--yes'));
    await until('Clay is asked once more', async () => (await clay.statusRequests()) >= 3);
    await sham.tell({ sessionFile: { status: 'busy' } });
    const { status, report } = await running;
    expect(row(report, sham)).toMatchObject({ verdict: 'reap', outcome: 'spared' });
    expect(sham.isAlive()).toBe(true);
    expect(status).toBe(0);
  });

  it('is not fooled by the name of a unix socket that looks like another row of the table', async ({
    clay,
    here,
    expect,
  }) => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const sham = await clay.sham({ ...IDLE, start: { connect: { port } } });
    const inode = await until('its connection has a socket', () => tcpSocketOf(sham.pid));
    const forger = spawn(
      process.execPath,
      ['-e', FORGER, `x\n0000000000000000: 00000003 00000000 00000000 0001 03 ${inode}`],
      {
        cwd: clay.directory,
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    try {
      await new Promise((resolve) => forger.stdout.once('data', resolve));
      const { report } = await reaperJson(here('--yes'));
      // The cheap look takes the connection for a unix socket; the last one before SIGTERM asks TCP's own tables.
      expect(row(report, sham)).toMatchObject({ verdict: 'reap', outcome: 'spared' });
      expect(sham.isAlive()).toBe(true);
    } finally {
      forger.kill();
      server.close();
    }
  });

  it('ends at most max_kills_per_sweep, the longest idle first', async ({ clay, here, expect }) => {
    const shams = [await clay.sham(IDLE), await clay.sham({ ...IDLE, idleSeconds: 7200 }), await clay.sham(IDLE)];
    const { report } = await reaperJson(here('--yes'), { env: { CLAY_REAPER_MAX_KILLS_PER_SWEEP: '1' } });
    expect(shams.map((sham) => row(report, sham)?.outcome)).toEqual(['spared', 'terminated', 'spared']);
  });

  it('leaves alone every Clay without a usable answer, handles the others as usual, and exits with 4', async ({
    clay,
    here,
    expect,
  }) => {
    const behaviours: StatusBehaviour[] = [
      { mode: 'silent' },
      { mode: 'garbage' },
      { mode: 'half' },
      { mode: 'hangup' },
      { mode: 'error' },
      { mode: 'huge' },
      { mode: 'slow', delayMs: 100 },
      { mode: 'closed' },
      { mode: 'stale' },
      { mode: 'ok', override: { pid: 1 } },
      { mode: 'ok', override: { projects: [{ slug: 'rest', path: '/' }] } },
    ];
    const idle = await clay.sham(IDLE);
    const others = await Promise.all(
      behaviours.map(async (behaviour) => {
        const other = await startClay({ projects: ['rest'] });
        const sham = await other.sham({ ...IDLE, shape: 'native' });
        await other.answerStatus(behaviour);
        return { behaviour, other, sham };
      }),
    );
    try {
      const homes = others.flatMap(({ other }) => ['--clay-home', other.home]);
      const { status, report, stderr } = await reaperJson(here('--yes', '--now', ...homes));
      expect(status).toBe(4);
      expect(row(report, idle)?.outcome).toBe('terminated');
      for (const { behaviour, other, sham } of others) {
        const what = JSON.stringify(behaviour);
        expect(
          row(report, sham)?.reasons.map((reason) => reason.code),
          what,
        ).toEqual(['api']);
        expect(
          report.clay.find((each) => each.pid === other.pid),
          what,
        ).toMatchObject({ api: 'unreachable', apiError: expect.any(String) });
        expect(stderr, what).toContain(other.home);
        expect(sham.isAlive(), what).toBe(true);
      }
      expect(stderr.trim().split('\n')).toHaveLength(others.length);
    } finally {
      await Promise.all(others.map(({ other }) => other.stop()));
    }
  });

  it('does not begin without a terminal, --yes or --dry-run', async ({ clay, here, expect }) => {
    const idle = await clay.sham(IDLE);
    const { status, stderr, stdout } = await reaper(here());
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(/--yes.*--dry-run/);
    expect(idle.isAlive()).toBe(true);
  });

  it('kills what was stopped and takes no SIGTERM', async ({ clay, here, expect }) => {
    const idle = await clay.sham(IDLE);
    process.kill(idle.pid, 'SIGSTOP');
    const { status, report } = await reaperJson(here('--yes', '--kill-after', '200ms'));
    expect(row(report, idle)).toMatchObject({ outcome: 'killed' });
    expect(status).toBe(0);
  });
});

describe.concurrent('no Clay', () => {
  test.each([['status'], ['cleanup', '--yes'], ['cleanup', '--dry-run']])(
    '%s %s exits with 3 and says where it looked',
    async (...args) => {
      const home = mkdtempSync(join(tmpdir(), 'no-clay-'));
      try {
        const { status, report, stderr } = await reaperJson([...args, '--clay-home', home]);
        expect(status).toBe(3);
        expect(stderr).toContain(home);
        expect(stderr.trim().split('\n')).toHaveLength(1);
        expect(report).toMatchObject({ schema: 1, clay: [], processes: [], totals: { processes: 0 } });
      } finally {
        rmSync(home, { recursive: true });
      }
    },
  );

  test('a daemon.json that a crash left behind leads to no Clay, be its pid free or another process', async () => {
    const home = mkdtempSync(join(tmpdir(), 'no-clay-'));
    try {
      for (const pid of [2 ** 22 - 1, process.pid, 1, -1, 2 ** 31, '1; rm']) {
        writeFileSync(join(home, 'daemon.json'), JSON.stringify({ pid }));
        const { status, stderr } = await reaper(['cleanup', '--yes', '--clay-home', home]);
        expect(status).toBe(3);
        expect(stderr).toContain(home);
      }
    } finally {
      rmSync(home, { recursive: true });
    }
  });
});

describe.concurrent('bad usage', () => {
  test.each([
    [['statu'], /statu/],
    [[], /run, cleanup, status/],
    [['status', '--gracee', '5m'], /--gracee/],
    [['status', '--grace', '5'], /--grace .*30s.*"5"/],
    [['status', '--grace', 'soon'], /--grace .*"soon"/],
    [['status', '--grace', '-5m'], /--grace/],
    [['status', '--poll', '1ms'], /--poll .*100ms/],
    [['status', '--parked-after', 'nevr'], /--parked-after .*never/],
    [['run', '--log-level', 'loud'], /--log-level .*debug/],
    [['status', '--config', '/nonexistent.toml'], /\/nonexistent\.toml/],
    [['cleanup', '--yes', 'extra'], /argument/],
  ])('%j exits with 2 and one line that says what is allowed', async (args, line) => {
    const { status, stdout, stderr } = await reaper(args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(line);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });

  test.each([
    ['poll_intervall = "30s"', /poll_intervall/],
    ['grace_period = 5', /grace_period must be .*5/],
    ['[protect]\nprojects = "a"', /protect\.projects must be a list/],
    ['grace_period = ', /config\.toml:1/],
    ['max_parked = -1', /max_parked must be/],
  ])('a configuration of %j exits with 2', async (text, line) => {
    const folder = mkdtempSync(join(tmpdir(), 'config-'));
    const file = join(folder, 'config.toml');
    try {
      writeFileSync(file, text);
      const { status, stderr } = await reaper(['status', '--config', file]);
      expect(status).toBe(2);
      expect(stderr).toMatch(line);
      expect(stderr.trim().split('\n')).toHaveLength(1);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('an unknown or bad variable exits with 2', async () => {
    expect(await reaper(['status'], { env: { CLAY_REAPER_GRACE: '5m' } })).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('CLAY_REAPER_GRACE '),
    });
    expect(await reaper(['status'], { env: { CLAY_REAPER_GRACE_PERIOD: 'x' } })).toMatchObject({ status: 2 });
  });
});
