import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startClay } from '../support/clay.ts';
import { reaper } from '../support/reaper.ts';

const HOUR_MS = 3600 * 1000;
const DAY_MS = 24 * HOUR_MS;

type Record_ = {
  readonly agoMs: number;
  readonly pid: number;
  readonly orphan?: string;
  readonly project?: string | null;
  readonly rssBytes?: number;
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
  const history = (...args: string[]) => reaper(['history', ...args], { env: { STATE_DIRECTORY: directory } });
  const write = (records: readonly Record_[]): void =>
    writeFileSync(join(directory, 'history.jsonl'), records.map((each) => `${line(each)}\n`).join(''));

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'history-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('shows what was reaped, and sums by day, project and kind of orphan, in 80 columns', async () => {
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

  it('goes back as far as --since says, and tells that there is more', async () => {
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

  it('gives all of it as JSON', async () => {
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

  it('knows nothing where nothing was reaped', async () => {
    expect(await history()).toMatchObject({ status: 0, stdout: 'nothing was reaped in the last 7d\n', stderr: '' });
    expect(JSON.parse((await history('--json')).stdout)).toMatchObject({ processes: [], totals: { processes: 0 } });
  });

  it('shows what cleanup has just ended', async () => {
    const clay = await startClay({ projects: ['rest'] });
    try {
      const idle = await clay.sham({ project: 'rest', journal: 'ended', idleSeconds: 3600 });
      const env = { STATE_DIRECTORY: directory };
      await reaper(['cleanup', '--yes', '--clay-home', clay.home, '--min-age', '0s'], { env });
      expect(idle.isAlive()).toBe(false);
      const { processes } = JSON.parse((await history('--json')).stdout);
      expect(processes).toMatchObject([{ pid: idle.pid, orphan: 'parked', project: 'rest', clayPid: clay.pid }]);
    } finally {
      await clay.stop();
    }
  });

  it('does not let the names of others steer the terminal', async () => {
    write([{ agoMs: 1000, pid: 101, project: '\u001b]0;owned\u0007\u202eshop', orphan: '\u001b[2Jparked' }]);
    const { stdout } = await history();
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what must not be there
    expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  });

  it('says in one line what is wrong', async () => {
    const bad = await history('--since', 'lately');
    expect(bad).toMatchObject({ status: 2, stdout: '' });
    expect(bad.stderr).toMatch(/^clay-reaper: --since must be a duration.*not "lately"\n$/);
    rmSync(directory, { recursive: true });
    writeFileSync(directory, '');
    const unreadable = await history('--json');
    expect(unreadable.status).toBe(1);
    expect(unreadable.stderr).toMatch(/^clay-reaper: the history, .*\n$/);
    expect(JSON.parse(unreadable.stdout)).toMatchObject({ processes: [], problem: expect.stringContaining(directory) });
  });
});
