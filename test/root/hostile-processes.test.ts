import { execFileSync } from 'node:child_process';

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { interfere } from '../faults/interference.ts';
import { type Clay, startClay, type User } from '../support/clay.ts';
import { identify, isAlive, kill, type ProcessId, withEnvironment } from '../support/processes.ts';
import { type Report, reaperJson, startReaper } from '../support/reaper.ts';
import { until } from '../support/until.ts';
import { measured } from './measured.ts';
import {
  ADA,
  claudeProgram,
  clayScript,
  commonFolder,
  everyUsersHome,
  type FakeClay,
  fakeClay,
  folderOf,
  MALLORY,
  startAs,
} from './users.ts';

const MIB = 1024 * 1024;
const RUTHLESS = ['cleanup', '--yes', '--now', '--json', '--min-age', '0s'];
const common = commonFolder();
let homes = 0;
let ada: Clay;

beforeAll(async () => {
  ada = await startClay({ user: ADA, projects: ['rest'] });
});
afterAll(async () => {
  await ada?.stop();
  common.remove();
});

/** A Clay of mallory's that passes for one, with these children; `CLAUDE` in a command is a program of that name. */
async function clayOfMallory(children: readonly string[], program = '/bin/sleep'): Promise<FakeClay> {
  homes += 1;
  const folder = folderOf(MALLORY, join(common.path, `mallory${homes}`));
  const claude = claudeProgram(join(folder, 'bin'), program);
  const clay = await fakeClay(
    MALLORY,
    folder,
    children.map((command) => command.replaceAll('CLAUDE', claude)),
  );
  onTestFinished(clay.end);
  return clay;
}

/** A sweep over mallory's home and ada's ends ada's orphan, in time and with little memory; gives what it said of mallory's. */
async function expectAdasOrphanEnded(home: string, maxMs = 15_000) {
  const orphan = await ada.sham({ project: 'rest', shape: 'native', idleSeconds: 3600 });
  const run = await measured([...RUTHLESS, '--clay-home', home, '--clay-home', ada.home]);
  expect(run.signal).toBeNull();
  expect(run.stderr).not.toContain('should not have happened');
  expect(run.tookMs).toBeLessThan(maxMs);
  expect(run.peakBytes).toBeLessThan(160 * MIB);
  expect(orphan.isAlive()).toBe(false);
  const report = JSON.parse(run.stdout) as Report;
  return { status: run.status, rows: report.processes.filter((each) => each.uid === MALLORY.uid), report };
}

