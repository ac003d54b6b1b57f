import { looksLikeClaude } from '../claude/recognise.ts';
import type { ClayStatus } from '../clay/api.ts';
import { type Daemon, isWorkerOf } from '../clay/daemon.ts';
import { ok, type Result } from '../files.ts';
import { readChildren } from '../proc/children.ts';
import { isDead, readStat, type Stat } from '../proc/stat.ts';
import { readStatus, singleUid } from '../proc/status.ts';
import { type FactsByProcess, statAtRest } from './facts.ts';
import type { Host } from './host.ts';

/** A living Clay, what it answered, and why the reaper cannot do its job there (null if it can). */
export type ClayLook = {
  readonly daemon: Daemon;
  readonly answer: Result<ClayStatus>;
  readonly blind: string | null;
};

/** The Clay of a candidate: a living one, or the home of one that is dead. */
export type Keeper =
  | { readonly state: 'living'; readonly look: ClayLook }
  | { readonly state: 'dead'; readonly home: string; readonly uid: number };

/** A process that is worth a closer look: named `claude`, where a process of Clay's would be. */
export type Candidate = {
  readonly stat: Stat;
  readonly keeper: Keeper;
  /** Under which uid and as whose child it has to run. */
  readonly expected: { readonly uid: number; readonly ppid: number };
};

/** The candidates among a daemon's children, and among those of its workers if it runs as root. */
export function findCandidates(host: Host, look: ClayLook, known: FactsByProcess = new Map()): Result<Candidate[]> {
  const { daemon } = look;
  const children = readChildStats(host, daemon.pid, known);
  if (!children.ok) return children.failure.why === 'gone' ? ok([]) : children;
  // While it was asked, it may have died, and these be the children of whoever has its pid now.
  const itself = readStat(host.procRoot, daemon.pid);
  if (!itself.ok) return itself.failure.why === 'gone' ? ok([]) : itself;
  if (itself.value.startTicks !== daemon.startTicks) return ok([]);
  const keeper: Keeper = { state: 'living', look };
  const candidates = claudesAmong(children.value, keeper, { uid: daemon.uid, ppid: daemon.pid });
  if (daemon.uid !== 0) return ok(candidates);

  for (const child of children.value) {
    if (isDead(child) || looksLikeClaude(child) || !isWorkerOf(host.procRoot, child, daemon)) continue;
    const status = readStatus(host.procRoot, child.pid);
    const uid = status.ok ? singleUid(status.value) : null;
    const below = readChildStats(host, child.pid, known);
    if (uid === null || !below.ok) continue;
    candidates.push(...claudesAmong(below.value, keeper, { uid, ppid: child.pid }));
  }
  return ok(candidates);
}

const claudesAmong = (children: readonly Stat[], keeper: Keeper, expected: Candidate['expected']): Candidate[] =>
  children.filter((stat) => looksLikeClaude(stat) && !isDead(stat)).map((stat) => ({ stat, keeper, expected }));

/**
 * The stat of each child of a process, as it was at the last look if the child is at rest since. A child that vanished is left
 * out, one that cannot be read is not: nobody knows what it is.
 */
export function readChildStats(host: Host, pid: number, known: FactsByProcess = new Map()): Result<Stat[]> {
  const children = readChildren(host.procRoot, pid);
  if (!children.ok) return children;
  const stats: Stat[] = [];
  for (const child of children.value) {
    const atRest = statAtRest(known, child);
    const stat = atRest ? ok(atRest) : readStat(host.procRoot, child);
    if (!stat.ok && stat.failure.why !== 'gone') return stat;
    // Since the list was read it may have died, and its pid be that of somebody who is no child of this process.
    if (stat.ok && stat.value.ppid === pid) stats.push(stat.value);
  }
  return ok(stats);
}
