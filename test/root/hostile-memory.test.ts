import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Sham, startClay } from '../support/clay.ts';
import { childrenOf } from '../support/processes.ts';
import type { Report } from '../support/reaper.ts';
import { until } from '../support/until.ts';
import { type Measured, measured } from './measured.ts';
import { ADA, claudeProgram, commOf, commonFolder, fakeClay, fileOf, folderOf, MALLORY } from './users.ts';

const MIB = 1024 * 1024;
const common = commonFolder();
afterAll(common.remove);

function expectSound(run: Measured, status: number): Report {
  expect(run.signal).toBeNull();
  expect(run.stderr).not.toMatch(/should not have happened|\n {4}at /);
  expect(run.peakBytes).toBeLessThan(160 * MIB);
  expect(run.status).toBe(status);
  return JSON.parse(run.stdout) as Report;
}

const codesOf = (report: Report, shams: readonly Sham[]) =>
  shams.map(({ pid }) => report.processes.find((each) => each.pid === pid)?.reasons.map((reason) => reason.code));

const record = (content: readonly unknown[], more: Readonly<Record<string, unknown>> = {}): string =>
  `${JSON.stringify({ timestamp: new Date().toISOString(), message: { content }, ...more })}\n`;
const callOf = (id: string, cron = '3 4 * * *') => ({ type: 'tool_use', id, name: 'CronCreate', input: { cron } });
const answerTo = (id: string) => ({ type: 'tool_result', tool_use_id: id, content: 'x' });

describe('4. what is kept of a user does not fill the memory of the service, if she has', () => {
  test('5,001 claude processes', async () => {
    const claude = claudeProgram(join(common.path, 'bin'));
    const starting = `n=0; while [ $n -lt 5001 ]; do ${claude} 86400 & n=$((n+1)); done; true`;
    const clay = await fakeClay(MALLORY, join(common.path, 'crowd'), [starting]);
    onTestFinished(clay.end);
    await until('they all run', () => childrenOf(clay.daemon.pid).length === 5001, 60_000);
    await until('they all are claudes', () => childrenOf(clay.daemon.pid).every((pid) => commOf(pid) === 'claude'));
    const ada = await startClay({ user: ADA, projects: ['rest'] });
    onTestFinished(ada.stop);
    const orphan = await ada.sham({ project: 'rest', shape: 'native', idleSeconds: 3600 });
    // Root's Clay has workers for both.
    const shared = await startClay({ projects: ['rest'] });
    onTestFinished(shared.stop);
    const idle = { project: 'rest', shape: 'native', idleSeconds: 3600 } as const;
    const adas = await shared.sham({ ...idle, worker: ADA });
    const mallorys = await shared.sham({ ...idle, worker: MALLORY });
    const args = ['cleanup', '--yes', '--now', '--json', '--min-age', '0s', '--clay-home', clay.home];
    const run = await measured([...args, '--clay-home', ada.home, '--clay-home', shared.home]);
    const report = expectSound(run, 4);
    expect(run.stderr).toContain(
      `Clay ${clay.daemon.pid} was left alone: a user has more than 5000 claude processes, and none of them is looked at`,
    );
    expect(report.processes.map(({ pid }) => pid).sort()).toEqual([orphan.pid, adas.pid].sort());
    expect([orphan, adas, mallorys].map((each) => each.isAlive())).toEqual([false, false, true]);
    expect(childrenOf(clay.daemon.pid)).toHaveLength(5001);
  });

  test('a quarter of a million sockets', async () => {
    // Each has a few less than those that are not followed at all.
    const opening = `ulimit -n 9000; exec ${claudeProgram(join(common.path, 'perl'), '/usr/bin/perl')} -MSocket -e 'my @s; for (1 .. 4000) { socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) or last; push @s, $a, $b } sleep 86400'`;
    const clay = await fakeClay(MALLORY, join(common.path, 'sockets'), Array(32).fill(opening));
    onTestFinished(clay.end);
    await until('they are open', () => clay.daemon.claudes.every(({ pid }) => descriptors(pid) > 8_000), 60_000);
    const args = ['status', '--json', '--min-age', '0s', '--clay-home', clay.home];
    const report = expectSound(await measured(args), 0);
    expect(report.processes).toHaveLength(32);
    const followed = report.processes.filter((each) => each.socketFds > 0);
    expect(followed.length).toBe(12);
    for (const each of report.processes.filter(({ socketFds }) => socketFds === 0)) {
      expect(each.reasons.map(({ detail }) => detail)).toContain(
        'the processes of its user have more sockets, descendants and alarms than can be followed',
      );
    }
  }, 120_000);

  test('conversations whose records are of kinds with endless names', async () => {
    const clay = await startClay({ user: ADA, projects: ['rest'] });
    onTestFinished(clay.stop);
    const shams: Sham[] = [];
    for (let each = 0; each < 24; each += 1) {
      const sham = await clay.sham({ project: 'rest', shape: 'native' });
      fileOf(ADA, sham.journal ?? '', `{"type":"${'x'.repeat(3 * MIB)}"}\n`);
      shams.push(sham);
    }
    const args = ['status', '--json', '--min-age', '0s', '--clay-home', clay.home];
    const report = expectSound(await measured(args), 0);
    expect(codesOf(report, shams)).toEqual(shams.map(() => []));
  });

  test('alarms with endless ids and cron expressions', async () => {
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
      const sham = await clay.sham({ project: 'rest', shape: 'native', transcript });
      const args = ['status', '--json', '--min-age', '0s', '--clay-home', clay.home];
      const [codes] = codesOf(expectSound(await measured(args), 0), [sham]);
      // A call that nobody has answered has set nothing.
      expect([name, codes]).toEqual([
        name,
        { 'ids of calls': ['unverified'], 'ids of entries': ['scheduled'], 'cron expressions': [] }[name],
      ]);
    }
  });

  test('thousands of alarms in each conversation, or in each of its agents', async () => {
    const clay = await startClay({ user: ADA, projects: ['rest'] });
    onTestFinished(clay.stop);
    const ids = Array.from({ length: 3_000 }, (_, nr) => `toolu_${nr}`);
    const alarms = ids
      .map((id) => record([callOf(id)]) + record([answerTo(id)], { toolUseResult: { id, recurring: true } }))
      .join('');
    const manyAgents = await clay.sham({ project: 'rest', shape: 'native' });
    const agents = join(manyAgents.transcript.replace(/\.jsonl$/, ''), 'subagents');
    mkdirSync(agents, { recursive: true });
    for (const folder of [join(agents, '..'), agents]) folderOf(ADA, folder);
    for (let each = 0; each < 5; each += 1) fileOf(ADA, join(agents, `agent-${each}.jsonl`), alarms);
    const shams: Sham[] = [];
    for (let each = 0; each < 60; each += 1)
      shams.push(await clay.sham({ project: 'rest', shape: 'native', transcript: alarms }));
    const args = ['status', '--json', '--min-age', '0s', '--clay-home', clay.home];
    const report = expectSound(await measured(args), 0);
    expect(codesOf(report, [manyAgents])).toEqual([['unverified']]);
    const codes = codesOf(report, shams).map((each) => each?.join());
    expect(new Set(codes)).toEqual(new Set(['scheduled', 'unverified,scheduled']));
  });
});

const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
