import { readHoldsTaskLock } from '../claude/durable-tasks.ts';
import { type ClaudeEnvironment, parseClaudeEnvironment } from '../claude/process.ts';
import { hasSessionFile } from '../claude/session-file.ts';
import { BUDGET_EXHAUSTED, type UserBudget, type UserBudgets } from '../fs/user-budget.ts';
import { readChildStats } from '../proc/children.ts';
import { readEnviron } from '../proc/environ.ts';
import { readSocketFds } from '../proc/fd.ts';
import type { ProcessId } from '../proc/process-id.ts';
import { readOwner } from '../proc/process-list.ts';
import { readProcLink } from '../proc/read-file.ts';
import { hasNotRunSince, readThreadRunCounts, type ThreadRunCounts } from '../proc/schedstat.ts';
import { readStat, type Stat } from '../proc/stat.ts';
import { readStatus, type Status } from '../proc/status.ts';
import { fail, ok, type Result } from '../result.ts';
import {
  type Conversation,
  type ConversationFiles,
  type ConversationOwner,
  newConversationFiles,
  newProjectFiles,
  type ProjectFiles,
  readConversation,
  withTranscriptsOnly,
} from './conversation.ts';
import type { FileView } from './file-view.ts';
import { type Issues, valueOr } from './issues.ts';
import { isStillValid, type KeptConversation, keepConversation } from './kept-conversation.ts';
import { type ProcessTree, readProcessTree } from './process-tree.ts';

// All that is kept of processes between two sweeps, and when it is still valid. The readers of the evidence ask here and do
// not know what was read just now and what before.

/** What only the process itself can change; null: it could not be read. */
export type ProcessState = {
  readonly cwd: string | null;
  /** Whether it is the process that waits for the durable entries of its project. */
  readonly holdsTaskLock: boolean | null;
  /** Its resident memory may have changed since: the kernel can reclaim it while the process sleeps. */
  readonly status: Status | null;
  readonly tree: ProcessTree | null;
  /** The inodes of its sockets, by descriptor. */
  readonly sockets: ReadonlyMap<string, number> | null;
  /** The inodes of those that are known to be unix sockets: no socket ever becomes one of another kind. */
  readonly unixSockets: Set<number>;
};

/** Reads processes. Valid for one sweep after another; owned by the caller. */
export type ProcessCache = {
  /** The stat of a process. */
  readonly readStat: (pid: number) => Result<Stat>;
  /** The uid that owns a process, see {@link readOwner}; a process that has not run since still has the same. */
  readonly readOwner: (pid: number) => number | null;
  /** The stats of the children of a process, see {@link readChildStats}. */
  readonly readChildStats: (pid: number, budget: UserBudget) => Result<Stat[]>;
  /** The environment that a process was started with. */
  readonly readEnvironment: (stat: Stat, budget: UserBudget) => Result<ClaudeEnvironment>;
  /** Whether a process has a session file of its own; one that had it is not asked again until it executes another program. */
  readonly hasSessionFile: (stat: Stat, budget: UserBudget) => boolean;
  /** Whether a process sees the same files as this program where Claude keeps its own; once it does, it is not asked again. */
  readonly sharesFiles: (stat: Stat, view: FileView, budget: UserBudget) => Result<boolean>;
  /** The state of a process; what could not be read is recorded as an issue. `daemonPid`: of its Clay, if that runs. */
  readonly readState: (stat: Stat, daemonPid: number | null, budget: UserBudget, issues: Issues) => ProcessState;
  /** When a process began on the wall clock (ms): as it is computed now, and as it was when the process was first seen. */
  readonly startTimesMs: (id: ProcessId, nowMs: number) => readonly number[];
  /** What the files of its conversation say, see {@link readConversation}. */
  readonly readConversation: (owner: ConversationOwner, budgets: UserBudgets, issues: Issues) => Conversation;
  /**
   * The readers of the files in a project's folder, shared by all processes of which it is unknown which conversation is theirs.
   * `uid`: the user on whose budget they are read.
   */
  readonly projectFiles: (directory: string, timeZone: string | null, uid: number) => ProjectFiles;
  /** The environment and the transcript's path as they were read last, or null. */
  readonly lastSources: (
    id: ProcessId,
  ) => { readonly environment: ClaudeEnvironment; readonly transcriptPath: string | null } | null;
  /** Forgets the state of a process. */
  readonly forgetState: (id: ProcessId) => void;
  /** Forgets all processes but these and all unused project folders, but not those of users who were left alone in this sweep. */
  readonly keepOnly: (pids: ReadonlySet<number>, wasLookedFor: (uid: number) => boolean) => void;
  /** A cache that reads again all that may have changed in this process, for the last check before a signal. */
  readonly forRecheck: (id: ProcessId) => ProcessCache;
};

/** A process at rest: neither it nor a child can have changed `state` while its run counts stay the same. */
type RestingState = { readonly runCounts: ThreadRunCounts; readonly stat: Stat; readonly state: ProcessState };

