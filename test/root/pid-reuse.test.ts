import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { interfere, type Rule } from '../faults/interference.ts';
import { type Clay, type Sham, type ShamOptions, startClay } from '../support/clay.ts';
import { identify, isAlive, kill, type ProcessId } from '../support/processes.ts';
import { type RunningReaper, startReaper } from '../support/reaper.ts';
import { until } from '../support/until.ts';
import { ADA, claudeProgram, commonFolder } from './users.ts';

/**
 * A pid is given again as soon as the kernel comes round to it, and here it does at once: the next pid of a namespace of
 * one's own can be chosen (ns_last_pid). So the process that is to be ended dies, and an innocent one gets its pid, right
 * before a read of the program's: before each of them, one after the other.
 */
const common = commonFolder();
let clay: Clay;
let innocentProgram: string;
let swaps = 0;

beforeAll(async () => {
  clay = await startClay({ user: ADA, projects: ['rest'] });
  innocentProgram = claudeProgram(join(common.path, 'innocent'));
});
afterAll(async () => {
  await clay?.stop();
  common.remove();
});

/** A shell command that ends a process and gives its pid to an innocent one: of the same user, the same name. */
function swapOf({ pid }: ProcessId): { readonly command: string; readonly innocent: () => ProcessId | null } {
  swaps += 1;
  const done = join(common.path, `swapped${swaps}`);
  const command = `
    kill -9 ${pid}
    for tick in $(seq 2000); do [ -e /proc/${pid} ] || break; sleep 0.01; done
    for attempt in 1 2 3 4 5 6 7 8 9; do
      echo ${pid - 1} >/proc/sys/kernel/ns_last_pid
      setpriv --reuid ${ADA.uid} --regid ${ADA.gid} --clear-groups ${innocentProgram} 86400 >/dev/null 2>&1 &
      [ $! = ${pid} ] && break
      kill $!
    done
    [ $! = ${pid} ] || exit 1
    for tick in $(seq 2000); do [ "$(cat /proc/${pid}/comm)" = claude ] && break; done
    touch ${done}`;
  return { command, innocent: () => (existsSync(done) ? identify(pid) : null) };
}

/** Runs the service on that Clay, with these rules, and ends it with the test. */
function watch(rules: readonly Rule[], killAfter: string) {
  const interference = interfere(rules);
  const waits = [
    '--poll',
    '100ms',
    '--min-age',
    '0s',
    '--parked-after',
    '0s',
    '--grace',
    '0s',
    '--kill-after',
    killAfter,
  ];
  const running = startReaper(['--clay-home', clay.home, ...waits, '--log-level', 'debug'], { env: interference.env });
  onTestFinished(async () => {
    await running.stop();
    interference.remove();
  });
  return { running, interference };
}

const sweeps = (running: RunningReaper): number => running.log.filter((line) => line.msg === 'swept').length;

/** The calls that read of a process, as rules and traces have them. */
const readsOf = (pid: number): string => `^(openSync|readlinkSync|opendirSync) /proc/${pid}(/|$)`;

/** How often a process is read until it is reaped. */
async function countReads(options: ShamOptions, killAfter: string, whose: (sham: Sham) => number): Promise<number> {
  const sham = await clay.sham(options);
  const pattern = new RegExp(readsOf(whose(sham)));
  const { running, interference } = watch([], killAfter);
  await running.logged('reaped', (line) => line.pid === sham.pid);
  await running.stop();
  return interference.calls().filter((call) => pattern.test(call)).length;
}

/**
 * Many processes at once, each of which is swapped at another of its reads, `from` to `to`: none of those that took the pids
 * gets a signal, and each signal that was sent met the process that it was meant for. Gives how many were swapped.
 */
async function swapAtEach(
  from: number,
  to: number,
  options: ShamOptions,
  killAfter: string,
  whose: (sham: Sham) => number,
): Promise<number> {
  const victims: { readonly target: ProcessId; readonly sham: Sham; readonly swap: ReturnType<typeof swapOf> }[] = [];
  for (let nth = from; nth <= to; nth += 1) {
    const sham = await clay.sham(options);
    const target = identify(whose(sham));
    if (target) victims.push({ sham, target, swap: swapOf(target) });
  }
  const rules = victims.map(({ target, swap }, index) => ({
    call: readsOf(target.pid),
    from: from + index,
    to: from + index,
    run: swap.command,
  }));
  const { running, interference } = watch(rules, killAfter);
  await until(
    'each is swapped, or was ended before its turn came',
    () => victims.every(({ sham, target, swap }) => swap.innocent() !== null || !(isAlive(target) || isAlive(sham))),
    60_000,
  );
  const before = sweeps(running);
  await until('three sweeps more', () => sweeps(running) > before + 3, 60_000);
  await running.stop();

  const meant = new Map(
    victims.flatMap(({ sham, target }) => [sham, target]).map((each) => [each.pid, each.startTicks]),
  );
  const sent = interference.signals().filter(({ pid, signal }) => meant.has(pid) && signal !== '0');
  for (const each of sent) expect(each).toEqual({ ...each, startTicks: meant.get(each.pid) });
  const innocents = victims.flatMap(({ swap }) => swap.innocent() ?? []);
  expect(running.log.filter((line) => line.event === 'sweep-failed')).toEqual([]);
  expect(innocents.map(isAlive)).toEqual(innocents.map(() => true));
  for (const innocent of innocents) kill(innocent);
  return innocents.length;
}

const IDLE: ShamOptions = { project: 'rest', shape: 'native', idleSeconds: 3600 };

describe('6. a pid that is taken by an innocent process', () => {
  test('before any read of the observation, of the second look and of the wait for its death is not signalled', async () => {
    const reads = await countReads(IDLE, '20s', (sham) => sham.pid);
    expect(reads).toBeGreaterThan(30);
    // Those after SIGTERM may be fewer than in the trial: such a process is dead before its turn comes.
    expect(await swapAtEach(1, reads, IDLE, '20s', (sham) => sham.pid)).toBeGreaterThan(reads - 10);
  });

  test('before any read between SIGTERM and SIGKILL is not killed', async () => {
    const stubborn: ShamOptions = { ...IDLE, start: { ignoreSigterm: true } };
    const toTerm = await countReads(IDLE, '20s', (sham) => sham.pid);
    const toKill = await countReads(stubborn, '300ms', (sham) => sham.pid);
    expect(toKill).toBeGreaterThan(toTerm);
    expect(await swapAtEach(toTerm - 5, toKill, stubborn, '300ms', (sham) => sham.pid)).toBeGreaterThan(
      toKill - toTerm - 5,
    );
  });

  test('and was that of something below a killed one is not ended as its leftover', async () => {
    const options: ShamOptions = {
      project: 'rest',
      idleSeconds: 3600,
      start: { ignoreSigterm: true, mcpServer: true },
    };
    const server = (sham: Sham): number => sham.children.mcpServer ?? 0;
    const reads = await countReads(options, '300ms', server);
    expect(await swapAtEach(reads - 9, reads, options, '300ms', server)).toBeGreaterThan(4);
  });
});
