import { execFileSync } from 'node:child_process';

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Clay, startClay } from '../support/clay.ts';
import { identify, isAlive, type ProcessId } from '../support/processes.ts';
import { type Report, startReaper } from '../support/reaper.ts';
import { until } from '../support/until.ts';
import { measured } from './measured.ts';
import { residentBytes } from './memory.ts';
import {
  ADA,
  atRest,
  claudeEnvironment,
  claudeProgram,
  clayScript,
  commonFolder,
  everyUsersHome,
  fakeDaemon,
  fileOf,
  folderOf,
  listenAs,
  MALLORY,
  saying,
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
async function clayOfMallory(children: readonly string[], program = '/bin/sleep') {
  homes += 1;
  const folder = folderOf(MALLORY, join(common.path, `mallory${homes}`));
  const home = folderOf(MALLORY, join(folder, '.clay'), 0o700);
  const claude = claudeProgram(join(folder, 'bin'), program);
  const commands = children.map((command) => command.replaceAll('CLAUDE', claude));
  const daemon = await fakeDaemon(MALLORY, clayScript(MALLORY, folder), commands, claudeEnvironment(folder, home));
  onTestFinished(daemon.end);
  fileOf(MALLORY, join(home, 'daemon.json'), JSON.stringify({ pid: daemon.pid }));
  const socket = await listenAs(MALLORY, join(home, 'daemon.sock'), saying(atRest(daemon.pid)));
  onTestFinished(socket.close);
  return { home, folder, daemon };
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
      execFileSync('sh', [
        '-c',
        `for p in /proc/[0-9]*; do [ "$(stat -c %u $p 2>/dev/null)" = ${MALLORY.uid} ] && kill -9 \${p#/proc/}; done; :`,
      ]);
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
    // Twenty variables of 100 KB for each of thirty processes.
    const variables =
      'A=$(head -c 100000 /dev/zero | tr "\\0" x); for n in 1 2 3 4 5 6 7 8 9; do export V$n=$A; done; exec CLAUDE 86400';
    const { home } = await clayOfMallory(Array(30).fill(variables) as string[]);
    const { rows } = await expectAdasOrphanEnded(home);
    expect(rows).toHaveLength(30);
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

  test('that pass for a Clay in a new home each do not fill the memory of the service', async () => {
    const hers = Array.from({ length: 12 }, (_, n) => [MALLORY, join(common.path, `mallory${homes + n + 1}`)] as const);
    const restore = everyUsersHome([[ADA, ada.userHome], ...hers], common.path);
    onTestFinished(restore);
    const running = startReaper(['--poll', '100ms', '--log-level', 'debug', '--dry-run'], {
      env: { HOME: '/nonexistent', NODE_OPTIONS: '--max-old-space-size=32' },
    });
    onTestFinished(async () => void (await running.stop()));
    await running.logged('clay-found');
    const before = residentBytes(running.pid);
    // Each time that a daemon comes or goes the process table is looked over, and leads to 30 new homes.
    for (let round = 0; round < 12; round += 1) {
      const script = clayScript(MALLORY, join(common.path, `round${round}`));
      const starting = Array.from(
        { length: 30 },
        (_, n) =>
          `CLAY_HOME=${common.path}/no/${'y'.repeat(2000)}${round}-${n} /bin/sh -c 'sleep 86400; :' sh ${script} &`,
      );
      const many = await startAs(MALLORY, ['/bin/sh', '-c', `${starting.join('\n')}\nwait`]);
      const { daemon } = await clayOfMallory([]);
      await running.logged('clay-found', (line) => line.clayPid === daemon.pid);
      await daemon.end();
      await running.logged('clay-lost', (line) => line.clayPid === daemon.pid);
      await many.end();
      execFileSync('sh', [
        '-c',
        `for p in /proc/[0-9]*; do [ "$(stat -c %u $p 2>/dev/null)" = ${MALLORY.uid} ] && kill -9 \${p#/proc/}; done; :`,
      ]);
    }
    expect(residentBytes(running.pid) - before).toBeLessThan(30 * MIB);
  });

  test("that change their network namespace do not change what is known of ada's connections", async () => {
    // A claude of mallory's in a network namespace of its own, with ada's claude beside it.
    const { home } = await clayOfMallory(['exec unshare --user --net CLAUDE 86400']);
    const { rows } = await expectAdasOrphanEnded(home);
    expect(rows).toHaveLength(1);
  });
});

const childCount = (parent: ProcessId | undefined): number =>
  parent && identify(parent.pid)
    ? execFileSync('cat', [`/proc/${parent.pid}/task/${parent.pid}/children`], { encoding: 'utf8' }).split(' ').length
    : 0;
