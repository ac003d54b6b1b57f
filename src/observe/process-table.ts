import { lstatSync } from 'node:fs';
import { CLAUDE_COMM, claudeEnvironment, looksLikeClaude, startedBySdk } from '../claude/recognise.ts';
import { daemonScript } from '../clay/daemon.ts';
import { attempt, type Failure } from '../files.ts';
import type { ProcessId } from '../judge/evidence.ts';
import { listProc } from '../proc/read.ts';
import { isDead, readStat, type Stat } from '../proc/stat.ts';
import { readStatus, singleUid } from '../proc/status.ts';
import { readCmdline, readEnviron } from '../proc/strings.ts';
import type { Host } from './host.ts';

/** A `claude` of a Clay that is dead: reparented, and its environment names the Clay home that started it. */
export type Abandoned = ProcessId & { readonly uid: number; readonly home: string };

/** What a look over all processes of the machine found. */
export type TableLook = {
  /** The homes that running Clay daemons name in their environment. */
  readonly homes: readonly string[];
  readonly abandoned: readonly Abandoned[];
  /** The pids of what looks like other users' Clay daemons, when only this user's own processes were wanted. */
  readonly foreignDaemons: readonly number[];
  /** Why the table could not be looked over (no `ps` on this machine), else null. */
  readonly problem: string | null;
};

/**
 * Looks over all processes that this user may look into, or only over its own ones. `noDaemonYet`: a daemon has to be found,
 * and `ps-list` is what finds it; else it is about what dead daemons left behind, and /proc alone tells that for less.
 */
export async function lookOverProcesses(host: Host, onlyOwn: boolean, noDaemonYet: boolean): Promise<TableLook> {
  const listed = (noDaemonYet ? await listByPs() : null) ?? listByHand(host);
  if (!Array.isArray(listed)) return { homes: [], abandoned: [], foreignDaemons: [], problem: listed.detail };
  const processes: readonly Listed[] = listed;
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

/** A process as far as it takes to see whether a closer look is worth it. */
type Listed = { readonly pid: number; readonly uid?: number | undefined; readonly cmd?: string | undefined };

/**
 * `ps-list` takes what `ps` prints into memory as a whole: up to 64 MB of command lines, which any user can make so long, and
 * several times that to split it. The heap of the service is kept small, and one that is full ends the program.
 */
const HEAP_FOR_PS_LIST_BYTES = 512 * 1024 * 1024;

/** The processes by `ps`; null where there is none, or too little memory for it. */
async function listByPs(): Promise<Listed[] | null> {
  const { getHeapStatistics } = await import('node:v8');
  if (getHeapStatistics().heap_size_limit < HEAP_FOR_PS_LIST_BYTES) return null;
  const { default: psList } = await import('ps-list');
  return psList().catch(() => null);
}

/** What says what a process is stands at the beginning. */
const MAX_COMMAND_LINE = 4096;

/** The same from /proc itself. */
function listByHand(host: Host): Listed[] | Failure {
  const names = listProc(host.procRoot);
  if (!names.ok) return names.failure;
  return names.value.flatMap((name): Listed[] => {
    const pid = Number(name);
    const cmdline = Number.isInteger(pid) ? readCmdline(host.procRoot, pid) : null;
    if (!cmdline?.ok) return [];
    const cmd = cmdline.value.join(' ').slice(0, MAX_COMMAND_LINE);
    if (!cmd.includes('lib/daemon.js') && !cmd.includes(CLAUDE_COMM)) return [];
    const status = readStatus(host.procRoot, pid);
    // A part of a string keeps the whole of it in memory; these are short.
    return [{ pid, uid: status.ok ? status.value.uids[1] : undefined, cmd: structuredClone(cmd) }];
  });
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
