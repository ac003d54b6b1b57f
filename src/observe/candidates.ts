import { CLAUDE_COMM, type ClaudeEnvironment, startedBySdk } from '../claude/process.ts';
import { type Daemon, isWorkerOf } from '../clay/daemon.ts';
import { isSameHome } from '../clay/homes.ts';
import type { UserBudget, UserBudgets } from '../fs/user-budget.ts';
import { readCmdline } from '../proc/cmdline.ts';
import { readProcLink } from '../proc/read-file.ts';
import { isDead, MS_PER_TICK, readStat, type Stat } from '../proc/stat.ts';
import { readStatus, singleUid } from '../proc/status.ts';
import { ok, type Result } from '../result.ts';
import type { ClayOwner, ClayProbe } from './probe.ts';
import type { ProcessCache } from './process-cache.ts';
import { type Abandoned, isReparented } from './process-scan.ts';

/** A `claude` of a Clay, or what may be one. */
export type Candidate = {
  readonly stat: Stat;
  readonly owner: ClayOwner;
  /** The uid that it has to run under, and the parent that it has to have. */
  readonly expectedIdentity: { readonly uid: number; readonly ppid: number };
  /** Whether it is in a terminal of Clay's or of a person. Clay deletes the conversation of one that somebody else ends. */
  readonly inTerminal: boolean;
  /** What is missing for it to be placed: it looks like Claude, but is not where Clay starts one. Null: nothing. */
  readonly unplaced: string | null;
};

/** What is below a daemon beside the candidates. */
export type ClayChildren = {
  /** Shells on a terminal of their own, with or without a `claude` in them. */
  readonly terminals: number;
  /** Candidates that could not be placed. */
  readonly unplaced: number;
  /** Children that are neither a `claude`, nor a worker, nor a terminal: MCP servers, other agents, helpers. */
  readonly others: number;
  /** What was seen, if there is something that looks like Claude, and nothing of it was understood. Null otherwise. */
  readonly unknownShape: string | null;
};

/** A Clay as it was observed. */
export type ObservedClay = ClayProbe & { readonly children: ClayChildren };

const NO_CHILDREN: ClayChildren = { terminals: 0, unplaced: 0, others: 0, unknownShape: null };

/** What looking for candidates depends on. */
export type CandidateContext = {
  readonly procRoot: string;
  readonly cache: ProcessCache;
  readonly budgets: UserBudgets;
  readonly uptimeMs: number;
  /** A process younger than this may not have executed its program yet, and is not reported as something unknown. */
  readonly minAgeMs: number;
  /** Whose daemon it is below which processes are looked at. */
  readonly daemonUid?: number;
};

/** The candidates of all Clays and those that dead ones abandoned; a Clay whose children cannot be read says so. */
export function findCandidates(
  context: CandidateContext,
  probes: readonly ClayProbe[],
  abandoned: readonly Abandoned[],
): { readonly clays: readonly ObservedClay[]; readonly candidates: readonly Candidate[] } {
  const candidates: Candidate[] = [];
  const clays = probes.map((probe): ObservedClay => {
    const found = candidatesOf(context, probe);
    if (found.ok) candidates.push(...found.value.candidates);
    if (found.ok) return { ...probe, children: found.value.children };
    const permissionProblem = `cannot read the children of Clay ${probe.daemon.pid}: ${found.failure.detail}`;
    return { ...probe, permissionProblem, children: NO_CHILDREN };
  });
  return { clays, candidates: [...candidates, ...abandonedCandidates(context, probes, abandoned)] };
}

/**
 * The candidates below a daemon: its children, and the children of its workers, whose environment says that the Agent SDK started
 * them. Beside them the `claude` of terminals, and what looks like one but is elsewhere: these are never ended.
 */
export function candidatesOf(
  context: CandidateContext,
  probe: ClayProbe,
): Result<{ readonly candidates: readonly Candidate[]; readonly children: ClayChildren }> {
  const budget = context.budgets.of(probe.daemon.uid);
  if (budget.exhausted()) return ok({ candidates: [], children: NO_CHILDREN });
  return budget.run(() => candidatesWithin({ ...context, daemonUid: budget.uid }, probe));
}

