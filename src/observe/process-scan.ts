import { lstatSync } from 'node:fs';
import { basename } from 'node:path';
import { CLAUDE_COMM, parseClaudeEnvironment, startedBySdk } from '../claude/process.ts';
import { hasSessionFile } from '../claude/session-file.ts';
import { CONTAINER_ADVICE, homesOfDaemon } from '../clay/daemon.ts';
import { CLAY_PACKAGE, checkPackage, daemonInstallation, runsSetuidProgram } from '../clay/installation.ts';
import { sudoUidOf } from '../clay/sudo-user.ts';
import { readPasswd } from '../fs/passwd.ts';
import type { UserBudget, UserBudgets } from '../fs/user-budget.ts';
import { readEnviron } from '../proc/environ.ts';
import type { ProcessId } from '../proc/process-id.ts';
import { listProcesses, type ProcessEntry, readOwner } from '../proc/process-list.ts';
import { readProcLink } from '../proc/read-file.ts';
import { isDead, readStat, type Stat } from '../proc/stat.ts';
import { readStatus, type Status, singleUid } from '../proc/status.ts';
import { attempt } from '../result.ts';

/** A `claude` of a Clay that is dead: reparented, and its environment names the Clay home that started it. */
export type Abandoned = ProcessId & { readonly uid: number; readonly home: string };

/** A process that may be a Clay daemon, by its command line. */
export type ScannedDaemon = {
  readonly pid: number;
  readonly ppid: number;
  /** The homes that it may have, by its environment; none if that cannot be read. */
  readonly homes: readonly string[];
  /** Whether a JavaScript runtime runs the daemon of a trusted package: an editor has the same words in its command line. */
  readonly isClay: boolean;
};

/** What a scan of the process table found. */
export type ProcessScan = {
  readonly daemons: readonly ScannedDaemon[];
  readonly abandoned: readonly Abandoned[];
  /** The pids of what looks like Clay daemons of other users, if only this user's own processes were wanted. */
  readonly foreignDaemons: readonly number[];
  /** A sentence about the Clays of containers, which are left alone; null if there are none. */
  readonly inContainers: string | null;
  /** Why the process table could not be read, else null. */
  readonly problem: string | null;
};

/** Whether a command line may be that of a daemon: lib/daemon.js, or the command line tool itself with `--debug`. */
const mayBeDaemon = (cmd: string): boolean =>
  cmd.includes('lib/daemon.js') ||
  (cmd.includes(' --debug') && (cmd.includes('bin/cli.js') || cmd.includes(`/${CLAY_PACKAGE}`)));

/** Each home is looked at in every sweep, and a user can start processes that name any number of them. */
const MAX_HOMES_PER_USER = 32;

/**
 * Scans all processes that this user may look into, or only its own ones. `findDaemon`: a daemon has to be found, so
 * `ps-list` lists the processes where it can; else /proc does, which takes less.
 */
export async function scanProcesses(
  procRoot: string,
  { onlyOwn, findDaemon, trustedPackages, budgets }: ScanOptions,
): Promise<ProcessScan> {
  const listed = await listProcesses(procRoot, {
    withPs: findDaemon,
    budgets,
    isWanted: mayBeDaemon,
  });
  if (!listed.ok)
    return { daemons: [], abandoned: [], foreignDaemons: [], inContainers: null, problem: listed.failure.detail };
  const scan = { daemons: [] as ScannedDaemon[], foreignDaemons: [] as number[] };
  const inContainers: number[] = [];
  const homeCounts = new Map<number, number>();
  for (const { pid, ppid, cmd } of listed.value) {
    const budget = cmd === '' ? null : budgetOf(procRoot, pid, budgets);
    const status = budget && readStatus(procRoot, pid);
    if (!budget || !status?.ok) continue;
    const isOthers = onlyOwn && !isOwn(status.value);
    const isElsewhere = isOthers || status.value.pidNamespaceDepth > 1;
    const isTrusted = budget.run(() => isTrustedDaemon(procRoot, pid, trustedPackages, budget));
    if (isElsewhere && !isTrusted) continue;
    if (isOthers) scan.foreignDaemons.push(pid);
    else if (isElsewhere) inContainers.push(pid);
    else {
      // A package that is not trusted is refused by name when its home is probed.
      const count = homeCounts.get(budget.uid) ?? 0;
      if (count >= MAX_HOMES_PER_USER) continue;
      const homes = budget.run(() => homesOfDaemon(procRoot, pid, budget));
      homeCounts.set(budget.uid, count + homes.length);
      scan.daemons.push({ pid, ppid, homes, isClay: isTrusted && mayBeRuntime(procRoot, pid) });
    }
  }
  const abandoned = adopted(procRoot, listed.value).flatMap(({ pid }) => {
    const budget = budgetOf(procRoot, pid, budgets);
    return budget?.run(() => abandonedClaude(procRoot, pid, onlyOwn, budget)) ?? [];
  });
  return { ...scan, abandoned, inContainers: describeContainers(inContainers), problem: null };
}

