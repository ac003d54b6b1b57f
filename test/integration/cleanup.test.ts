import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Clay, type FakeClaude, IDLE, IDLE_NATIVE, type StatusBehaviour, startClay } from '../helpers/clay.ts';
import { type ProcessReport, type Report, runCli, runCliJson, startService } from '../helpers/cli.ts';
import { identify, isAlive } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';

const row = (report: Report, claude: FakeClaude): ProcessReport | undefined =>
  report.processes.find((process) => process.pid === claude.pid);

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
  it('ends idle processes and no others', async ({ clay, here, expect }) => {
    const idle = await clay.spawnClaude(IDLE);
    const withServer = await clay.spawnClaude({ ...IDLE, start: { mcpServer: true } });
    const waiting = await clay.spawnClaude({ project: 'busy', journal: 'permission' });
    const tool = await clay.spawnClaude({ ...IDLE, start: { toolShell: true } });
    const { status, report } = await runCliJson(here('--yes'));
    expect(status).toBe(0);
    expect(row(report, idle)).toMatchObject({ verdict: 'reap', outcome: 'terminated' });
    expect(row(report, withServer)).toMatchObject({ verdict: 'reap', outcome: 'terminated' });
    expect(row(report, waiting)?.outcome).toBeUndefined();
    expect([idle, withServer, waiting, tool].map((claude) => claude.isAlive())).toEqual([false, false, true, true]);
    expect(report.totals.failed).toBe(0);
    expect(report.totals.reclaimedBytes).toBe(
      (row(report, idle)?.reclaimableBytes ?? 0) + (row(report, withServer)?.reclaimableBytes ?? 0),
    );
  });

  it('names the file whose dry_run keeps it from ending anything', async ({ clay, here, expect }) => {
    const idle = await clay.spawnClaude(IDLE);
    const file = join(clay.home, 'reaper.toml');
    writeFileSync(file, 'dry_run = true\n');
    const { stdout } = await runCli(here('--yes', '--config', file));
    expect(stdout).toMatch(/would reap 1 process, .*; nothing was ended: dry_run = true in /);
    expect(stdout).toContain(file);
    expect(idle.isAlive()).toBe(true);
  });

  it('--dry-run ends nothing', async ({ clay, here, expect }) => {
    const idle = await clay.spawnClaude(IDLE);
    const { status, report } = await runCliJson(here('--dry-run'));
    expect(status).toBe(0);
    expect(row(report, idle)).toMatchObject({ verdict: 'reap', outcome: 'would-reap' });
    expect(report.totals).toMatchObject({ reclaimedBytes: 0, failed: 0 });
    expect(idle.isAlive()).toBe(true);
  });

  it('--now skips the waits but keeps every protection and min_age', async ({ clay, here, expect }) => {
    const fresh = await clay.spawnClaude({ ...IDLE, idleSeconds: 0 });
    const waiting = await clay.spawnClaude({ project: 'busy', journal: 'permission' });
    const young = await runCliJson(['cleanup', '--clay-home', clay.home, '--yes', '--now', '--min-age', '2d']);
    expect(young.report.processes.map((process) => process.reasons.map((reason) => reason.code))).toEqual([
      ['young'],
      ['young', 'turn', 'processing'],
    ]);
    const { report } = await runCliJson(here('--yes', '--now'));
    expect(row(report, fresh)).toMatchObject({ outcome: 'terminated', graceSeconds: 0 });
    expect(waiting.isAlive()).toBe(true);
  });

  it('sends SIGKILL to a process that ignores SIGTERM, and ends its surviving descendants', async ({
    clay,
    here,
    expect,
  }) => {
    const deaf = await clay.spawnClaude({ ...IDLE, start: { ignoreSigterm: true, mcpServer: true } });
    const server = identify(deaf.children.mcpServer ?? 0);
    const { status, report } = await runCliJson(here('--yes', '--kill-after', '500ms'));
    expect(status).toBe(0);
    expect(row(report, deaf)).toMatchObject({ outcome: 'killed' });
    expect(deaf.isAlive()).toBe(false);
    expect(server && isAlive(server)).toBe(false);
  });

  it('waits for a SessionEnd hook to finish', async ({ clay, here, expect }) => {
    const hooked = await clay.spawnClaude({ ...IDLE, start: { sessionEndHookSeconds: 2 } });
    const { report } = await runCliJson(here('--yes', '--kill-after', '20s'));
    expect(row(report, hooked)).toMatchObject({ outcome: 'terminated' });
  });

  it('spares a process whose turn begins between SIGTERM and SIGKILL', async ({ clay, here, expect }) => {
    const hooked = await clay.spawnClaude({ ...IDLE, start: { sessionEndHookSeconds: 60 } });
    const running = runCliJson(here('--yes', '--kill-after', '3s'));
    // The session file goes first.
    await waitFor('it has got SIGTERM', () => !existsSync(hooked.sessionFile), 30_000);
    await hooked.record('open');
    const { status, report } = await running;
    expect(row(report, hooked)).toMatchObject({ verdict: 'reap', outcome: 'spared' });
    expect(hooked.isAlive()).toBe(true);
    expect(status).toBe(0);
  });

  it('spares a process that becomes busy right before SIGTERM', async ({ clay, here, expect }) => {
    const claude = await clay.spawnClaude(IDLE_NATIVE);
    // Slow enough that a process can wake up while Clay is asked for the third time.
    await clay.answerStatus({ mode: 'slow', delayMs: 1 });
    const running = runCliJson(here('--yes'));
    await waitFor('Clay is asked once more', async () => (await clay.statusRequests()) >= 3);
    await claude.command({ sessionFile: { status: 'busy' } });
    const { status, report } = await running;
    expect(row(report, claude)).toMatchObject({ verdict: 'reap', outcome: 'spared' });
    expect(claude.isAlive()).toBe(true);
    expect(status).toBe(0);
  });

  it('ignores a unix socket name that imitates a row of /proc/net/unix', async ({ clay, here, expect }) => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const claude = await clay.spawnClaude({ ...IDLE, start: { connect: { port } } });
    const inode = await waitFor('its connection has a socket', () => tcpSocketOf(claude.pid));
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
      const { report } = await runCliJson(here('--yes'));
      expect(row(report, claude)).toMatchObject({ verdict: 'protected', reasons: [{ code: 'connection' }] });
      // A sweep of the service takes the connection for a unix socket. The recheck before SIGTERM reads the TCP tables.
      const service = startService(['--clay-home', clay.home, '--min-age', '0s', '--poll', '500ms']);
      try {
        const spared = await service.logged('spared', ({ pid }) => pid === claude.pid);
        expect(spared).toMatchObject({ reason: expect.stringContaining('connection') });
      } finally {
        await service.stop();
      }
      expect(claude.isAlive()).toBe(true);
    } finally {
      forger.kill();
      server.close();
    }
  });

  it('ends at most max_kills_per_sweep processes, longest idle first', async ({ clay, here, expect }) => {
    const claudes = [
      await clay.spawnClaude(IDLE),
      await clay.spawnClaude({ ...IDLE, idleSeconds: 7200 }),
      await clay.spawnClaude(IDLE),
    ];
    const { report } = await runCliJson(here('--yes'), { env: { CLAY_REAPER_MAX_KILLS_PER_SWEEP: '1' } });
    expect(claudes.map((claude) => row(report, claude)?.outcome)).toEqual(['spared', 'terminated', 'spared']);
  });

  it('spares processes of Clays without a usable answer, reaps those of others, and exits with 4', async ({
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
    const idle = await clay.spawnClaude(IDLE);
    const others = await Promise.all(
      behaviours.map(async (behaviour) => {
        const other = await startClay({ projects: ['rest'] });
        const claude = await other.spawnClaude(IDLE_NATIVE);
        await other.answerStatus(behaviour);
        return { behaviour, other, claude };
      }),
    );
    try {
      const homes = others.flatMap(({ other }) => ['--clay-home', other.home]);
      const { status, report, stderr } = await runCliJson(here('--yes', '--now', ...homes));
      expect(status).toBe(4);
      expect(row(report, idle)?.outcome).toBe('terminated');
      for (const { behaviour, other, claude } of others) {
        const what = JSON.stringify(behaviour);
        expect(
          row(report, claude)?.reasons.map((reason) => reason.code),
          what,
        ).toEqual(['api']);
        expect(
          report.clay.find((daemon) => daemon.pid === other.pid),
          what,
        ).toMatchObject({ api: 'unreachable', apiError: expect.any(String) });
        expect(stderr, what).toContain(other.home);
        expect(claude.isAlive(), what).toBe(true);
      }
      expect(stderr.trim().split('\n')).toHaveLength(others.length);
    } finally {
      await Promise.all(others.map(({ other }) => other.stop()));
    }
  });

  it('refuses to run without a terminal, --yes or --dry-run', async ({ clay, here, expect }) => {
    const idle = await clay.spawnClaude(IDLE);
    const { status, stderr, stdout } = await runCli(here());
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(/--yes.*--dry-run/);
    expect(idle.isAlive()).toBe(true);
  });

  it('sends SIGKILL to a stopped process, which cannot handle SIGTERM', async ({ clay, here, expect }) => {
    const idle = await clay.spawnClaude(IDLE);
    process.kill(idle.pid, 'SIGSTOP');
    const { status, report } = await runCliJson(here('--yes', '--kill-after', '200ms'));
    expect(row(report, idle)).toMatchObject({ outcome: 'killed' });
    expect(status).toBe(0);
  });
});