function candidatesWithin(
  context: CandidateContext,
  probe: ClayProbe,
): Result<{ readonly candidates: readonly Candidate[]; readonly children: ClayChildren }> {
  const { procRoot, cache, budgets } = context;
  const { daemon } = probe;
  const nothing = ok({ candidates: [], children: NO_CHILDREN });
  const stats = cache.readChildStats(daemon.pid, budgets.of(daemon.uid));
  if (!stats.ok) return stats.failure.code === 'not-found' ? nothing : stats;
  // The daemon may have died while it was asked, and its pid may belong to another process.
  const now = readStat(procRoot, daemon.pid);
  if (!now.ok) return now.failure.code === 'not-found' ? nothing : now;
  if (now.value.startTicks !== daemon.startTicks) return nothing;

  const owner: ClayOwner = { state: 'alive', probe };
  const daemonSession = now.value.session;
  const candidates: Candidate[] = [];
  const unknown: Stat[] = [];
  let [terminals, understood] = [0, 0];
  const place = (started: Stat, uid: number, budget = budgetOf(context, started)): void => {
    const { stat, unplaced } = claudeStartedAs(context, started, budget);
    const inTerminal = stat.ttyNr !== 0 && stat.session !== daemonSession;
    candidates.push({ stat, owner, expectedIdentity: { uid, ppid: stat.ppid }, inTerminal, unplaced });
  };
  for (const stat of stats.value) {
    const budget = budgetOf(context, stat);
    if (isDead(stat) || budget.exhausted()) continue;
    if (isTerminal(stat, daemonSession)) {
      terminals += 1;
      candidates.push(...claudesInTerminal(context, stat, owner));
      continue;
    }
    // Before its environment, which a worker may have inherited from a daemon that was itself started by Claude.
    const uid = stat.comm === CLAUDE_COMM ? null : workerUid(context, stat, daemon);
    if (uid !== null) {
      understood += 1;
      for (const child of childrenOf(context, stat)) {
        if (isSdkProcess(context, child)) place(child, uid);
        else candidates.push(...unplacedClaudes(context, child, owner));
      }
    } else if (isSdkProcess(context, stat, budget)) {
      understood += 1;
      place(stat, daemon.uid, budget);
    } else if (isSettled(context, stat)) {
      unknown.push(stat);
      candidates.push(...unplacedClaudes(context, stat, owner));
    }
  }
  const unplaced = candidates.filter((candidate) => candidate.unplaced !== null);
  const isUnknown =
    understood + terminals === 0 && (unplaced.length > 0 || unknown.some((stat) => hasTraceOfClaude(context, stat)));
  const unknownShape = isUnknown ? describeShape(context, daemon, unknown, unplaced) : null;
  const children = { terminals, unplaced: unplaced.length, others: unknown.length, unknownShape };
  return ok({ candidates, children });
}

/**
 * Whether a child of the daemon is the shell of one of Clay's terminals: it leads a session of its own, on a pseudo-terminal (measured on
 * 2.17, 2.36 and 2.41). A daemon in the foreground has a terminal too, and its `claude` share that and its session.
 */
const isTerminal = ({ pid, session, ttyNr }: Stat, daemonSession: number): boolean =>
  ttyNr !== 0 && session === pid && session !== daemonSession;

/** The budget of the user who owns a process: below a root daemon there are processes of several. */
const budgetOf = ({ cache, budgets, daemonUid = 0 }: CandidateContext, { pid }: Stat): UserBudget =>
  budgets.of(daemonUid === 0 ? (cache.readOwner(pid) ?? 0) : daemonUid);

function isSdkProcess(context: CandidateContext, stat: Stat, budget = budgetOf(context, stat)): boolean {
  const environment = context.cache.readEnvironment(stat, budget);
  return environment.ok && startedBySdk(environment.value);
}

/**
 * The uid of a worker, or null for any other process. A daemon that is not root's cannot start one as another user.
 * A worker itself is never a candidate, not even without a `claude` below it: on Clay 2.36 and 2.41 it serves the next message of its
 * conversation, which was lost 6 times of 6 where the worker had been ended, and 5 of 38 where only `claude` had. It costs 22 MB
 * and no CPU, one for each conversation. That of 2.17 ends by itself.
 */
function workerUid(context: CandidateContext, stat: Stat, daemon: Daemon): number | null {
  const { procRoot } = context;
  if (!isWorkerOf(procRoot, stat, daemon, budgetOf(context, stat))) return null;
  const status = readStatus(procRoot, stat.pid);
  const uid = status.ok ? singleUid(status.value) : null;
  return daemon.uid === 0 || uid === daemon.uid ? uid : null;
}

/** The living children of a process; none if they cannot be read: it may have exited. */
function childrenOf(context: CandidateContext, stat: Stat): Stat[] {
  const stats = context.cache.readChildStats(stat.pid, budgetOf(context, stat));
  return stats.ok ? stats.value.filter((stat) => !isDead(stat)) : [];
}