describe("4. processes of mallory's", () => {
  test('with endless command lines do not end the service by what ps prints of them', async () => {
    // Each has 128 KiB, all that ps shows of one: together more than the heap of the service.
    const script = `A=$(head -c 120000 /dev/zero | tr '\\0' x); n=0
      while [ $n -lt 400 ]; do /bin/sh -c 'sleep 86400; :' sh "$A" & n=$((n+1)); done; wait`;
    const many = await startAs(MALLORY, ['/bin/sh', '-c', script]);
    onTestFinished(async () => {
      await many.end();
      endAllOf(MALLORY);
    });
    await until(
      'they all run',
      () => Number(execFileSync('sh', ['-c', 'ls -d /proc/[0-9]* | wc -l'], { encoding: 'utf8' })) > 800,
    );
    const run = await measured(['status'], { HOME: '/nonexistent' });
    expect(run.signal).toBeNull();
    expect([0, 4]).toContain(run.status);
    expect(run.peakBytes).toBeLessThan(160 * MIB);
  });

  test('with an environment of megabytes are not kept in memory with it', async () => {
    // Nine variables of 100 KB for each of sixty processes: more than the heap of the service.
    const variables =
      'A=$(head -c 100000 /dev/zero | tr "\\0" x); for n in 1 2 3 4 5 6 7 8 9; do export V$n=$A; done; exec CLAUDE 86400';
    const { home } = await clayOfMallory(Array(60).fill(variables) as string[]);
    const { rows } = await expectAdasOrphanEnded(home);
    expect(rows).toHaveLength(60);
  });

  test('with thousands of sockets are not followed', async () => {
    const opening = `exec CLAUDE -MSocket -e 'my @s; for (1 .. 4200) { socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) or last; push @s, $a, $b } sleep 86400'`;
    const { home, daemon } = await clayOfMallory([`ulimit -n 9000; ${opening}`], '/usr/bin/perl');
    const [claude] = daemon.claudes;
    await until(
      'they are open',
      () => Number(execFileSync('sh', ['-c', `ls /proc/${claude?.pid}/fd | wc -l`], { encoding: 'utf8' })) > 8_300,
    );
    const { rows, status } = await expectAdasOrphanEnded(home);
    expect(rows).toMatchObject([{ verdict: 'protected', reasons: [{ code: 'unverified' }] }]);
    expect(rows[0]?.reasons[0]?.detail).toMatch(/^\S+ holds more than 8192 names$/);
    expect(claude && isAlive(claude)).toBe(true);
    expect([0, 4]).toContain(status);
  });

  test('below a claude, more than anybody could look through, protect it: one of them may be a tool', async () => {
    const forking = `exec CLAUDE -e 'for (1 .. 4200) { my $p = fork; defined $p or last; if (!$p) { sleep 86400; exit } } sleep 86400'`;
    const { home, daemon } = await clayOfMallory([forking], '/usr/bin/perl');
    const [claude] = daemon.claudes;
    onTestFinished(
      () => void execFileSync('sh', ['-c', `kill -9 $(cat /proc/${claude?.pid}/task/${claude?.pid}/children)`]),
    );
    await until('they all run', () => childCount(claude) > 4100, 60_000);
    const { rows } = await expectAdasOrphanEnded(home, 25_000);
    expect(rows).toMatchObject([{ verdict: 'protected', reasons: [{ code: 'unverified' }] }]);
    expect(rows[0]?.reasons[0]?.detail).toBe('more than 4096 processes run below it');
    expect(claude && isAlive(claude)).toBe(true);
  });

  test('that pass for a Clay in a new home each are not looked for in all of them for ever', async () => {
    const hers = Array.from({ length: 12 }, (_, n) => [MALLORY, join(common.path, `mallory${homes + n + 1}`)] as const);
    const restore = everyUsersHome([[ADA, ada.userHome], ...hers], common.path);
    onTestFinished(restore);
    const interference = interfere([]);
    const running = startReaper(['--poll', '100ms', '--log-level', 'debug', '--dry-run'], {
      env: { ...interference.env, HOME: '/nonexistent' },
    });
    onTestFinished(async () => {
      await running.stop();
      interference.remove();
    });
    await running.logged('clay-found');
    // Each time that a daemon comes or goes the process table is looked over, and leads to 30 new homes.
    for (let round = 0; round < 12; round += 1) {
      const script = clayScript(MALLORY, join(common.path, `round${round}`));
      const home = `${common.path}/no/home${round}`;
      const starting = Array.from(
        { length: 30 },
        (_, n) => `CLAY_HOME=${home}-${n} /bin/sh -c 'sleep 86400; :' sh ${script} &`,
      );
      const many = await startAs(MALLORY, ['/bin/sh', '-c', `${starting.join('\n')}\nwait`]);
      await until('they run', () => withEnvironment(`${home}-29`).length > 0);
      const { daemon } = await clayOfMallory([]);
      await running.logged('clay-found', (line) => line.clayPid === daemon.pid);
      await daemon.end();
      await running.logged('clay-lost', (line) => line.clayPid === daemon.pid);
      await many.end();
      endAllOf(MALLORY);
    }
    const before = interference.calls().length;
    const swept = (): number => running.log.filter((line) => line.msg === 'swept').length;
    const already = swept();
    await until('two sweeps', () => swept() > already + 2);
    const lookedAt = new Set(
      interference
        .calls()
        .slice(before)
        .map((call) => /no\/home[\d-]+/.exec(call)?.[0]),
    );
    lookedAt.delete(undefined);
    expect(lookedAt.size).toBeGreaterThan(50);
    expect(lookedAt.size).toBeLessThanOrEqual(256);
  });

  test('that are 70 Clays are no more than 64: each may answer at length', async () => {
    const made = [];
    for (let each = 0; each < 70; each += 1) made.push(await clayOfMallory([]));
    const homesOf = made.flatMap(({ home }) => ['--clay-home', home]);
    const { status, report, stderr } = await reaperJson(['status', ...homesOf, '--clay-home', ada.home]);
    expect(report.clay.filter(({ uid }) => uid === MALLORY.uid)).toHaveLength(64);
    expect(report.clay.filter(({ uid }) => uid === ADA.uid)).toMatchObject([{ api: 'ok' }]);
    expect([status, stderr]).toEqual([0, '']);
    const running = startReaper([...homesOf, '--poll', '100ms', '--dry-run']);
    onTestFinished(async () => void (await running.stop()));
    const refused = await running.logged('clay-refused');
    expect(refused.reason).toBe('its user has more than 64 Clays');
  });

  test("that change their network namespace do not change what is known of ada's connections", async () => {
    // A claude of mallory's in a network namespace of its own, with ada's claude beside it.
    const { home } = await clayOfMallory(['exec unshare --user --net CLAUDE 86400']);
    const { rows } = await expectAdasOrphanEnded(home);
    expect(rows).toHaveLength(1);
  });
});

/** Ends all processes of a user that only this test has. */
function endAllOf({ uid }: User): void {
  for (const name of readdirSync('/proc')) {
    const found = /^\d+$/.test(name) ? identify(Number(name)) : null;
    if (found && uidOf(found.pid) === uid) kill(found);
  }
}

function uidOf(pid: number): number | null {
  try {
    return statSync(`/proc/${pid}`).uid;
  } catch {
    return null;
  }
}

const childCount = (parent: ProcessId | undefined): number =>
  parent && identify(parent.pid)
    ? execFileSync('cat', [`/proc/${parent.pid}/task/${parent.pid}/children`], { encoding: 'utf8' }).split(' ').length
    : 0;
