import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Clay, type Sham, type ShamOptions, startClay } from '../support/clay.ts';
import { type ProcessReport, type Report, reaper, reaperJson } from '../support/reaper.ts';

/** One process of each kind that one look tells apart, and what is expected of it. */
type Expected = {
  readonly verdict: 'protected' | 'grace' | 'reap';
  readonly codes?: readonly string[];
  readonly orphan?: string;
};

const HOUR_IDLE: Partial<ShamOptions> = { journal: 'ended', transcript: true, idleSeconds: 3600 };
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

describe('status, one look at a Clay with one process of each kind', () => {
  let clay: Clay;
  let server: Server;
  let report: Report;
  const shams = new Map<string, Sham>();

  const cases: Record<string, { sham: (port: number) => ShamOptions; expected: Expected }> = {
    'idle, Node': { sham: () => ({ project: 'rest', ...HOUR_IDLE }), expected: { verdict: 'reap', orphan: 'parked' } },
    'idle, native': {
      sham: () => ({ project: 'rest', shape: 'native', ...HOUR_IDLE }),
      expected: { verdict: 'reap', orphan: 'parked' },
    },
    'idle, a stdio MCP server below it': {
      sham: () => ({ project: 'rest', ...HOUR_IDLE, start: { mcpServer: true } }),
      expected: { verdict: 'reap', orphan: 'parked' },
    },
    'idle, but not for long': {
      sham: () => ({ project: 'rest', ...HOUR_IDLE, idleSeconds: 60 }),
      expected: { verdict: 'grace', orphan: 'parked' },
    },
    'idle, another conversation of its project is busy': {
      sham: () => ({ project: 'busy', ...HOUR_IDLE }),
      expected: { verdict: 'reap', orphan: 'parked' },
    },
    'its conversation is deleted': {
      sham: () => ({ project: 'rest', ...HOUR_IDLE, journal: null }),
      expected: { verdict: 'reap', orphan: 'deleted' },
    },
    'its journal is not there, its project is busy': {
      sham: () => ({ project: 'busy', ...HOUR_IDLE, journal: null }),
      expected: { verdict: 'protected', codes: ['processing'] },
    },
    'permission prompt open': {
      sham: () => ({ project: 'busy', ...HOUR_IDLE, journal: 'permission', idleSeconds: 0 }),
      expected: { verdict: 'protected', codes: ['turn', 'processing'] },
    },
    'question open, while Clay says that nothing is going on': {
      sham: () => ({ project: 'liar', journal: 'question', transcript: true }),
      expected: { verdict: 'protected', codes: ['turn'] },
    },
    'open connection': {
      sham: (port) => ({ project: 'rest', ...HOUR_IDLE, start: { connect: { port } } }),
      expected: { verdict: 'protected', codes: ['connection'] },
    },
    'using CPU': {
      sham: () => ({ project: 'rest', ...HOUR_IDLE, start: { burn: { percent: 20 } } }),
      expected: { verdict: 'protected', codes: ['cpu'] },
    },
    'a tool in the background': {
      sham: () => ({ project: 'rest', ...HOUR_IDLE, start: { toolShell: true } }),
      expected: { verdict: 'protected', codes: ['tool'] },
    },
    'has a terminal': {
      sham: () => ({ project: 'rest', shape: 'terminal', ...HOUR_IDLE }),
      expected: { verdict: 'protected', codes: ['terminal'] },
    },
    'says busy': {
      sham: () => ({ project: 'rest', shape: 'native', ...HOUR_IDLE, start: { sessionFile: { status: 'busy' } } }),
      expected: { verdict: 'protected', codes: ['busy'] },
    },
    'says waiting': {
      sham: () => ({
        project: 'rest',
        shape: 'native',
        ...HOUR_IDLE,
        start: { sessionFile: { status: 'waiting', waitingFor: 'permission prompt' } },
      }),
      expected: { verdict: 'protected', codes: ['waiting'] },
    },
    'waits for its own alarm': {
      sham: () => ({ project: 'rest', ...HOUR_IDLE, transcript: transcriptWithCron(true) }),
      expected: { verdict: 'protected', codes: ['scheduled'] },
    },
    'protected by the configuration': {
      sham: () => ({ project: 'kept', ...HOUR_IDLE }),
      expected: { verdict: 'protected', codes: ['configured'] },
    },
    'its session file is that of another process': {
      sham: () => ({ project: 'rest', ...HOUR_IDLE, start: { sessionFile: { procStart: '1' } } }),
      expected: { verdict: 'protected', codes: ['unverified'] },
    },
    'something is written in the future': {
      sham: () => ({ project: 'rest', ...HOUR_IDLE, idleSeconds: -3600 }),
      expected: { verdict: 'protected', codes: ['unverified'] },
    },
    'named claude, but not started by the Agent SDK': {
      sham: () => ({ project: 'rest', ...HOUR_IDLE, env: { CLAUDE_CODE_ENTRYPOINT: null } }),
      expected: { verdict: 'protected', codes: ['unverified'] },
    },
    'no session file, at rest': {
      sham: () => ({ project: 'rest', ...HOUR_IDLE, start: { sessionFile: false } }),
      expected: { verdict: 'grace', orphan: 'parked' },
    },
    'no session file, its project is busy': {
      sham: () => ({ project: 'busy', ...HOUR_IDLE, start: { sessionFile: false } }),
      expected: { verdict: 'protected', codes: ['processing'] },
    },
  };

  beforeAll(async () => {
    server = createServer().listen(0, '127.0.0.1');
    clay = await startClay({ projects: ['rest', 'busy', 'liar', 'kept'] });
    const { port } = server.address() as AddressInfo;
    for (const [name, { sham }] of Object.entries(cases)) shams.set(name, await clay.sham(sham(port)));
    const sessionId = randomUUID();
    for (const name of ['older process', 'newer process']) {
      shams.set(name, await clay.sham({ project: 'rest', ...HOUR_IDLE, idleSeconds: 600, sessionId }));
    }
    await clay.setProject('liar', { isProcessing: false, pendingPermissions: 0 });
    const config = join(clay.directory, 'config.toml');
    writeFileSync(config, '[protect]\nprojects = ["kept"]\n');
    const finished = await reaperJson(['status', '--clay-home', clay.home, '--config', config, '--min-age', '0s']);
    expect(finished.status).toBe(0);
    report = finished.report;
  });

  afterAll(async () => {
    await clay?.stop();
    server?.close();
  });

  const rowOf = (name: string): ProcessReport | undefined =>
    report.processes.find((row) => row.pid === shams.get(name)?.pid);

  it.each(Object.entries(cases))('%s', (name, { expected }) => {
    const row = rowOf(name);
    expect(row?.verdict).toBe(expected.verdict);
    expect(row?.reasons.map((reason) => reason.code)).toEqual(expected.codes ?? []);
    expect(row?.orphan).toBe(expected.orphan ?? null);
  });

  it('of two processes of one conversation the older is superseded, and waits less', () => {
    expect(rowOf('older process')).toMatchObject({ verdict: 'reap', orphan: 'superseded', graceSeconds: 300 });
    expect(rowOf('newer process')).toMatchObject({ verdict: 'grace', orphan: 'parked', graceSeconds: 1800 });
  });

  it('reports what is in the contract', () => {
    expect(report).toMatchObject({
      schema: 1,
      clay: [{ pid: clay.pid, home: clay.home, api: 'ok', apiError: null, projects: 4 }],
    });
    expect(new Date(report.at).toISOString()).toBe(report.at);
    const idle = shams.get('idle, Node');
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
    expect(rowOf('using CPU')?.cpuPercent).toBeGreaterThan(10);
    expect(rowOf('open connection')?.connections).toBe(1);
    const count = (verdict: string): number => report.processes.filter((row) => row.verdict === verdict).length;
    expect(report.totals).toMatchObject({
      processes: report.processes.length,
      protected: count('protected'),
      grace: count('grace'),
      reap: count('reap'),
    });
  });

  it('shows a table that fits 80 columns', async () => {
    const { stdout, status } = await reaper(['status', '--clay-home', clay.home]);
    expect(status).toBe(0);
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(stdout).toContain(String(shams.get('idle, Node')?.pid));
    expect(stdout).toMatch(/protected +just started/);
  });
});