const ageOf = ({ uptimeMs }: CandidateContext, { startTicks }: Stat): number => uptimeMs - startTicks * MS_PER_TICK;
const isSettled = (context: CandidateContext, stat: Stat): boolean => ageOf(context, stat) >= context.minAgeMs;

/** A terminal has a shell and a `claude`, and perhaps a shell between; a helper of a later release might have a few more levels. */
const MAX_DEPTH = 4;

/** No Clay has so many processes below one child that are not below a `claude`. */
const MAX_SEARCHED = 64;

/** The processes from `root` downwards that `isWanted`, without those below them. */
function search(context: CandidateContext, root: Stat, isWanted: (stat: Stat) => boolean): Stat[] {
  const found: Stat[] = [];
  let level = [root];
  for (let [depth, searched] = [0, 0]; depth <= MAX_DEPTH && level.length > 0; depth++) {
    const next: Stat[] = [];
    for (const stat of level) {
      if (++searched > MAX_SEARCHED) return found;
      if (isWanted(stat)) found.push(stat);
      else if (depth < MAX_DEPTH) next.push(...childrenOf(context, stat));
    }
    level = next;
  }
  return found;
}

/** Whether a process is a `claude` by its name or by a session file of its own, no matter what started it. */
function looksLikeClaude(context: CandidateContext, stat: Stat): boolean {
  return stat.comm === CLAUDE_COMM || hasOwnSessionFile(context, stat);
}

/**
 * The `claude` that the Agent SDK started by a command: the process itself, or, where the command is a wrapper that waits for the
 * real one (a shell script without exec, a version manager's shim), what runs below on the same stdin. A wrapper has no session
 * file; sockets, session file and transcript are those of the real one, and with that the wrapper ends too (measured on 2.41.1).
 */
function claudeStartedAs(
  context: CandidateContext,
  started: Stat,
  budget: UserBudget,
): { stat: Stat; unplaced: string | null } {
  if (hasOwnSessionFile(context, started, budget)) return { stat: started, unplaced: null };
  const below = childrenOf(context, started).flatMap((child) =>
    search(context, child, (stat) => isRealClaude(context, stat)),
  );
  const real = below.find((stat) => sharesStdin(context, stat, started));
  if (real) return { stat: real, unplaced: null };
  const [other] = below;
  if (!other) return { stat: started, unplaced: null };
  const unplaced = `the Agent SDK started it, but it has no session file, and pid ${other.pid} below it has one: it may only wrap that`;
  return { stat: started, unplaced };
}

function sharesStdin({ procRoot }: CandidateContext, one: Stat, other: Stat): boolean {
  const [stdin, others] = [one, other].map(({ pid }) => readProcLink(`${procRoot}/${pid}/fd/0`));
  return stdin?.ok === true && others?.ok === true && stdin.value === others.value && stdin.value.includes(':[');
}

/** Whether a process below a wrapper is the `claude`; a tool of a `claude` may start another one. */
function isRealClaude(context: CandidateContext, stat: Stat): boolean {
  const environment = context.cache.readEnvironment(stat, budgetOf(context, stat));
  if (!environment.ok || !startedBySdk(environment.value) || environment.value.insideTool) return false;
  return hasOwnSessionFile(context, stat);
}

const hasOwnSessionFile = (context: CandidateContext, stat: Stat, budget = budgetOf(context, stat)): boolean =>
  context.cache.hasSessionFile(stat, budget);

function claudesInTerminal(context: CandidateContext, shell: Stat, owner: ClayOwner): Candidate[] {
  const claudes = search(context, shell, (stat) => looksLikeClaude(context, stat));
  return claudes.map((stat) => ({
    stat,
    owner,
    expectedIdentity: { uid: uidOf(context, stat), ppid: stat.ppid },
    inTerminal: true,
    unplaced: null,
  }));
}

/** Uids of a process that differ are found wrong when the evidence is collected. */
function uidOf({ procRoot }: CandidateContext, { pid }: Stat): number {
  const status = readStatus(procRoot, pid);
  return status.ok ? status.value.uids[1] : -1;
}

