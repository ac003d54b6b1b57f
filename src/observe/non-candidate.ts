import { parseClaudeEnvironment, startedBySdk } from '../claude/process.ts';
import { isWorkerOf } from '../clay/daemon.ts';
import { isPrivileged } from '../clay/homes.ts';
import type { UserBudget } from '../fs/user-budget.ts';
import { readEnviron } from '../proc/environ.ts';
import { readOwner } from '../proc/process-list.ts';
import { listProcDirectory, readProcText } from '../proc/read-file.ts';
import { isDead, readStat, type Stat } from '../proc/stat.ts';
import { readStatus } from '../proc/status.ts';
import { ok, type Result } from '../result.ts';
import type { Observation } from './observe.ts';
import { isReparented } from './process-scan.ts';

/** A question that decides whether a process is a candidate, and its answer; the first that does not hold decides. */
export type Check = { readonly what: string; readonly holds: boolean; readonly detail: string };

/**
 * Why a process is no candidate, in the order in which candidates are looked for. Fails with `not-found` if there is no
 * such process, or as /proc fails.
 */
export function explainNonCandidate(procRoot: string, found: Observation, pid: number): Result<readonly Check[]> {
  const stat = readStat(procRoot, pid);
  if (!stat.ok) return stat;
  const checks: Check[] = [];
  for (const check of [isProcess, isLiving, belongsToClay, isStartedBySdk]) {
    const outcome = check(procRoot, found, stat.value);
    checks.push(outcome);
    if (!outcome.holds) return ok(checks);
  }
  return ok([
    ...checks,
    { what: 'found', holds: false, detail: 'it appeared during this assessment: run explain again' },
  ]);
}

type CheckFn = (procRoot: string, found: Observation, stat: Stat) => Check;

/** /proc/TID leads to a thread too, but lists processes only. */
const isProcess: CheckFn = (procRoot, _, { pid }) => {
  const what = 'a process';
  const all = listProcDirectory(procRoot);
  if (!all.ok || all.value.includes(String(pid))) return { what, holds: true, detail: `it is listed in ${procRoot}` };
  const status = readProcText(`${procRoot}/${pid}/status`);
  const leader = status.ok ? /^Tgid:\t(\d+)$/m.exec(status.value)?.[1] : undefined;
  return { what, holds: false, detail: `it is a thread of process ${leader ?? 'unknown'}` };
};

const isLiving: CheckFn = (_, __, { state, ppid }) =>
  state === 'Z' || state === 'X'
    ? {
        what: 'alive',
        holds: false,
        detail: `it is dead (a zombie) and waits for its parent, pid ${ppid}, to take note; its memory is free already`,
      }
    : { what: 'alive', holds: true, detail: `its state is ${state}` };

/** The candidate that a process runs below, or null. */
function candidateAbove(procRoot: string, found: Observation, stat: Stat): number | null {
  const candidates = new Set(found.candidates.map(({ stat: { pid } }) => pid));
  const seen = new Set<number>();
  for (let { ppid } = stat; ppid > 1 && !seen.has(ppid); ) {
    if (candidates.has(ppid)) return ppid;
    seen.add(ppid);
    const parent = readStat(procRoot, ppid);
    if (!parent.ok) return null;
    ppid = parent.value.ppid;
  }
  return null;
}

/** The budget of the user who owns a process. */
const budgetOf = (procRoot: string, { budgets }: Observation, pid: number): UserBudget =>
  budgets.of(readOwner(procRoot, pid) ?? 0);

