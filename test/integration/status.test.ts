import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:net';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type Clay, type FakeClaude, type FakeClaudeOptions, IDLE, startClay } from '../helpers/clay.ts';
import { type ProcessReport, type Report, runCli, runCliJson } from '../helpers/cli.ts';

/** One process of each kind that one assessment distinguishes, and what is expected of it. */
type Expected = {
  readonly verdict: 'protected' | 'grace' | 'reap';
  readonly codes?: readonly string[];
  readonly orphan?: string;
};

// 0.2.92 forgets its entries with its process, so one counts only if it was set after this process's start.
const afterItsStart = (): string => new Date(Date.now() + 1000).toISOString();

/** A transcript in which the process has set itself a cron entry, as 0.2.92 writes it. */
function transcriptWithCron(recurring: boolean): string {
  const use = {
    type: 'tool_use',
    id: 'toolu_1',
    name: 'CronCreate',
    input: { cron: '*/7 * * * *', prompt: 'look', recurring },
  };
  const result = { type: 'tool_result', tool_use_id: 'toolu_1', content: 'Scheduled' };
  return [
    { type: 'assistant', timestamp: afterItsStart(), message: { role: 'assistant', content: [use] } },
    {
      type: 'user',
      timestamp: afterItsStart(),
      message: { role: 'user', content: [result] },
      toolUseResult: { id: '8cf93a55', recurring },
    },
  ]
    .map((record) => `${JSON.stringify(record)}\n`)
    .join('');
}