/** Processes that look like Claude, but are not where Clay is known to start one; nothing below a `claude` is looked at. */
function unplacedClaudes(context: CandidateContext, root: Stat, owner: ClayOwner): Candidate[] {
  if (!isSettled(context, root)) return [];
  const claudes = search(context, root, (stat) => isSdkProcess(context, stat) || looksLikeClaude(context, stat));
  return claudes.flatMap((stat): Candidate[] => {
    if (!isSettled(context, stat)) return [];
    const unplaced = whyUnplaced(context, stat);
    const expectedIdentity = { uid: uidOf(context, stat), ppid: stat.ppid };
    return [{ stat, owner, expectedIdentity, inTerminal: false, unplaced }];
  });
}

function whyUnplaced(context: CandidateContext, stat: Stat): string {
  const { procRoot, cache } = context;
  const environment = cache.readEnvironment(stat, budgetOf(context, stat));
  if (!environment.ok) return `it looks like Claude, but ${environment.failure.detail}`;
  if (!startedBySdk(environment.value)) {
    const entrypoint = environment.value.entrypoint ?? 'not set';
    return `it looks like Claude, but CLAUDE_CODE_ENTRYPOINT in its environment is ${entrypoint}: the Agent SDK did not start it`;
  }
  const parent = readStat(procRoot, stat.ppid);
  const name = parent.ok ? parent.value.comm : 'gone';
  return `the Agent SDK started it, but its parent, pid ${stat.ppid} (${name}), is neither its Clay nor a known worker of it`;
}

/** Whether environment or command line of a process have to do with Claude; MCP servers and other agents have nothing of it. */
function hasTraceOfClaude(context: CandidateContext, stat: Stat): boolean {
  const environment = context.cache.readEnvironment(stat, budgetOf(context, stat));
  if (environment.ok && isOfClaude(environment.value)) return true;
  const cmdline = readCmdline(context.procRoot, stat.pid, budgetOf(context, stat));
  return cmdline.ok && cmdline.value.some((word) => /(^|\/)claude($|[-/.])/.test(word.slice(0, MAX_WORD)));
}

const isOfClaude = ({ entrypoint, sdkVersion }: ClaudeEnvironment): boolean =>
  entrypoint !== null || sdkVersion !== null;

/** limits.h, PATH_MAX. */
const MAX_WORD = 4096;

/** Names that are shown of each kind; there may be many processes of one kind. */
const MAX_SHOWN = 5;

function describeShape(
  context: CandidateContext,
  { pid, installation }: Daemon,
  unknown: readonly Stat[],
  unplaced: readonly Candidate[],
): string {
  const describe = (stats: readonly Stat[]): string =>
    stats
      .slice(0, MAX_SHOWN)
      .map((stat) => `${stat.comm} (pid ${stat.pid}, below pid ${stat.ppid})`)
      .join(', ');
  const claudes = unplaced.map(({ stat }) => stat);
  const sdks = claudes.flatMap((stat) => {
    const environment = context.cache.readEnvironment(stat, budgetOf(context, stat));
    return environment.ok ? (environment.value.sdkVersion ?? []) : [];
  });
  const children = unknown.filter((stat) => !claudes.includes(stat));
  const seen = [
    ...(claudes.length > 0 ? [describe(claudes)] : []),
    ...(children.length > 0 ? [describe(children)] : []),
  ];
  const releases = `Clay ${installation.release ?? 'of unknown release'}, Agent SDK ${sdks[0] ?? 'unknown'}`;
  return `Clay ${pid} has processes of a shape that this release of clay-reaper does not know, and they are left alone: ${seen.join('; ')}; ${releases}; please report this line and the output of: ps -o pid,ppid,uid,tty,sid,comm,args --ppid ${pid}`;
}

/**
 * The abandoned processes that are still there. Those that started after the Clay that runs in the same home are skipped: an
 * earlier Clay cannot have left them.
 */
function abandonedCandidates(
  { procRoot, cache, budgets }: CandidateContext,
  probes: readonly ClayProbe[],
  abandoned: readonly Abandoned[],
): Candidate[] {
  return abandoned.flatMap(({ pid, startTicks, uid, home }): Candidate[] => {
    const budget = budgets.of(uid);
    if (budget.exhausted()) return [];
    const stat = cache.readStat(pid);
    if (!stat.ok || stat.value.startTicks !== startTicks || !isReparented(procRoot, stat.value)) return [];
    const running = probes.find(({ daemon }) => isSameHome(daemon.home, home, budget));
    if (running && running.daemon.startTicks <= startTicks) return [];
    const owner = { state: 'dead', home, uid } as const;
    const inTerminal = stat.value.ttyNr !== 0;
    return [{ stat: stat.value, owner, expectedIdentity: { uid, ppid: stat.value.ppid }, inTerminal, unplaced: null }];
  });
}
