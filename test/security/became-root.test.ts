import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, truncateSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { injectFault } from '../faults/interference.ts';
import { type Clay, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { NO_WAITS, startService } from '../helpers/cli.ts';
import { childrenOf, identify, isAlive, kill, type ProcessId } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { ADA, claudeProgram, commonFolder, fakeClay, fileOf, folderOf, MALLORY } from './users.ts';

/**
 * A process of mallory's executes a setuid program and is root's from then on, with the same pid, start time and name. It does
 * so right before a read of the program's, before each of them, one process after the other: none of them may get a signal.
 */
const common = commonFolder();
const SESSION = '61802000-0000-4000-8000-';
const LARGE_BYTES = 4 * 1024 * 1024;
let ada: Clay;
/** The same program, once for mallory and once with the setuid bit. */
let programs: { readonly claude: string; readonly setuid: string };
let homes = 0;

beforeAll(async () => {
  const compiled = join(common.path, 'turncoat');
  const source = fileURLToPath(new URL('turncoat.c', import.meta.url));
  execFileSync('cc', ['-O1', '-Wall', '-Werror', '-o', compiled, source]);
  programs = {
    claude: claudeProgram(join(common.path, 'bin'), compiled),
    setuid: claudeProgram(join(common.path, 'setuid'), compiled, 0o4755),
  };
  ada = await startClay({ user: ADA, projects: ['rest'] });
});
afterAll(async () => {
  await ada?.stop();
  common.remove();
});

type Victim = { readonly claude: ProcessId; readonly target: ProcessId };

/** What becomes root: a claude that ends on SIGTERM, one that ignores it, or a child that outlives such a one. */
type Kind = 'obedient' | 'stubborn' | 'child';

/** A Clay of mallory's with these processes. Each has a session file and a large sparse transcript, and is idle since 1970. */
async function startVictims(kind: Kind, count: number): Promise<{ home: string; victims: readonly Victim[] }> {
  homes += 1;
  const folder = join(common.path, `mallory${homes}`);
  const { claude, setuid } = programs;
  const stubborn = `${claude} ${setuid} stubborn`;
  const command = { obedient: `${claude} ${setuid}`, stubborn, child: `(${stubborn} & exec ${stubborn})` }[kind];
  const clay = await fakeClay(MALLORY, folder, Array(count).fill(command) as string[]);
  onTestFinished(clay.end);
  const sessions = folderOf(MALLORY, join(folder, '.claude/sessions'));
  const transcripts = folderOf(MALLORY, join(folder, '.claude/projects/-'));
  mkdirSync(transcripts, { recursive: true });
  const victims = await Promise.all(
    clay.daemon.claudes.map(async (process_, index): Promise<Victim> => {
      const sessionId = `${SESSION}${String(index).padStart(12, '0')}`;
      const session = { pid: process_.pid, sessionId, procStart: String(process_.startTicks) };
      fileOf(MALLORY, join(sessions, `${process_.pid}.json`), JSON.stringify(session));
      const transcript = fileOf(MALLORY, join(transcripts, `${sessionId}.jsonl`), '');
      truncateSync(transcript, LARGE_BYTES);
      utimesSync(transcript, 1, 1);
      if (kind !== 'child') return { claude: process_, target: process_ };
      const [child] = await waitFor('its child runs', () => {
        const children = childrenOf(process_.pid).flatMap((pid) => identify(pid) ?? []);
        return children.length > 0 && children;
      });
      if (!child) throw new Error('unreachable');
      onTestFinished(() => kill(child));
      return { claude: process_, target: child };
    }),
  );
  return { home: clay.home, victims };
}

const isRoots = (pid: number): boolean => {
  try {
    return /^Uid:\t0\t0\t0\t0$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

/** Is there once a process is root's. */
const marker = ({ pid, startTicks }: ProcessId): string => join(common.path, `root-${pid}-${startTicks}`);

/** A shell command that makes a process root's and returns when it is. */
const becomeRoot = (target: ProcessId): string => `kill -USR1 ${target.pid}
  for tick in $(seq 1000); do
    grep -qs '^State:.[^Z]' /proc/${target.pid}/status || break
    grep -q '^Uid:.0.0.0.0$' /proc/${target.pid}/status && touch ${marker(target)} && break
    sleep 0.01
  done`;

/** All reads of a process, and of what mallory can change for it. */
const readsOf = ({ claude, target }: Victim): string =>
  `^(openSync|readlinkSync|opendirSync) (/proc/${target.pid}(/|$)|${common.path}.*/sessions/${claude.pid}\\.json$)`;

function watch(home: string, killAfter: string, rules: Parameters<typeof injectFault>[0]) {
  const interference = injectFault(rules);
  const args = ['--clay-home', home, '--clay-home', ada.home, '--poll', '100ms', ...NO_WAITS];
  const running = startService([...args, '--kill-after', killAfter, '--log-level', 'debug'], { env: interference.env });
  onTestFinished(async () => {
    await running.stop();
    interference.remove();
  });
  return { running, interference };
}

/** How often a process is read until it is reaped. */
async function countReads(kind: Kind, killAfter: string): Promise<number> {
  const { home, victims } = await startVictims(kind, 1);
  const [victim] = victims;
  if (!victim) throw new Error('unreachable');
  const { running, interference } = watch(home, killAfter, []);
  await running.logged('reaped', (line) => line.pid === victim.claude.pid);
  await running.stop();
  const pattern = new RegExp(readsOf(victim));
  return interference.calls().filter((call) => pattern.test(call)).length;
}

/** One process for each read from `from` to `to`; returns how many became root's, all of which must live. */
async function becomeRootAtEach(kind: Kind, killAfter: string, from: number, to: number): Promise<number> {
  const { home, victims } = await startVictims(kind, to - from + 1);
  const orphan = await ada.spawnClaude(IDLE_NATIVE);
  const rules = victims.map((victim, index) => ({
    call: readsOf(victim),
    from: from + index,
    to: from + index,
    run: becomeRoot(victim.target),
  }));
  const { running, interference } = watch(home, killAfter, rules);
  await waitFor(
    'each is root’s, or was ended before its turn came',
    () => victims.every(({ claude, target }) => existsSync(marker(target)) || !(isAlive(target) || isAlive(claude))),
    60_000,
  );
  const sweeps = (): number => running.log.filter((line) => line.msg === 'swept').length;
  const before = sweeps();
  await waitFor('three sweeps more', () => sweeps() > before + 3, 60_000);
  await running.stop();
  expect(running.log.filter((line) => line.event === 'sweep-failed')).toEqual([]);

  const becameRoot = victims.filter(({ target }) => existsSync(marker(target)));
  expect(becameRoot.map(({ target }) => isAlive(target))).toEqual(becameRoot.map(() => true));
  const sigkilled = interference.signals().filter(({ signal }) => signal === 'SIGKILL');
  const pids = new Set(becameRoot.map(({ target }) => target.pid));
  expect(sigkilled.filter(({ pid }) => pids.has(pid))).toEqual([]);
  // Ada's orphan is ended meanwhile.
  expect(orphan.isAlive()).toBe(false);
  for (const { target } of becameRoot) kill(target);
  return becameRoot.length;
}

describe('a process that becomes root’s by a setuid program', () => {
  test('control: becomes root with pid, start time and name as before', async () => {
    const { victims } = await startVictims('obedient', 1);
    const [victim] = victims;
    if (!victim) throw new Error('unreachable');
    execFileSync('sh', ['-c', becomeRoot(victim.target)]);
    expect(isRoots(victim.target.pid)).toBe(true);
    expect(identify(victim.target.pid)).toEqual(victim.target);
    expect(readFileSync(`/proc/${victim.target.pid}/comm`, 'utf8')).toBe('claude\n');
  });

  test('before any of the last reads before SIGTERM gets no signal', async () => {
    const reads = await countReads('obedient', '20s');
    expect(reads).toBeGreaterThan(30);
    // The reads after SIGTERM are in the count, too; such a process may be gone before its turn comes.
    expect(await becomeRootAtEach('obedient', '20s', reads - 19, reads)).toBeGreaterThan(14);
  });

  test('before any read between SIGTERM and SIGKILL is not killed', async () => {
    const toTerm = await countReads('obedient', '20s');
    const toKill = await countReads('stubborn', '300ms');
    expect(toKill).toBeGreaterThan(toTerm);
    expect(await becomeRootAtEach('stubborn', '300ms', toTerm - 2, toKill)).toBeGreaterThan(toKill - toTerm - 5);
  });

  test('below a claude that is killed is not ended as its descendant', async () => {
    const reads = await countReads('child', '300ms');
    expect(await becomeRootAtEach('child', '300ms', reads - 19, reads)).toBeGreaterThan(10);
  });
});
