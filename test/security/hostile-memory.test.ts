import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { type FakeClaude, IDLE_NATIVE, startClay, type User } from '../helpers/clay.ts';
import type { Report } from '../helpers/cli.ts';
import { childrenOf } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { type Measured, measured } from './measured.ts';
import { ADA, claudeProgram, commOf, commonFolder, fakeClay, fileOf, folderOf, MALLORY } from './users.ts';

const MIB = 1024 * 1024;
const common = commonFolder();
afterAll(common.remove);

function expectSound(run: Measured, status: number): Report {
  expect(run.signal).toBeNull();
  expect(run.stderr).not.toMatch(/internal error|\n {4}at /);
  expect(run.peakBytes).toBeLessThan(160 * MIB);
  expect(run.status).toBe(status);
  return JSON.parse(run.stdout) as Report;
}

const codesOf = (report: Report, claudes: readonly FakeClaude[]) =>
  claudes.map(({ pid }) =>
    report.processes.find((process) => process.pid === pid)?.reasons.map((reason) => reason.code),
  );

const leftAlone = (daemonPid: number, { uid }: User): string =>
  `Clay ${daemonPid} was left alone: reading for uid ${uid} takes more than`;

const record = (content: readonly unknown[], more: Readonly<Record<string, unknown>> = {}): string =>
  `${JSON.stringify({ timestamp: new Date().toISOString(), message: { content }, ...more })}\n`;
const callOf = (id: string, cron = '3 4 * * *') => ({ type: 'tool_use', id, name: 'CronCreate', input: { cron } });
const answerTo = (id: string) => ({ type: 'tool_result', tool_use_id: id, content: 'x' });

