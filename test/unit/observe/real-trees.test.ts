import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { candidatesOf, type ObservedClay } from '../../../src/observe/candidates.ts';
import { newProcessCache } from '../../../src/observe/process-cache.ts';
import { MS_PER_TICK } from '../../../src/proc/stat.ts';
import { clayLook } from '../../helpers/assessment.ts';
import { noLimits } from '../../helpers/budget.ts';
import { type FakeProc, type FakeProcess, fakeProc } from '../../helpers/fake-proc.ts';

// The processes below real daemons, each with an idle claude and others at work, as /proc showed them (see CONTRIBUTING,
// "Take a capture"). Of environments there is what concerns Clay, Claude and sudo; long command lines end with an ellipsis.

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});
afterEach(() => proc.end());

type Captured = FakeProcess & { readonly uid: number; readonly startTicks: number };

/** The processes of a capture, the daemon first. */
function readTree(name: string): Captured[] {
  const text = readFileSync(new URL(`../../fixtures/captures/trees/${name}.txt`, import.meta.url), 'utf8');
  const row =
    /^ *pid (\d+) comm (\S+) state (\S) ppid (\d+) sid (\d+) pgid \d+ tty (\d+) start (\d+) uids (\d+) .*\n.*\n *cmdline (.*)\n *env(.*)$/gm;
  const processes = [...text.matchAll(row)].map((fields): Captured => {
    const [pid, ppid, session, ttyNr, startTicks, uid] = [1, 4, 5, 6, 7, 8].map((nr) => Number(fields[nr])) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const variables = [...(fields[10] ?? '').matchAll(/ ([^= ]+)=(\S*)/g)].map(([, name = '', value = '']) => [
      name,
      value,
    ]);
    // The homes of this machine are none of theirs: nobody but root can tell whether there is a session file in /root.
    const environ = Object.fromEntries(
      variables.map(([name = '', value = '']) => [name, name === 'HOME' ? `/nonexistent${value}` : value]),
    );
    const [comm = '', state = ''] = [fields[2], fields[3]];
    return { pid, comm, state, ppid, session, ttyNr, startTicks, uid, cmdline: (fields[9] ?? '').split(' '), environ };
  });
  return processes.map((process) => ({
    ...process,
    children: [processes.filter(({ ppid }) => ppid === process.pid).map(({ pid }) => pid)],
  }));
}

function candidatesIn(name: string) {
  const tree = readTree(name);
  for (const process of tree) proc.put(process);
  const [daemon] = tree;
  if (!daemon) throw new Error(`${name} is empty`);
  const look = clayLook();
  const { pid, startTicks, uid } = daemon;
  const clay: ObservedClay = { ...look, daemon: { ...look.daemon, pid, startTicks, uid } };
  const uptimeMs = Math.max(...tree.map((process) => process.startTicks)) * MS_PER_TICK + 120_000;
  const context = { procRoot: proc.root, cache: newProcessCache(proc.root), budgets: noLimits, uptimeMs, minAgeMs: 0 };
  const found = candidatesOf(context, clay);
  if (!found.ok) throw new Error(found.failure.detail);
  const rows = found.value.candidates.map(({ stat, expectedIdentity, inTerminal, unplaced }) => {
    if (unplaced !== null) return unplaced;
    return `${stat.comm} of uid ${expectedIdentity.uid}${inTerminal ? ' in a terminal' : ''}`;
  });
  return { rows: rows.sort(), children: found.value.children };
}

const repeat = (row: string, count: number): string[] => Array.from({ length: count }, () => row);

describe('candidatesOf on real process trees', () => {
  it.each([
    ['2.17-os-users', repeat('claude of uid 1014', 5), 1],
    ['2.36.1-os-users', repeat('claude of uid 1013', 5), 0],
    ['2.41.1-os-users-sudo', [...repeat('claude of uid 1015', 5), 'claude of uid 1015 in a terminal'], 1],
    ['2.36.1-single-user', repeat('claude of uid 0', 6), 1],
    ['2.36.1-sudo', repeat('claude of uid 0', 6), 0],
    ['2.41.1-single-user', [...repeat('claude of uid 0', 6), 'claude of uid 0 in a terminal'], 2],
    ['2.41.1-os-users-high-uid', repeat('claude of uid 70007', 4), 0],
    ['2.41.1-native', repeat('2.1.141 of uid 0', 5), 0],
    // Daemon and claude have the terminal of the person who started them; only the shell leads another session.
    ['2.41.1-dev', [...repeat('claude of uid 0', 3), 'claude of uid 0 in a terminal'], 1],
    ['2.41.1-debug', [...repeat('claude of uid 0', 3), 'claude of uid 0 in a terminal'], 1],
  ])('places each process of %s', (name, expected, terminals) => {
    const { rows, children } = candidatesIn(name);
    expect(rows).toEqual(expected);
    expect(children).toEqual({ terminals, unplaced: 0, others: 0, unknownShape: null });
  });
});
