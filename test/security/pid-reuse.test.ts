import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { injectFault, type Rule } from '../faults/interference.ts';
import { type Clay, type FakeClaude, type FakeClaudeOptions, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { type RunningService, startService } from '../helpers/cli.ts';
import { identify, isAlive, kill, type ProcessId } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
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
  const interference = injectFault(rules);
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
  const running = startService(['--clay-home', clay.home, ...waits, '--log-level', 'debug'], { env: interference.env });
  onTestFinished(async () => {
    await running.stop();
    interference.remove();
  });
  return { running, interference };
}

const sweeps = (running: RunningService): number => running.log.filter((line) => line.msg === 'swept').length;

/** The calls that read of a process, as rules and traces have them. */
const readsOf = (pid: number): string => `^(openSync|readlinkSync|opendirSync) /proc/${pid}(/|$)`;

/** How often a process is read until it is reaped. */
async function countReads(
  options: FakeClaudeOptions,
  killAfter: string,
  whose: (claude: FakeClaude) => number,
): Promise<number> {
  const claude = await clay.spawnClaude(options);
  const pattern = new RegExp(readsOf(whose(claude)));
  const { running, interference } = watch([], killAfter);
  await running.logged('reaped', (line) => line.pid === claude.pid);
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
  options: FakeClaudeOptions,
  killAfter: string,
  whose: (claude: FakeClaude) => number,
): Promise<number> {
  const victims: {
    readonly target: ProcessId;
    readonly claude: FakeClaude;
    readonly swap: ReturnType<typeof swapOf>;
  }[] = [];
  for (let nth = from; nth <= to; nth += 1) {
    const claude = await clay.spawnClaude(options);
    const target = identify(whose(claude));
    if (target) victims.push({ claude, target, swap: swapOf(target) });
  }
  const rules = victims.map(({ target, swap }, index) => ({
    call: readsOf(target.pid),
    from: from + index,
    to: from + index,
    run: swap.command,
  }));
  const { running, interference } = watch(rules, killAfter);
  await waitFor(
    'each pid is swapped, or was ended before its turn came',
    () =>
      victims.every(({ claude, target, swap }) => swap.innocent() !== null || !(isAlive(target) || isAlive(claude))),
    60_000,
  );
  const before = sweeps(running);
  await waitFor('three sweeps more', () => sweeps(running) > before + 3, 60_000);
  await running.stop();

  const meant = new Map(
    victims.flatMap(({ claude, target }) => [claude, target]).map(({ pid, startTicks }) => [pid, startTicks]),
  );
  const sent = interference.signals().filter(({ pid, signal }) => meant.has(pid) && signal !== '0');
  for (const signal of sent) expect(signal).toEqual({ ...signal, startTicks: meant.get(signal.pid) });
  const innocents = victims.flatMap(({ swap }) => swap.innocent() ?? []);
  expect(running.log.filter((line) => line.event === 'sweep-failed')).toEqual([]);
  expect(innocents.map(isAlive)).toEqual(innocents.map(() => true));
  for (const innocent of innocents) kill(innocent);
  return innocents.length;
}

describe('pid reuse by another process', () => {
  test('before any read of observation, recheck or wait for exit: the new process gets no signal', async () => {
    const reads = await countReads(IDLE_NATIVE, '20s', (claude) => claude.pid);
    expect(reads).toBeGreaterThan(30);
    // Those after SIGTERM may be fewer than in the trial: such a process is dead before its turn comes.
    expect(await swapAtEach(1, reads, IDLE_NATIVE, '20s', (claude) => claude.pid)).toBeGreaterThan(reads - 10);
  });

  test('before any read between SIGTERM and SIGKILL: the new process is not killed', async () => {
    const ignoresSigterm: FakeClaudeOptions = { ...IDLE_NATIVE, start: { ignoreSigterm: true } };
    const toTerm = await countReads(IDLE_NATIVE, '20s', (claude) => claude.pid);
    const toKill = await countReads(ignoresSigterm, '300ms', (claude) => claude.pid);
    expect(toKill).toBeGreaterThan(toTerm);
    expect(await swapAtEach(toTerm - 5, toKill, ignoresSigterm, '300ms', (claude) => claude.pid)).toBeGreaterThan(
      toKill - toTerm - 5,
    );
  });

  test('of a descendant of a killed process: the new process gets no signal', async () => {
    const options: FakeClaudeOptions = {
      project: 'rest',
      idleSeconds: 3600,
      start: { ignoreSigterm: true, mcpServer: true },
    };
    const server = (claude: FakeClaude): number => claude.children.mcpServer ?? 0;
    const reads = await countReads(options, '300ms', server);
    expect(await swapAtEach(reads - 9, reads, options, '300ms', server)).toBeGreaterThan(4);
  });
});
