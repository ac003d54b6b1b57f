import { execFileSync } from 'node:child_process';

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { injectFault } from '../faults/interference.ts';
import { type Clay, IDLE_NATIVE, startClay, type User } from '../helpers/clay.ts';
import { type Report, runCliJson, startService } from '../helpers/cli.ts';
import { identify, isAlive, kill, type ProcessId, withEnvironment } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
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
const CLEANUP = ['cleanup', '--yes', '--now', '--json', '--min-age', '0s'];
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
  const orphan = await ada.spawnClaude(IDLE_NATIVE);
  const run = await measured([...CLEANUP, '--clay-home', home, '--clay-home', ada.home]);
  expect(run.signal).toBeNull();
  expect(run.stderr).not.toContain('internal error');
  expect(run.tookMs).toBeLessThan(maxMs);
  expect(run.peakBytes).toBeLessThan(160 * MIB);
  expect(orphan.isAlive()).toBe(false);
  const report = JSON.parse(run.stdout) as Report;
  return { status: run.status, rows: report.processes.filter((process) => process.uid === MALLORY.uid), report };
}

describe('hostile processes', () => {
  test('with huge command lines do not exhaust memory through the output of ps', async () => {
    // Each has 128 KiB, all that ps shows of one: together more than the heap of the service.
    const script = `A=$(head -c 120000 /dev/zero | tr '\\0' x); n=0
      while [ $n -lt 400 ]; do /bin/sh -c 'sleep 86400; :' sh "$A" & n=$((n+1)); done; wait`;
    const many = await startAs(MALLORY, ['/bin/sh', '-c', script]);
    onTestFinished(async () => {
      await many.end();
      endAllOf(MALLORY);
    });
    await waitFor(
      'they all run',
      () => Number(execFileSync('sh', ['-c', 'ls -d /proc/[0-9]* | wc -l'], { encoding: 'utf8' })) > 800,
    );
    const run = await measured(['status'], { HOME: '/nonexistent' });
    expect(run.signal).toBeNull();
    expect([0, 4]).toContain(run.status);
    expect(run.peakBytes).toBeLessThan(160 * MIB);
  });

  test('with an environment of megabytes do not have it kept in memory', async () => {
    // Nine variables of 100 KB for each of sixty processes: more than the heap of the service.
    const variables =
      'A=$(head -c 100000 /dev/zero | tr "\\0" x); for n in 1 2 3 4 5 6 7 8 9; do export V$n=$A; done; exec CLAUDE 86400';
    const { home } = await clayOfMallory(Array(60).fill(variables) as string[]);
    const { rows } = await expectAdasOrphanEnded(home);
    expect(rows).toHaveLength(60);
  });

  test('with thousands of sockets are protected without reading them all', async () => {
    const opening = `exec CLAUDE -MSocket -e 'my @s; for (1 .. 4200) { socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) or last; push @s, $a, $b } sleep 86400'`;
    const { home, daemon } = await clayOfMallory([`ulimit -n 9000; ${opening}`], '/usr/bin/perl');
    const [claude] = daemon.claudes;
    await waitFor(
      'they are open',
      () => Number(execFileSync('sh', ['-c', `ls /proc/${claude?.pid}/fd | wc -l`], { encoding: 'utf8' })) > 8_300,
    );
    const { rows, status } = await expectAdasOrphanEnded(home);
    expect(rows).toMatchObject([{ verdict: 'protected', reasons: [{ code: 'unverified' }] }]);
    expect(rows[0]?.reasons[0]?.detail).toMatch(/^\S+ holds more than 8192 names$/);
    expect(claude && isAlive(claude)).toBe(true);
    expect([0, 4]).toContain(status);
  });

  test('in thousands below a claude protect it, as one of them may be a tool', async () => {
    const forking = `exec CLAUDE -e 'for (1 .. 4200) { my $p = fork; defined $p or last; if (!$p) { sleep 86400; exit } } sleep 86400'`;
    const { home, daemon } = await clayOfMallory([forking], '/usr/bin/perl');
    const [claude] = daemon.claudes;
    onTestFinished(
      () => void execFileSync('sh', ['-c', `kill -9 $(cat /proc/${claude?.pid}/task/${claude?.pid}/children)`]),
    );
    await waitFor('they all run', () => childCount(claude) > 4100, 60_000);
    const { rows } = await expectAdasOrphanEnded(home, 25_000);
    expect(rows).toMatchObject([{ verdict: 'protected', reasons: [{ code: 'unverified' }] }]);
    expect(rows[0]?.reasons[0]?.detail).toBe('more than 4096 processes run below it');
    expect(claude && isAlive(claude)).toBe(true);
  });

  test('that each claim a new Clay home do not add homes without limit', async () => {
    const hers = Array.from({ length: 12 }, (_, n) => [MALLORY, join(common.path, `mallory${homes + n + 1}`)] as const);
    const restore = everyUsersHome([[ADA, ada.userHome], ...hers], common.path);
    onTestFinished(restore);
    const interference = injectFault([]);
    const running = startService(['--poll', '100ms', '--log-level', 'debug', '--dry-run'], {
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
      await waitFor('they run', () => withEnvironment(`${home}-29`).length > 0);
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
    await waitFor('two sweeps', () => swept() > already + 2);
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

  test('that claim to be 70 Clays of one user are capped at 64', async () => {
    const made = [];
    for (let n = 0; n < 70; n += 1) made.push(await clayOfMallory([]));
    const homesOf = made.flatMap(({ home }) => ['--clay-home', home]);
    const { status, report, stderr } = await runCliJson(['status', ...homesOf, '--clay-home', ada.home]);
    expect(report.clay.filter(({ uid }) => uid === MALLORY.uid)).toHaveLength(64);
    expect(report.clay.filter(({ uid }) => uid === ADA.uid)).toMatchObject([{ api: 'ok' }]);
    expect(status).toBe(0);
    expect(stderr.match(/was refused: its user has more than 64 Clays\n/g)).toHaveLength(3);
    expect(stderr).toMatch(/: 3 more homes were refused\n$/);
    const running = startService([...homesOf, '--poll', '100ms', '--dry-run']);
    onTestFinished(async () => void (await running.stop()));
    const refused = await running.logged('clay-refused');
    expect(refused.reason).toBe('its user has more than 64 Clays');
  });

  test('in another network namespace do not change the connections seen of other users', async () => {
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
