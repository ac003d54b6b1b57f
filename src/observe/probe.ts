import { kill } from 'node:process';
import type { Daemon } from '../clay/daemon.ts';
import { type ClayStatus, queryStatus } from '../clay/status-socket.ts';
import type { UserBudget, UserBudgets } from '../fs/user-budget.ts';
import { readChildStats } from '../proc/children.ts';
import { readEnviron } from '../proc/environ.ts';
import { readSocketFds } from '../proc/fd.ts';
import { keyOf } from '../proc/process-id.ts';
import { readProcText } from '../proc/read-file.ts';
import { readStat } from '../proc/stat.ts';
import { readStatus, singleUid } from '../proc/status.ts';
import type { Failure, Result } from '../result.ts';

/** A Clay that runs, the status that it answered with, and what prevents the reaper from doing its job there (or null). */
export type ClayProbe = {
  readonly daemon: Daemon;
  readonly status: Result<ClayStatus>;
  readonly permissionProblem: string | null;
};

/** The Clay of a candidate: one that runs, or the home of one that is dead. */
export type ClayOwner =
  | { readonly state: 'alive'; readonly probe: ClayProbe }
  | { readonly state: 'dead'; readonly home: string; readonly uid: number };

/** Asks daemons for their status and checks the permissions once for each daemon. Kept from sweep to sweep by the caller. */
export type Prober = {
  /** Probes all daemons, side by side. */
  readonly probe: (daemons: readonly Daemon[]) => Promise<ClayProbe[]>;
};

/** Makes a prober that has probed no daemon yet. */
export function newProber(procRoot: string, budgets: UserBudgets): Prober {
  let allowed: ReadonlySet<string> = new Set();
  return {
    probe: async (daemons) => {
      const probes = await Promise.all(
        daemons.map((daemon) => probeDaemon(procRoot, daemon, budgets, allowed.has(keyOf(daemon)))),
      );
      budgets.forgetMounts();
      // A daemon with a problem is checked again in the next sweep: the administrator may have solved it.
      allowed = new Set(probes.filter((probe) => probe.permissionProblem === null).map(({ daemon }) => keyOf(daemon)));
      return probes;
    },
  };
}

async function probeDaemon(
  procRoot: string,
  daemon: Daemon,
  budgets: UserBudgets,
  isAllowed: boolean,
): Promise<ClayProbe> {
  const budget = budgets.of(daemon.uid);
  const status = await queryStatus(daemon, budget);
  const problem = isAllowed ? null : budget.run(() => checkPermissions(procRoot, daemon, status, budget));
  return { daemon, status, permissionProblem: problem };
}

/**
 * Proves that the job can be done for a Clay: descriptors and environment of its processes can be read, they can be
 * signalled, and its socket can be connected to. Tried on the daemon and on one child of every other user. Returns null, or
 * one line that says what is missing.
 */
export function checkPermissions(
  procRoot: string,
  daemon: Daemon,
  status: Result<ClayStatus>,
  budget: UserBudget,
): string | null {
  const missing: string[] = [];
  if (!readProcText(`${procRoot}/${daemon.pid}/task/${daemon.pid}/children`).ok && readStat(procRoot, daemon.pid).ok) {
    missing.push('the kernel does not list the children of a process [CONFIG_PROC_CHILDREN]');
  }
  for (const pid of [daemon.pid, ...sampleChildPerUser(procRoot, daemon, budget)]) {
    const reads = [readSocketFds(procRoot, pid, budget), readEnviron(procRoot, pid, budget)];
    const [failure] = reads.flatMap((read): Failure[] => (read.ok || isBenign(read.failure) ? [] : [read.failure]));
    if (failure) missing.push(`${failure.detail} [CAP_SYS_PTRACE]`);
    if (!canSignal(pid)) missing.push(`pid ${pid} may not be signalled [CAP_KILL]`);
  }
  if (!status.ok && status.failure.code === 'denied')
    missing.push(`${daemon.socketPath}: ${status.failure.detail} [CAP_DAC_OVERRIDE]`);
  if (missing.length === 0) return null;
  return `cannot do its job for Clay ${daemon.pid} of uid ${daemon.uid}: ${missing.join('; ')}; run it as that user, as root, or with these capabilities`;
}

/** `invalid` was readable: a Clay with thousands of processes has more descriptors than are read. */
const isBenign = ({ code }: Failure): boolean => code === 'not-found' || code === 'invalid';

function sampleChildPerUser(procRoot: string, daemon: Daemon, budget: UserBudget): number[] {
  const children = readChildStats(procRoot, daemon.pid, budget);
  const byUid = new Map<number, number>();
  for (const child of children.ok ? children.value : []) {
    const status = readStatus(procRoot, child.pid);
    const uid = status.ok ? singleUid(status.value) : null;
    if (uid !== null && uid !== daemon.uid) byUid.set(uid, child.pid);
  }
  return [...byUid.values()];
}

function canSignal(pid: number): boolean {
  try {
    return kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EPERM';
  }
}