describe.concurrent('without a Clay', () => {
  test.each([['status'], ['cleanup', '--yes'], ['cleanup', '--dry-run']])(
    '"%s %s" exits with 3 and names the places searched',
    async (...args) => {
      const home = mkdtempSync(join(tmpdir(), 'no-clay-'));
      try {
        const { status, report, stderr } = await runCliJson([...args, '--clay-home', home]);
        expect(status).toBe(3);
        expect(stderr).toContain(home);
        expect(stderr.trim().split('\n')).toHaveLength(1);
        expect(report).toMatchObject({ schema: 1, clay: [], processes: [], totals: { processes: 0 } });
      } finally {
        rmSync(home, { recursive: true });
      }
    },
  );

  test('ignores a stale daemon.json whose pid is free or belongs to another process', async () => {
    const home = mkdtempSync(join(tmpdir(), 'no-clay-'));
    try {
      for (const pid of [2 ** 22 - 1, process.pid, 1, -1, 2 ** 31, '1; rm']) {
        writeFileSync(join(home, 'daemon.json'), JSON.stringify({ pid }));
        const { status, stderr } = await runCli(['cleanup', '--yes', '--clay-home', home]);
        expect(status).toBe(3);
        expect(stderr).toContain(home);
      }
    } finally {
      rmSync(home, { recursive: true });
    }
  });
});

describe.concurrent('invalid arguments', () => {
  test.each([
    [['statu'], /unknown command 'statu': did you mean status\? \(see/],
    [[], /begin with "clay-reaper status", then "clay-reaper cleanup"/],
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
    const { status, stdout, stderr } = await runCli(args);
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
      const { status, stderr } = await runCli(['status', '--config', file]);
      expect(status).toBe(2);
      expect(stderr).toMatch(line);
      expect(stderr.trim().split('\n')).toHaveLength(1);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('an unknown or invalid environment variable exits with 2', async () => {
    expect(await runCli(['status'], { env: { CLAY_REAPER_GRACE: '5m' } })).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('CLAY_REAPER_GRACE '),
    });
    expect(await runCli(['status'], { env: { CLAY_REAPER_GRACE_PERIOD: 'x' } })).toMatchObject({ status: 2 });
  });
});
