import { lstatSync } from 'node:fs';
import psList from 'ps-list';
import { claudeEnvironment, looksLikeClaude, startedBySdk } from '../claude/recognise.ts';
import { daemonScript } from '../clay/daemon.ts';
import { attempt } from '../files.ts';
import type { ProcessId } from '../judge/evidence.ts';
import { isDead, readStat, type Stat } from '../proc/stat.ts';
import { readStatus, singleUid } from '../proc/status.ts';
import { readEnviron } from '../proc/strings.ts';
import type { Host } from './host.ts';

/** A `claude` of a Clay that is dead: reparented, and its environment names the Clay home that started it. */
export type Abandoned = ProcessId & { readonly uid: number; readonly home: string };

/** What a look over all processes of the machine found; it starts two `ps` processes, 15 ms (measured). */
export type TableLook = {
  /** The homes that running Clay daemons name in their environment. */
  readonly homes: readonly string[];
  readonly abandoned: readonly Abandoned[];
  /** The pids of what looks like other users' Clay daemons, when only this user's own processes were wanted. */
  readonly foreignDaemons: readonly number[];
  /** Why the table could not be looked over (no `ps` on this machine), else null. */
  readonly problem: string | null;
};

/** Looks over all processes that this user may look into, or only over its own ones. */
export async function lookOverProcesses(host: Host, onlyOwn: boolean): Promise<TableLook> {
  const processes = await psList().catch((error: Error) => error);
  if (processes instanceof Error)
    return { homes: [], abandoned: [], foreignDaemons: [], problem: `ps does not run: ${processes.message}` };
  const own = process.geteuid?.();
  const mine = processes.filter((each) => !onlyOwn || each.uid === own);
  const homes = mine.flatMap((each) =>
    each.cmd?.includes('lib/daemon.js') ? (homeOfDaemon(host, each.pid) ?? []) : [],
  );
  const abandoned = mine.flatMap((each) =>
    /(^|\/)claude( |$)/.test(each.cmd ?? '') ? (abandonedClaude(host, each.pid) ?? []) : [],
  );
  const foreignDaemons = processes
    .filter((each) => !mine.includes(each) && / \S*clay-server\/lib\/daemon\.js/.test(each.cmd ?? ''))
    .map((each) => each.pid);
  return { homes: [...new Set(homes)], abandoned, foreignDaemons, problem: null };
}

function homeOfDaemon(host: Host, pid: number): string | null {
  const script = daemonScript(host.procRoot, pid);
  if (!script.ok || script.value === null) return null;
  const environ = readEnviron(host.procRoot, pid);
  if (!environ.ok) return null;
  const home = environ.value.get('HOME');
  return claudeEnvironment(environ.value).clayHome ?? (home?.startsWith('/') ? `${home}/.clay` : null);
}

function abandonedClaude(host: Host, pid: number): Abandoned | null {
  const stat = readStat(host.procRoot, pid);
  if (!stat.ok || isDead(stat.value) || !looksLikeClaude(stat.value) || !isReparented(host, stat.value)) return null;
  const environ = readEnviron(host.procRoot, pid);
  const status = readStatus(host.procRoot, pid);
  if (!environ.ok || !status.ok) return null;
  const environment = claudeEnvironment(environ.value);
  const uid = singleUid(status.value);
  const { clayHome } = environment;
  if (uid === null || clayHome === null || !startedBySdk(environment)) return null;
  // Whoever starts a process chooses its environment, but not whose folder it names.
  const owner = attempt(clayHome, () => lstatSync(clayHome).uid);
  if (!owner.ok || owner.value !== uid) return null;
  return { pid, startTicks: stat.value.startTicks, uid, home: clayHome };
}

/** Whether a process was handed on when its parent died: to PID 1, or to the manager of its user's services. */
export function isReparented(host: Host, stat: Stat): boolean {
  if (stat.ppid === 1) return true;
  const parent = readStat(host.procRoot, stat.ppid);
  return parent.ok && parent.value.comm === 'systemd';
}
