import { CLAUDE_COMM, claudeEnvironment, looksLikeClaude, startedBySdk } from '../claude/recognise.ts';
import { ok, type Result } from '../files.ts';
import { listProc, readProcText } from '../proc/read.ts';
import { isDead, readStat, type Stat } from '../proc/stat.ts';
import { readStatus } from '../proc/status.ts';
import { readEnviron } from '../proc/strings.ts';
import { isPrivileged } from './homes.ts';
import type { Host } from './host.ts';
import type { Observation } from './observe.ts';
import { isReparented } from './process-table.ts';

/** A question that decides whether a process is a candidate, and its answer; the first that does not hold decides. */
export type Check = { readonly what: string; readonly holds: boolean; readonly detail: string };

/**
 * Why a process is no candidate, in the order in which candidates are looked for. Fails with `gone` if there is no such
 * process, or as /proc fails.
 */
export function whyNoCandidate(host: Host, found: Observation, pid: number): Result<readonly Check[]> {
  const stat = readStat(host.procRoot, pid);
  if (!stat.ok) return stat;
  const checks: Check[] = [];
  for (const check of [isProcess, isLiving, isNamedClaude, belongsToClay]) {
    const outcome = check(host, found, stat.value);
    checks.push(outcome);
    if (!outcome.holds) return ok(checks);
  }
  return ok([...checks, { what: 'found', holds: false, detail: 'it came while this look was on: ask again' }]);
}

type CheckOne = (host: Host, found: Observation, stat: Stat) => Check;

/** /proc/TID leads to a thread too, but lists processes only. */
const isProcess: CheckOne = (host, _, { pid }) => {
  const what = 'a process';
  const all = listProc(host.procRoot);
  if (!all.ok || all.value.includes(String(pid)))
    return { what, holds: true, detail: `it is listed in ${host.procRoot}` };
  const status = readProcText(`${host.procRoot}/${pid}/status`);
  const leader = status.ok ? /^Tgid:\t(\d+)$/m.exec(status.value)?.[1] : undefined;
  return { what, holds: false, detail: `it is a thread of process ${leader ?? 'unknown'}` };
};

const isLiving: CheckOne = (_, __, { state, ppid }) =>
  state === 'Z' || state === 'X'
    ? {
        what: 'alive',
        holds: false,
        detail: `it is dead (a zombie) and waits for its parent, pid ${ppid}, to take note; its memory is free already`,
      }
    : { what: 'alive', holds: true, detail: `its state is ${state}` };

const isNamedClaude: CheckOne = (host, found, stat) => {
  const what = `named ${CLAUDE_COMM}`;
  if (looksLikeClaude(stat)) return { what, holds: true, detail: 'so a closer look is worth it' };
  const daemon = found.clays.find((clay) => clay.daemon.pid === stat.pid);
  if (daemon) return { what, holds: false, detail: 'it is the Clay daemon itself' };
  const above = candidateAbove(host, found, stat);
  const detail = `its name is ${stat.comm}`;
  return {
    what,
    holds: false,
    detail: above === null ? detail : `${detail}; it runs below claude ${above}, which is one: explain ${above}`,
  };
};

/** The candidate that a process runs below, or null. */
function candidateAbove(host: Host, found: Observation, stat: Stat): number | null {
  const candidates = new Set(found.candidates.map((each) => each.stat.pid));
  const seen = new Set<number>();
  for (let { ppid } = stat; ppid > 1 && !seen.has(ppid); ) {
    if (candidates.has(ppid)) return ppid;
    seen.add(ppid);
    const parent = readStat(host.procRoot, ppid);
    if (!parent.ok) return null;
    ppid = parent.value.ppid;
  }
  return null;
}

const belongsToClay: CheckOne = (host, found, stat) => {
  const what = 'of Clay';
  if (isReparented(host, stat)) return { what, holds: false, detail: whyNotAbandoned(host, found, stat) };
  const { ppid } = stat;
  if (found.clays.some((clay) => clay.daemon.pid === ppid))
    return { what, holds: true, detail: `its parent is Clay ${ppid}` };
  const parent = readStat(host.procRoot, ppid);
  const name = parent.ok && !isDead(parent.value) ? ` (${parent.value.comm})` : '';
  const clays = found.clays.map((clay) => clay.daemon.pid).join(', ');
  return {
    what,
    holds: false,
    detail: `its parent, pid ${ppid}${name}, is no Clay daemon that was found, nor a worker of one; found: ${clays || 'none'}${foreign(host, stat.pid)}`,
  };
};

/** Says whose a process is, if it is another user's and this one looks after its own only. */
function foreign(host: Host, pid: number): string {
  const status = readStatus(host.procRoot, pid);
  const uid = status.ok ? status.value.uids[1] : process.geteuid?.();
  return uid === process.geteuid?.() || isPrivileged(host.procRoot) ? '' : `; it belongs to uid ${uid}: ask as root`;
}

/** Why a process that was handed on to PID 1 is nobody's leftover that we know of. */
function whyNotAbandoned(host: Host, found: Observation, stat: Stat): string {
  const handedOn = `its parent is pid ${stat.ppid}, to which the children of the dead are handed on`;
  const environ = readEnviron(host.procRoot, stat.pid);
  if (!environ.ok) {
    return `${handedOn}, but who started it cannot be told: ${environ.failure.detail}${foreign(host, stat.pid)}`;
  }
  const environment = claudeEnvironment(environ.value);
  if (!startedBySdk(environment)) {
    const entrypoint = environment.entrypoint ?? 'not set';
    return `${handedOn}, but the Agent SDK did not start it: CLAUDE_CODE_ENTRYPOINT in its environment is ${entrypoint}`;
  }
  const { clayHome } = environment;
  if (clayHome === null)
    return `${handedOn}, but no Clay started it: its environment names no CLAY_HOME or CLAY_CONFIG`;
  const clay = found.clays.find((each) => each.daemon.home === clayHome);
  return clay
    ? `${handedOn}, but Clay ${clay.daemon.pid}, which lives in ${clayHome}, is older than it and did not leave it behind`
    : `${handedOn}, and the Clay of ${clayHome} that started it was not looked at: it is another user's, or --clay-home names others`;
}