type KnownProcess = {
  readonly startTicks: number;
  readonly uid: number;
  /** The name that it had when the environment was read: execve(2) changes both, and neither pid nor start time. */
  comm: string | null;
  environment: ClaudeEnvironment;
  readonly files: ConversationFiles;
  conversation: KeptConversation | null;
  hasSessionFile: boolean;
  sharesFiles: boolean;
  firstStartMs: number | null;
  unixSockets: ReadonlySet<number>;
  resting: RestingState | null;
  /** Whether its run counts were found unchanged in this sweep, so that `resting` is its state. */
  isAtRest: boolean;
  /** How often in a row its run counts were read in vain, and in how many of the next sweeps they are not read for that. */
  misses: number;
  sweepsToSkip: number;
};

/**
 * Reading the run counts takes three system calls for each of 10 to 20 threads, and every release from 0.2.118 on wakes up
 * several times a second (measured). After 1, 2, 3 and 4 misses they are read again in every 2nd, 4th, 8th and 16th sweep.
 */
const MAX_MISSES = 4;

function countMiss(process: KnownProcess): void {
  process.misses = Math.min(MAX_MISSES, process.misses + 1);
  process.sweepsToSkip = 2 ** process.misses - 1;
}

/** Whether the run counts of a process are to be read in this sweep. */
function mayRest(process: KnownProcess): boolean {
  if (process.sweepsToSkip === 0) return true;
  process.sweepsToSkip -= 1;
  return false;
}

/** The readers of one project's folder, and whether they were asked for in this sweep. */
type KnownProject = { readonly uid: number; readonly files: ProjectFiles; isUsed: boolean };

/** Makes a cache that knows no process yet. */
export function newProcessCache(procRoot: string): ProcessCache {
  return cacheOf(procRoot, new Map(), new Map());
}