describe('status', () => {
  let clay: Clay;
  let server: Server;
  let report: Report;
  const claudes = new Map<string, FakeClaude>();

  const cases: Record<string, { claude: (port: number) => FakeClaudeOptions; expected: Expected }> = {
    'idle, Node': {
      claude: () => ({ ...IDLE }),
      expected: { verdict: 'reap', orphan: 'parked' },
    },
    'idle, native': {
      claude: () => ({ ...IDLE, shape: 'native' }),
      expected: { verdict: 'reap', orphan: 'parked' },
    },
    'idle, a stdio MCP server below it': {
      claude: () => ({ ...IDLE, start: { mcpServer: true } }),
      expected: { verdict: 'reap', orphan: 'parked' },
    },
    'idle, but not for long': {
      claude: () => ({ ...IDLE, idleSeconds: 60 }),
      expected: { verdict: 'grace', orphan: 'parked' },
    },
    'idle, another conversation of its project is busy': {
      claude: () => ({ ...IDLE, project: 'busy' }),
      expected: { verdict: 'reap', orphan: 'parked' },
    },
    'its conversation is deleted': {
      claude: () => ({ ...IDLE, journal: null }),
      expected: { verdict: 'reap', orphan: 'deleted' },
    },
    'its journal is not there, its project is busy': {
      claude: () => ({ ...IDLE, project: 'busy', journal: null }),
      expected: { verdict: 'protected', codes: ['processing'] },
    },
    'permission prompt open': {
      claude: () => ({ ...IDLE, project: 'busy', journal: 'permission', idleSeconds: 0 }),
      expected: { verdict: 'protected', codes: ['turn', 'processing'] },
    },
    'question open, while Clay says that nothing is going on': {
      claude: () => ({ project: 'liar', journal: 'question', transcript: true }),
      expected: { verdict: 'protected', codes: ['turn'] },
    },
    'open connection': {
      claude: (port) => ({ ...IDLE, start: { connect: { port } } }),
      expected: { verdict: 'protected', codes: ['connection'] },
    },
    'using CPU': {
      claude: () => ({ ...IDLE, start: { burn: { percent: 20 } } }),
      expected: { verdict: 'protected', codes: ['cpu'] },
    },
    'a tool in the background': {
      claude: () => ({ ...IDLE, start: { toolShell: true } }),
      expected: { verdict: 'protected', codes: ['tool'] },
    },
    'has a terminal': {
      claude: () => ({ ...IDLE, shape: 'terminal' }),
      expected: { verdict: 'protected', codes: ['terminal'] },
    },
    'says busy': {
      claude: () => ({ ...IDLE, shape: 'native', start: { sessionFile: { status: 'busy' } } }),
      expected: { verdict: 'protected', codes: ['busy'] },
    },
    'says waiting': {
      claude: () => ({
        ...IDLE,
        shape: 'native',
        start: { sessionFile: { status: 'waiting', waitingFor: 'permission prompt' } },
      }),
      expected: { verdict: 'protected', codes: ['waiting'] },
    },
    'waits for its own alarm': {
      claude: () => ({ ...IDLE, transcript: transcriptWithCron(true) }),
      expected: { verdict: 'protected', codes: ['scheduled'] },
    },
    'protected by the configuration': {
      claude: () => ({ ...IDLE, project: 'kept' }),
      expected: { verdict: 'protected', codes: ['configured'] },
    },
    'its session file is that of another process': {
      // In a project without alarms: any of its project may be the process's own.
      claude: () => ({ ...IDLE, project: 'alone', start: { sessionFile: { procStart: '1' } } }),
      expected: { verdict: 'protected', codes: ['unverified'] },
    },
    'something is written in the future': {
      claude: () => ({ ...IDLE, idleSeconds: -3600 }),
      expected: { verdict: 'protected', codes: ['unverified'] },
    },
    'named claude, but not started by the Agent SDK': {
      claude: () => ({ ...IDLE, env: { CLAUDE_CODE_ENTRYPOINT: null } }),
      expected: { verdict: 'protected', codes: ['unverified'] },
    },
    'no session file, at rest': {
      claude: () => ({ ...IDLE, project: 'alone', start: { sessionFile: false } }),
      expected: { verdict: 'grace', orphan: 'parked' },
    },
    'no session file, its project is busy': {
      claude: () => ({ ...IDLE, project: 'busy', start: { sessionFile: false } }),
      expected: { verdict: 'protected', codes: ['turn', 'processing'] },
    },
  };

  beforeAll(async () => {
    server = createServer().listen(0, '127.0.0.1');
    clay = await startClay({ projects: ['rest', 'busy', 'liar', 'kept', 'alone'] });
    const { port } = server.address() as AddressInfo;
    for (const [name, { claude }] of Object.entries(cases)) claudes.set(name, await clay.spawnClaude(claude(port)));
    const sessionId = randomUUID();
    for (const name of ['older process', 'newer process']) {
      claudes.set(name, await clay.spawnClaude({ ...IDLE, idleSeconds: 600, sessionId }));
    }
    await clay.setProject('liar', { isProcessing: false, pendingPermissions: 0 });
    const config = join(clay.directory, 'config.toml');
    writeFileSync(config, '[protect]\nprojects = ["kept"]\n');
    const finished = await runCliJson(['status', '--clay-home', clay.home, '--config', config, '--min-age', '0s']);
    expect(finished.status).toBe(0);
    report = finished.report;
  });

  afterAll(async () => {
    await clay?.stop();
    server?.close();
  });

  const rowOf = (name: string): ProcessReport | undefined =>
    report.processes.find((row) => row.pid === claudes.get(name)?.pid);

  it.each(Object.entries(cases))('gives the expected verdict: %s', (name, { expected }) => {
    const row = rowOf(name);
    expect(row?.verdict).toBe(expected.verdict);
    expect(row?.reasons.map((reason) => reason.code)).toEqual(expected.codes ?? []);
    expect(row?.orphan).toBe(expected.orphan ?? null);
  });

  it('marks the older of two processes of one conversation superseded, with the shorter wait', () => {
    expect(rowOf('older process')).toMatchObject({ verdict: 'reap', orphan: 'superseded', graceSeconds: 300 });
    expect(rowOf('newer process')).toMatchObject({ verdict: 'grace', orphan: 'parked', graceSeconds: 1800 });
  });

  it('--json has exactly the documented fields', () => {
    expect(report).toMatchObject({
      schema: 1,
      clay: [{ pid: clay.pid, home: clay.home, api: 'ok', apiError: null, projects: 5 }],
    });
    expect(new Date(report.at).toISOString()).toBe(report.at);
    const idle = claudes.get('idle, Node');
    expect(rowOf('idle, Node')).toMatchObject({
      startTicks: idle?.startTicks,
      ppid: clay.pid,
      uid: process.geteuid?.(),
      clayPid: clay.pid,
      cwd: clay.projectPath('rest'),
      project: 'rest',
      sessionId: idle?.sessionId,
      sdkVersion: '0.2.92',
      socketFds: 2,
      connections: 0,
      children: 0,
      reapInSeconds: 0,
    });
    expect(rowOf('idle, Node')?.rssBytes).toBeGreaterThan(10_000_000);
    expect(rowOf('idle, Node')?.idleSeconds).toBeGreaterThanOrEqual(3600);
    expect(rowOf('using CPU')?.cpuPercent).toBeGreaterThan(1);
    expect(rowOf('open connection')?.connections).toBe(1);
    const count = (verdict: string): number => report.processes.filter((row) => row.verdict === verdict).length;
    expect(report.totals).toMatchObject({
      processes: report.processes.length,
      protected: count('protected'),
      grace: count('grace'),
      reap: count('reap'),
    });
  });

  it('prints a table that fits 80 columns', async () => {
    const { stdout, status } = await runCli(['status', '--clay-home', clay.home, '--min-age', '2d']);
    expect(status).toBe(0);
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(stdout).toContain(String(claudes.get('idle, Node')?.pid));
    expect(stdout).toMatch(/protected +just started/);
  });

  it('loads neither the other commands nor the modules of Node that would take a tenth of its start', async () => {
    // Without a process: pidusage, which is asked about those, needs programs.
    const quiet = await startClay({ projects: ['rest'] });
    onTestFinished(quiet.stop);
    const listing = join(quiet.directory, 'loaded');
    const preload = join(quiet.directory, 'list-loaded.cjs');
    const names = 'process.moduleLoadList.concat(Object.keys(require.cache))';
    const write = `require('node:fs').writeFileSync(${JSON.stringify(listing)}, ${names}.join('\\n'))`;
    writeFileSync(preload, `process.once('exit', () => ${write});`);
    const env = { NODE_OPTIONS: `--require ${preload}` };
    await runCli(['status', '--json', '--clay-home', quiet.home], { env, trueAge: true });
    const loaded = readFileSync(listing, 'utf8').split('\n');
    expect(loaded).toContain('NativeModule net');
    expect(loaded).not.toContain('NativeModule child_process');
    expect(loaded).not.toContain('NativeModule perf_hooks');
    const files = loaded.filter((name) => name.includes('/dist/')).map((name) => basename(name));
    expect(files).toEqual(['clay-reaper.js', 'status.js']);
  });
});