describe('memory of the service', () => {
  test('stays bounded if a user has 5,001 claude processes', async () => {
    const claude = claudeProgram(join(common.path, 'bin'));
    const starting = `n=0; while [ $n -lt 5001 ]; do ${claude} 86400 & n=$((n+1)); done; true`;
    const clay = await fakeClay(MALLORY, join(common.path, 'many'), [starting]);
    onTestFinished(clay.end);
    await waitFor('they all run', () => childrenOf(clay.daemon.pid).length === 5001, 60_000);
    await waitFor('they all are claudes', () => childrenOf(clay.daemon.pid).every((pid) => commOf(pid) === 'claude'));
    const ada = await startClay({ user: ADA, projects: ['rest'] });
    onTestFinished(ada.stop);
    const orphan = await ada.spawnClaude(IDLE_NATIVE);
    // Root's Clay has workers for both.
    const shared = await startClay({ projects: ['rest'] });
    onTestFinished(shared.stop);
    const idle = IDLE_NATIVE;
    const adas = await shared.spawnClaude({ ...idle, worker: ADA });
    const mallorys = await shared.spawnClaude({ ...idle, worker: MALLORY });
    const args = ['cleanup', '--yes', '--now', '--json', '--min-age', '0s', '--clay-home', clay.home];
    const run = await measured([...args, '--clay-home', ada.home, '--clay-home', shared.home]);
    const report = expectSound(run, 4);
    expect(run.stderr).toContain(
      `Clay ${clay.daemon.pid} was left alone: a user has more than 5000 claude processes, and none of them is looked at`,
    );
    expect(report.processes.map(({ pid }) => pid).sort()).toEqual([orphan.pid, adas.pid].sort());
    expect([orphan, adas, mallorys].map((claude) => claude.isAlive())).toEqual([false, false, true]);
    expect(childrenOf(clay.daemon.pid)).toHaveLength(5001);
  });

  test('stays bounded if a user has 250,000 sockets', async () => {
    // Each has a few less than those that are not followed at all.
    const opening = `ulimit -n 9000; exec ${claudeProgram(join(common.path, 'perl'), '/usr/bin/perl')} -MSocket -e 'my @s; for (1 .. 4000) { socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) or last; push @s, $a, $b } sleep 86400'`;
    const clay = await fakeClay(MALLORY, join(common.path, 'sockets'), Array(32).fill(opening));
    onTestFinished(clay.end);
    await waitFor('they are open', () => clay.daemon.claudes.every(({ pid }) => descriptors(pid) > 8_000), 60_000);
    const args = ['status', '--json', '--min-age', '0s', '--clay-home', clay.home];
    const run = await measured(args);
    expect(expectSound(run, 4).processes).toEqual([]);
    expect(run.stderr).toContain(leftAlone(clay.daemon.pid, MALLORY));
  }, 120_000);

  test('stays bounded with very long record types in conversations', async () => {
    const clay = await startClay({ user: ADA, projects: ['rest'] });
    onTestFinished(clay.stop);
    const claudes: FakeClaude[] = [];
    for (let n = 0; n < 24; n += 1) {
      const claude = await clay.spawnClaude({ project: 'rest', shape: 'native' });
      fileOf(ADA, claude.journal ?? '', `{"type":"${'x'.repeat(3 * MIB)}"}\n`);
      claudes.push(claude);
    }
    const args = ['status', '--json', '--min-age', '0s', '--clay-home', clay.home];
    const report = expectSound(await measured(args), 0);
    expect(codesOf(report, claudes)).toEqual(claudes.map(() => []));
  });

  test('stays bounded if scheduled runs have very long ids and cron expressions', async () => {
    const clay = await startClay({ user: ADA, projects: ['rest'] });
    onTestFinished(clay.stop);
    const long = 'x'.repeat(900_000);
    const ids = Array.from({ length: 60 }, (_, nr) => `toolu_${nr}`);
    const kinds: Readonly<Record<string, string>> = {
      'ids of calls': ids.map((id) => record([callOf(`${id}${long}`)])).join(''),
      'ids of entries': ids
        .map((id) => record([callOf(id)]) + record([answerTo(id)], { toolUseResult: { id: `${id}${long}` } }))
        .join(''),
      'cron expressions': ids.map((id) => record([callOf(id, `${id}${long}`)])).join(''),
    };
    for (const [name, transcript] of Object.entries(kinds)) {
      const claude = await clay.spawnClaude({ project: 'rest', shape: 'native', transcript });
      const args = ['status', '--json', '--min-age', '0s', '--clay-home', clay.home];
      const [codes] = codesOf(expectSound(await measured(args), 0), [claude]);
      // A call that nobody has answered has set nothing.
      expect([name, codes]).toEqual([
        name,
        { 'ids of calls': ['unverified'], 'ids of entries': ['scheduled'], 'cron expressions': [] }[name],
      ]);
    }
  });

  test('stays bounded with 1,500 scheduled runs and 900 more calls in each conversation or subagent', async () => {
    const clay = await startClay({ user: ADA, projects: ['rest'] });
    onTestFinished(clay.stop);
    // A hundred to a record, and calls that nobody has answered, which take more room: so what is kept exceeds its limit before
    // the time does.
    const callsOf = (nr: number, many: number) => Array.from({ length: many }, (_, n) => callOf(`toolu_${nr}_${n}`));
    const hundreds = Array.from({ length: 15 }, (_, nr) => callsOf(nr, 100));
    const set = hundreds.map((calls) => record(calls) + record(calls.map(({ id }) => answerTo(id)))).join('');
    const alarms = set + record(callsOf(-1, 900));
    const manyAgents = await clay.spawnClaude({ project: 'rest', shape: 'native' });
    const agents = join(manyAgents.transcript.replace(/\.jsonl$/, ''), 'subagents');
    mkdirSync(agents, { recursive: true });
    for (const folder of [join(agents, '..'), agents]) folderOf(ADA, folder);
    for (let n = 0; n < 5; n += 1) fileOf(ADA, join(agents, `agent-${n}.jsonl`), alarms);
    const claudes: FakeClaude[] = [];
    for (let n = 0; n < 60; n += 1)
      claudes.push(await clay.spawnClaude({ project: 'rest', shape: 'native', transcript: alarms }));
    const args = ['status', '--json', '--min-age', '0s', '--clay-home', clay.home];
    const run = await measured(args);
    expect(expectSound(run, 4).processes).toEqual([]);
    expect(run.stderr).toContain(leftAlone(clay.pid, ADA));
    expect([manyAgents, ...claudes].every((claude) => claude.isAlive())).toBe(true);
  });
});

const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