/** What to scan for. */
export type ScanOptions = {
  readonly onlyOwn: boolean;
  readonly findDaemon: boolean;
  readonly trustedPackages: readonly string[];
  readonly budgets: UserBudgets;
};

/** The budget of the user who owns a process; null if that is exhausted, or the process is gone. */
function budgetOf(procRoot: string, pid: number, budgets: UserBudgets): UserBudget | null {
  const uid = readOwner(procRoot, pid);
  const budget = uid === null ? null : budgets.of(uid);
  return budget?.exhausted() ? null : budget;
}

const isOwn = ({ uids }: Status): boolean => uids[1] === process.geteuid?.();

function isTrustedDaemon(
  procRoot: string,
  pid: number,
  trustedPackages: readonly string[],
  budget: UserBudget,
): boolean {
  const installation = daemonInstallation(procRoot, pid, budget);
  return installation.ok && installation.value !== null && checkPackage(installation.value, trustedPackages).ok;
}

/** Whether a process runs a JavaScript runtime; true where that cannot be told. */
function mayBeRuntime(procRoot: string, pid: number): boolean {
  const exe = readProcLink(`${procRoot}/${pid}/exe`);
  return !exe.ok || /^(node|bun|deno)/.test(basename(exe.value));
}

/** Any user can start any number of them. */
const MAX_SHOWN = 3;

function describeContainers(pids: readonly number[]): string | null {
  if (pids.length === 0) return null;
  const more = pids.length > MAX_SHOWN ? ` and ${pids.length - MAX_SHOWN} more` : '';
  const list = `${pids.slice(0, MAX_SHOWN).join(', ')}${more}`;
  const subject =
    pids.length === 1 ? `Clay ${list} was left alone: it runs` : `Clays ${list} were left alone: they run`;
  return `${subject} in a container (another pid namespace); ${CONTAINER_ADVICE}`;
}

/** The processes whose parent is PID 1 or the manager of a user's services, which are the only ones that adopt. */
function adopted(procRoot: string, entries: readonly ProcessEntry[]): ProcessEntry[] {
  const isManager = ({ pid }: ProcessEntry): boolean => {
    const stat = readStat(procRoot, pid);
    return stat.ok && stat.value.comm === 'systemd';
  };
  const managers = new Set(
    entries
      .filter(({ ppid }) => ppid === 1)
      .filter(isManager)
      .map(({ pid }) => pid),
  );
  return entries.filter(({ ppid }) => ppid === 1 || managers.has(ppid));
}

function abandonedClaude(procRoot: string, pid: number, onlyOwn: boolean, budget: UserBudget): Abandoned | null {
  const stat = readStat(procRoot, pid);
  if (!stat.ok || isDead(stat.value) || !isReparented(procRoot, stat.value)) return null;
  const environ = readEnviron(procRoot, pid, budget);
  const status = readStatus(procRoot, pid);
  if (!environ.ok || !status.ok) return null;
  if (onlyOwn && !isOwn(status.value)) return null;
  const environment = parseClaudeEnvironment(environ.value);
  const uid = singleUid(status.value);
  const { clayHome, configDir } = environment;
  if (uid === null || clayHome === null || !startedBySdk(environment)) return null;
  // What a claude has started inherits its environment: MCP servers, and with CLAUDECODE the programs that its tools run.
  if (environment.insideTool) return null;
  if (stat.value.comm !== CLAUDE_COMM && !hasSessionFile(configDir, pid, budget)) return null;
  // A process's environment is chosen by the user who starts it; the owner of the folder that it names is not.
  if (!budget.checkPath(clayHome).ok) return null;
  const owner = attempt(clayHome, () => lstatSync(clayHome).uid);
  if (!owner.ok || !(owner.value === uid || (uid === 0 && isBehindSudo(owner.value, environ.value)))) return null;
  if (runsSetuidProgram(procRoot, pid, budget)) return null;
  if (!budget.reserve(1 + Math.ceil(clayHome.length / 100))) return null;
  return { pid, startTicks: stat.value.startTicks, uid, home: clayHome };
}

/** Whether an environment names a user as the one behind sudo, who may own the folder of root's Clay. */
function isBehindSudo(uid: number, environ: ReadonlyMap<string, string>): boolean {
  const sudoUid = sudoUidOf(environ, readPasswd());
  return sudoUid.ok && sudoUid.value === uid;
}

/**
 * Whether a process was reparented when its parent died: to PID 1, or to the manager of its user's services. PID 1 of a
 * container may be Clay itself, and then its `claude` are ordinary children: they are in its session, which the children
 * of a dead daemon are not.
 */
export function isReparented(procRoot: string, { ppid, session }: Stat): boolean {
  const parent = readStat(procRoot, ppid);
  if (ppid === 1) return parent.ok ? parent.value.session !== session : parent.failure.code === 'not-found';
  return parent.ok && parent.value.comm === 'systemd';
}