function cacheOf(
  procRoot: string,
  processes: Map<number, KnownProcess>,
  projects: Map<string, KnownProject>,
): ProcessCache {
  const known = ({ pid, startTicks }: ProcessId): KnownProcess | null => {
    const process = processes.get(pid);
    return process?.startTicks === startTicks ? process : null;
  };

  const unchangedStat = (pid: number): Stat | null => {
    const process = processes.get(pid);
    if (!process?.resting) return null;
    process.isAtRest = hasNotRunSince(process.resting.runCounts);
    if (process.isAtRest) {
      process.misses = 0;
      return process.resting.stat;
    }
    process.resting = null;
    countMiss(process);
    return null;
  };

  const readEnvironment = (stat: Stat, budget: UserBudget): Result<ClaudeEnvironment> => {
    const process = known(stat);
    const isKnown = process?.comm === stat.comm;
    const environ = isKnown ? null : readEnviron(procRoot, stat.pid, budget);
    if (environ && !environ.ok) return environ;
    if (isKnown) return ok(process.environment);
    const environment = parseClaudeEnvironment(environ?.value ?? new Map());
    if (!budget.reserve(keptItems(environment))) {
      processes.delete(stat.pid);
      return fail('invalid', BUDGET_EXHAUSTED);
    }
    if (process) {
      Object.assign(process, {
        comm: stat.comm,
        environment,
        hasSessionFile: false,
        sharesFiles: false,
        resting: null,
      });
      return ok(environment);
    }
    processes.set(stat.pid, {
      startTicks: stat.startTicks,
      uid: budget.uid,
      comm: stat.comm,
      environment,
      files: newConversationFiles(),
      conversation: null,
      hasSessionFile: false,
      sharesFiles: false,
      firstStartMs: null,
      unixSockets: new Set(),
      resting: null,
      isAtRest: false,
      misses: 0,
      sweepsToSkip: 0,
    });
    return ok(environment);
  };

  const readState: ProcessCache['readState'] = (stat, daemonPid, budget, issues) => {
    const process = known(stat);
    if (process?.isAtRest && process.resting) {
      process.isAtRest = false;
      return process.resting.state;
    }
    // The run counts first: activity during the following reads is then detected in the next sweep.
    const isWanted = process !== null && mayRest(process);
    const runCounts = isWanted ? readThreadRunCounts(procRoot, stat) : null;
    const now = runCounts ? readStat(procRoot, stat.pid) : null;
    const state = readStateOf(procRoot, stat, daemonPid, process?.unixSockets ?? new Set(), budget, issues);
    if (!process) return state;
    const isSame = now?.ok && now.value.startTicks === stat.startTicks;
    process.unixSockets = state.unixSockets;
    process.resting = runCounts && isSame && canRest(state) ? { runCounts, stat: now.value, state } : null;
    if (isWanted && !process.resting) countMiss(process);
    return state;
  };

  const hasOwnSessionFile: ProcessCache['hasSessionFile'] = (stat, budget) => {
    const environment = readEnvironment(stat, budget);
    const process = known(stat);
    if (process?.hasSessionFile) return true;
    const hasOne = environment.ok && hasSessionFile(environment.value.configDir, stat.pid, budget);
    if (process) process.hasSessionFile = hasOne;
    return hasOne;
  };

  const sharesFiles = (stat: Stat, view: FileView, budget: UserBudget): Result<boolean> => {
    const process = known(stat);
    const configDir = process?.environment.configDir ?? null;
    if (!process || process.sharesFiles || configDir === null) return ok(true);
    const shared = view.isShared(stat.pid, configDir, budget);
    process.sharesFiles = shared.ok && shared.value;
    return shared;
  };

  return {
    hasSessionFile: hasOwnSessionFile,
    sharesFiles,
    readStat: (pid) => {
      const stat = unchangedStat(pid);
      return stat ? ok(stat) : readStat(procRoot, pid);
    },
    readOwner: (pid) => {
      const process = processes.get(pid);
      return process?.isAtRest ? process.uid : readOwner(procRoot, pid);
    },
    readChildStats: (pid, budget) => readChildStats(procRoot, pid, budget, unchangedStat),
    readEnvironment,
    readState,
    startTimesMs: (id, nowMs) => {
      const process = known(id);
      if (!process) return [nowMs];
      process.firstStartMs ??= nowMs;
      return [nowMs, process.firstStartMs];
    },
    readConversation: (owner, budgets, issues) => {
      const process = known(owner.process);
      if (!process) return readConversation(newConversationFiles(), owner, budgets, issues);
      const { files, conversation: kept } = process;
      if (kept && isStillValid(kept, files, owner, budgets)) return kept.conversation;
      const issuesBefore = issues.messages.length;
      const conversation = readConversation(files, owner, budgets, issues);
      const isComplete = issues.messages.length === issuesBefore;
      process.conversation = isComplete ? keepConversation(conversation, files, owner) : null;
      return conversation;
    },
    projectFiles: (directory, timeZone, uid) => {
      const key = `${uid} ${timeZone ?? ''} ${directory}`;
      const project = projects.get(key) ?? { uid, files: newProjectFiles(), isUsed: true };
      project.isUsed = true;
      projects.set(key, project);
      return project.files;
    },
    lastSources: (id) => {
      const process = known(id);
      return process && { environment: process.environment, transcriptPath: process.files.transcriptPath() };
    },
    forgetState: (id) => {
      const process = known(id);
      if (process) Object.assign(process, { resting: null, unixSockets: new Set() });
    },
    keepOnly: (pids, wasLookedFor) => {
      for (const [pid, { uid }] of processes) if (!pids.has(pid) && wasLookedFor(uid)) processes.delete(pid);
      for (const [key, project] of projects) {
        if (!project.isUsed && wasLookedFor(project.uid)) projects.delete(key);
        project.isUsed = false;
      }
    },
    forRecheck: (id) => {
      const process = known(id);
      if (!process) return newProcessCache(procRoot);
      const files = withTranscriptsOnly(process.files);
      const again = {
        ...process,
        comm: null,
        files,
        conversation: null,
        hasSessionFile: false,
        sharesFiles: false,
        resting: null,
        isAtRest: false,
      };
      const copies = [...projects].map(([key, project]): [string, KnownProject] => [key, { ...project }]);
      return cacheOf(procRoot, new Map([[id.pid, again]]), new Map(copies));
    },
  };
}

/** What is kept of a known process besides its state, in items of 100 bytes. */
export const keptItems = ({ configDir, clayHome }: ClaudeEnvironment): number =>
  10 + Math.ceil(((configDir?.length ?? 0) + (clayHome?.length ?? 0)) / 100);

/** A child's activity does not change the run counts of its parent, so a process with children is read every time. */
const canRest = ({ cwd, status, tree, sockets, holdsTaskLock }: ProcessState): boolean =>
  cwd !== null && status !== null && sockets !== null && holdsTaskLock !== null && tree?.children === 0;

function readStateOf(
  procRoot: string,
  stat: Stat,
  daemonPid: number | null,
  knownUnixSockets: ReadonlySet<number>,
  budget: UserBudget,
  issues: Issues,
): ProcessState {
  const cwd = valueOr(issues, readProcLink(`${procRoot}/${stat.pid}/cwd`));
  const status = valueOr(issues, readStatus(procRoot, stat.pid));
  const tree = valueOr(issues, readProcessTree(procRoot, stat, budget));
  const sockets = valueOr(issues, readSocketFds(procRoot, stat.pid, budget, status?.descriptorTableSize));
  const unixSockets = new Set([...(sockets?.values() ?? [])].filter((inode) => knownUnixSockets.has(inode)));
  const trusted = { procRoot, pids: daemonPid === null ? [] : [daemonPid] };
  const holdsTaskLock = valueOr(issues, readHoldsTaskLock(trusted, stat, budget));
  return { cwd, status, tree, sockets, unixSockets, holdsTaskLock };
}
