import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { IDLE, startClay } from '../helpers/clay.ts';
import { runCli, startService } from '../helpers/cli.ts';
import { waitFor } from '../helpers/wait-for.ts';

const HOUR_MS = 3600 * 1000;
const DAY_MS = 24 * HOUR_MS;

type Record_ = {
  readonly agoMs: number;
  readonly pid: number;
  readonly orphan?: string;
  readonly project?: string | null;
  readonly rssBytes?: number;
  readonly uid?: number;
  readonly user?: string;
  readonly title?: string | null;
};

/** A line of the history as the service writes it. */
const line = ({ agoMs, ...rest }: Record_): string =>
  JSON.stringify({
    at: new Date(Date.now() - agoMs).toISOString(),
    startTicks: 1000,
    uid: 1000,
    clayPid: 77,
    orphan: 'parked',
    signal: 'SIGTERM',
    outcome: 'terminated',
    rssBytes: 200_000_000,
    idleSeconds: 1830,
    project: 'shop',
    sessionId: null,
    ...rest,
  });

describe('history', () => {
  let directory: string;
  const history = (...args: string[]) => runCli(['history', ...args], { env: { STATE_DIRECTORY: directory } });
  const write = (records: readonly Record_[]): void =>
    writeFileSync(join(directory, 'history.jsonl'), records.map((record) => `${line(record)}\n`).join(''));

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'history-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('lists reaped processes with sums by day, project and orphan kind, in 80 columns', async () => {
    write([
      { agoMs: 3 * DAY_MS, pid: 101, orphan: 'deleted' },
      { agoMs: 2 * HOUR_MS, pid: 102, project: 'a-project-with-a-name-that-is-longer-than-any-column' },
      { agoMs: HOUR_MS, pid: 103, rssBytes: 100_000_000 },
      { agoMs: 1000, pid: 104, project: null, orphan: 'abandoned' },
    ]);
    const { status, stdout, stderr } = await history();
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const rows = stdout.split('\n');
    expect(Math.max(...rows.map((row) => row.length))).toBeLessThanOrEqual(80);
    expect(rows[0]).toMatch(/^WHEN +PID +PROJECT +ORPHAN +IDLE +MEMORY +SIGNAL$/);
    expect(rows[1]).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d +101 +shop +deleted +31m +200 MB SIGTERM$/);
    expect(stdout).toMatch(/^shop +2 +300 MB$/m);
    expect(stdout).toMatch(/^- +1 +200 MB$/m);
    expect(stdout).toMatch(/^parked +2 +300 MB$/m);
    expect(stdout).toMatch(/^abandoned +1 +200 MB$/m);
    expect(stdout.match(/^\d{4}-\d\d-\d\d +\d+ +\d+ MB$/gm)?.length).toBeGreaterThanOrEqual(2);
    expect(rows.at(-2)).toBe('reaped 4 processes in the last 7d, 700 MB back');
  });

  it('limits the list to --since, and says that there are older entries', async () => {
    write([
      { agoMs: 30 * DAY_MS, pid: 101 },
      { agoMs: HOUR_MS, pid: 102 },
    ]);
    const week = await history();
    expect(week.stdout).not.toMatch(/ 101 /);
    expect(week.stdout).toContain('reaped 1 process in the last 7d, 200 MB back; 1 earlier (--since 31d)');
    const all = await history('--since', '31d');
    expect(all.stdout).toMatch(/ 101 /);
    expect(all.stdout).toContain('reaped 2 processes in the last 31d, 400 MB back');
    expect((await history('--since', '30m')).stdout).toBe(
      'nothing was reaped in the last 30m; 2 earlier (--since 31d)\n',
    );
  });

  it('prints everything with --json', async () => {
    write([
      { agoMs: 30 * DAY_MS, pid: 101 },
      { agoMs: 2 * HOUR_MS, pid: 102, orphan: 'deleted' },
      { agoMs: HOUR_MS, pid: 103, project: null },
    ]);
    const { status, stdout } = await history('--json', '--since', '7d');
    expect(status).toBe(0);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({
      schema: 1,
      directory,
      problem: null,
      processes: [
        { pid: 102, orphan: 'deleted', signal: 'SIGTERM', rssBytes: 200_000_000, idleSeconds: 1830, project: 'shop' },
        { pid: 103, orphan: 'parked', project: null },
      ],
      byProject: [
        { project: 'shop', processes: 1, reclaimedBytes: 200_000_000 },
        { project: null, processes: 1, reclaimedBytes: 200_000_000 },
      ],
      byOrphan: [
        { orphan: 'deleted', processes: 1 },
        { orphan: 'parked', processes: 1 },
      ],
      totals: { processes: 2, reclaimedBytes: 400_000_000, earlier: 1 },
    });
    expect(Date.parse(report.at) - Date.parse(report.since)).toBe(7 * DAY_MS);
  });

  it('says that nothing was reaped if there is no history', async () => {
    expect(await history()).toMatchObject({ status: 0, stdout: 'nothing was reaped in the last 7d\n', stderr: '' });
    expect(JSON.parse((await history('--json')).stdout)).toMatchObject({ processes: [], totals: { processes: 0 } });
  });

  it('lists what cleanup has just ended', async () => {
    const clay = await startClay({ projects: ['rest'] });
    try {
      const idle = await clay.spawnClaude(IDLE);
      const env = { STATE_DIRECTORY: directory };
      await runCli(['cleanup', '--yes', '--clay-home', clay.home, '--min-age', '0s'], { env });
      expect(idle.isAlive()).toBe(false);
      const { processes } = JSON.parse((await history('--json')).stdout);
      expect(processes).toMatchObject([{ pid: idle.pid, orphan: 'parked', project: 'rest', clayPid: clay.pid }]);
    } finally {
      await clay.stop();
    }
  });

  it('explains the end of a process by its pid', async () => {
    const clay = await startClay({ projects: ['rest'] });
    try {
      const idle = await clay.spawnClaude(IDLE);
      const env = { STATE_DIRECTORY: directory };
      await runCli(['cleanup', '--yes', '--clay-home', clay.home, '--min-age', '0s'], { env });
      const { status, stdout } = await runCli(['explain', String(idle.pid), '--clay-home', clay.home], { env });
      expect(status).toBe(1);
      expect(stdout.replace(/\s+/g, ' ')).toMatch(
        new RegExp(
          `ended claude ${idle.pid} at .* with SIGTERM: an idle orphan \\(parked\\), idle for 1h, its wait was 30m`,
        ),
      );
      expect(stdout).toMatch(/^ +turn +the last turn in its journal has ended$/m);
      const { stdout: json } = await runCli(['explain', String(idle.pid), '--json', '--clay-home', clay.home], { env });
      expect(JSON.parse(json)).toMatchObject({ candidate: false, ended: { pid: idle.pid, project: 'rest' } });
    } finally {
      await clay.stop();
    }
  });

  it('sums up a trial: what it would have ended, and what was used again', async () => {
    const clay = await startClay({ projects: ['rest'] });
    try {
      const idle = await clay.spawnClaude(IDLE);
      const env = { STATE_DIRECTORY: directory };
      const service = startService(['--dry-run', '--clay-home', clay.home, '--poll', '200ms', '--min-age', '0s'], {
        env,
      });
      try {
        await service.logged('would-reap');
        appendFileSync(idle.journal ?? '', '{"type":"user_message","text":"go on"}\n');
        await waitFor(
          'it is used again',
          async () => JSON.parse((await history('--trial', '--json')).stdout).totals.usedAgain === 1,
        );
      } finally {
        await service.stop();
      }
      expect(idle.isAlive()).toBe(true);
      const { stdout } = await history('--trial');
      expect(stdout).toMatch(
        /would have ended 1 process in the last 7d, [\d.]+ MB; 1 of them was used again within the hour/,
      );
      expect((await history()).stdout).toBe('nothing was reaped in the last 7d\n');
    } finally {
      await clay.stop();
    }
  });

  it('counts a process once that two cleanups ended at the same time', async () => {
    const clay = await startClay({ projects: ['rest'] });
    try {
      const idle = await Promise.all(Array.from({ length: 4 }, () => clay.spawnClaude(IDLE)));
      const env = { STATE_DIRECTORY: directory };
      const args = ['cleanup', '--yes', '--now', '--json', '--clay-home', clay.home, '--min-age', '0s'];
      const runs = await Promise.all([runCli(args, { env }), runCli(args, { env })]);
      expect(idle.map((claude) => claude.isAlive())).toEqual([false, false, false, false]);
      const ended = runs.flatMap(({ stdout }) =>
        JSON.parse(stdout).processes.filter(({ outcome }: { outcome?: string }) => outcome === 'terminated'),
      );
      expect(ended).toHaveLength(4);
      expect(JSON.parse((await history('--json')).stdout).totals.processes).toBe(4);
    } finally {
      await clay.stop();
    }
  });

  it('says how many lines could not be read', async () => {
    writeFileSync(join(directory, 'history.jsonl'), 'not a record\n{"pid":1}\n');
    const { status, stdout } = await history();
    expect(status).toBe(0);
    expect(stdout).toBe(
      `nothing was reaped in the last 7d; 2 lines of the history in ${directory} could not be read\n`,
    );
  });

  it('shows user and conversation of what it ended, if it knows them', async () => {
    write([
      { agoMs: 2000, pid: 101, user: 'ada', uid: 1000, title: 'Fix the shop' },
      { agoMs: 1000, pid: 102, user: 'bob', uid: 1001, title: null },
    ]);
    const { stdout } = await history();
    expect(stdout).toMatch(/ 101 +ada +shop +Fix the shop /);
    expect(stdout).toMatch(/ 102 +bob +shop +- /);
    expect(Math.max(...stdout.split('\n').map((row) => row.length))).toBeLessThanOrEqual(80);
  });

  it('strips control characters from recorded names', async () => {
    write([{ agoMs: 1000, pid: 101, project: '\u001b]0;owned\u0007\u202eshop', orphan: '\u001b[2Jparked' }]);
    const { stdout } = await history();
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what must not be there
    expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  });

  it('reports an error in one line', async () => {
    const bad = await history('--since', 'lately');
    expect(bad).toMatchObject({ status: 2, stdout: '' });
    expect(bad.stderr).toMatch(/^clay-reaper: --since must be a duration.*or a date.*not "lately"\n$/);
    rmSync(directory, { recursive: true });
    writeFileSync(directory, '');
    const unreadable = await history('--json');
    expect(unreadable.status).toBe(1);
    expect(unreadable.stderr).toMatch(/^clay-reaper: the history, .*\n$/);
    expect(JSON.parse(unreadable.stdout)).toMatchObject({ processes: [], problem: expect.stringContaining(directory) });
  });
});