const belongsToClay: CheckFn = (procRoot, found, stat) => {
  const what = 'of Clay';
  const { pid, ppid } = stat;
  const no = (detail: string): Check => ({ what, holds: false, detail });
  const clays = found.clays.map(({ daemon }) => daemon);
  if (clays.some((daemon) => daemon.pid === pid)) return no('it is the Clay daemon itself');
  const above = candidateAbove(procRoot, found, stat);
  if (above !== null)
    return no(`its name is ${stat.comm}; it runs below claude ${above}, which is one: explain ${above}`);
  const own = clays.find((daemon) => daemon.pid === ppid);
  if (own && isWorkerOf(procRoot, stat, own, budgetOf(procRoot, found, pid)))
    return no(`it is a worker of Clay ${ppid}, which Clay needs and ends itself`);
  if (own && stat.ttyNr !== 0 && stat.session === pid) return no(`it is the shell of a terminal of Clay ${ppid}`);
  const below = found.candidates.find(
    ({ unplaced, inTerminal, stat }) => unplaced === null && !inTerminal && stat.ppid === pid,
  );
  if (below) return no(`it only started claude ${below.stat.pid} and waits for it: explain ${below.stat.pid}`);
  if (own) return { what, holds: true, detail: `its parent is Clay ${ppid}` };
  const parent = readStat(procRoot, ppid);
  const grandparent = parent.ok ? clays.find((daemon) => daemon.pid === parent.value.ppid) : undefined;
  if (parent.ok && grandparent && isWorkerOf(procRoot, parent.value, grandparent, budgetOf(procRoot, found, ppid)))
    return { what, holds: true, detail: `its parent, pid ${ppid}, is a worker of Clay ${grandparent.pid}` };
  if (isReparented(procRoot, stat)) return no(whyNotAbandoned(procRoot, found, stat));
  const name = parent.ok && !isDead(parent.value) ? ` (${parent.value.comm})` : '';
  const list = clays.map((daemon) => daemon.pid).join(', ') || 'none';
  const note = otherUserNote(procRoot, pid);
  return no(
    `its parent, pid ${ppid}${name}, is neither a Clay daemon that was found nor a worker of one; found: ${list}${note}`,
  );
};

const isStartedBySdk: CheckFn = (procRoot, found, { pid }) => {
  const what = 'of the SDK';
  const environ = readEnviron(procRoot, pid, budgetOf(procRoot, found, pid));
  if (!environ.ok) return { what, holds: false, detail: environ.failure.detail };
  const environment = parseClaudeEnvironment(environ.value);
  const entrypoint = environment.entrypoint ?? 'not set';
  return {
    what,
    holds: startedBySdk(environment),
    detail: `CLAUDE_CODE_ENTRYPOINT in its environment is ${entrypoint}`,
  };
};

/** Says whose a process is, if it is another user's and this one looks after its own only. */
function otherUserNote(procRoot: string, pid: number): string {
  const status = readStatus(procRoot, pid);
  const uid = status.ok ? status.value.uids[1] : process.geteuid?.();
  return uid === process.geteuid?.() || isPrivileged(procRoot) ? '' : `; it belongs to uid ${uid}: ask as root`;
}

/** Why a reparented process does not count as left behind by a dead Clay. */
function whyNotAbandoned(procRoot: string, found: Observation, stat: Stat): string {
  const handedOn = `its parent is pid ${stat.ppid}, to which the children of the dead are handed on`;
  const environ = readEnviron(procRoot, stat.pid, budgetOf(procRoot, found, stat.pid));
  if (!environ.ok) {
    return `${handedOn}, but what started it is unknown: ${environ.failure.detail}${otherUserNote(procRoot, stat.pid)}`;
  }
  const environment = parseClaudeEnvironment(environ.value);
  if (!startedBySdk(environment)) {
    const entrypoint = environment.entrypoint ?? 'not set';
    return `${handedOn}, but the Agent SDK did not start it: CLAUDE_CODE_ENTRYPOINT in its environment is ${entrypoint}`;
  }
  const { clayHome } = environment;
  if (clayHome === null)
    return `${handedOn}, but no Clay started it: its environment names no CLAY_HOME or CLAY_CONFIG`;
  const clay = found.clays.find(({ daemon }) => daemon.home === clayHome);
  return clay
    ? `${handedOn}, but Clay ${clay.daemon.pid}, which lives in ${clayHome}, is older than it and did not leave it behind`
    : `${handedOn}, and the Clay of ${clayHome} that started it was not looked at: it is another user's, or --clay-home names others`;
}
