import { hasDurableTasks } from '../claude/durable-tasks.ts';
import { CLAUDE_COMM, type ClaudeEnvironment, startedBySdk } from '../claude/process.ts';
import { hooksLeadSessions } from '../claude/release.ts';
import { BUDGET_EXHAUSTED, type UserBudget, type UserBudgets } from '../fs/user-budget.ts';
import type { Evidence } from '../judge/evidence.ts';
import { readLoadPerCore } from '../proc/loadavg.ts';
import { isDead, MS_PER_TICK, readStat, type Stat } from '../proc/stat.ts';
import { type Status, singleUid } from '../proc/status.ts';
import type { Candidate } from './candidates.ts';
import { buildClayContext, type ClayContext, clayContextCache } from './clay-context.ts';
import type { ObservedClock } from './clock.ts';
import { type ConnectionLookup, createConnectionLookup } from './connections.ts';
import {
  anyOpenTurn,
  type Conversation,
  type JournalReading,
  journalOf,
  newConversationFiles,
  newProjectFiles,
  pendingSchedule,
  projectTranscriptsOf,
} from './conversation.ts';
import { type FileView, newFileView } from './file-view.ts';
import { type Issues, newIssues, valueOr } from './issues.ts';
import type { ClayOwner } from './probe.ts';
import { keptItems, type ProcessCache, type ProcessState } from './process-cache.ts';
import { findHooks } from './process-tree.ts';

/**
 * Collects the evidence on all candidates of one sweep; one that exits meanwhile is left out. Afterwards the cache knows no
 * other processes. `lookup`: how to find connections, or whether the tables of unix sockets are trusted, as in a sweep.
 */
export function collectEvidence(
  procRoot: string,
  candidates: readonly Candidate[],
  cache: ProcessCache,
  clock: ObservedClock,
  budgets: UserBudgets,
  lookup: ConnectionLookup | { readonly trustUnixTable: boolean } = { trustUnixTable: true },
): Evidence[] {
  const view = newFileView(procRoot);
  const readings: ProcessReading[] = [];
  for (const candidate of candidates) {
    const budget = budgets.of(candidate.expectedIdentity.uid);
    const reading = budget.run(() => readCandidate(procRoot, candidate, cache, view, budget));
    if (reading) readings.push(reading);
  }
  const users = new Set(readings.map(({ candidate }) => candidate.expectedIdentity.uid));
  // What is known of a user's processes is kept while the user is left alone, so that it need not be read again later.
  const wasLookedFor = (uid: number): boolean => users.has(uid) || budgets.whyLeftAlone(uid) === null;
  cache.keepOnly(new Set(readings.map(({ candidate }) => candidate.stat.pid)), wasLookedFor);
  // The tables of sockets come after the descriptors of all candidates, see ConnectionLookup.
  const allSockets = (): Set<number> => new Set(readings.flatMap(({ state }) => [...(state.sockets?.values() ?? [])]));
  const { connectionsOf } =
    'connectionsOf' in lookup ? lookup : createConnectionLookup(procRoot, allSockets, budgets, lookup.trustUnixTable);
  const contextOf = clayContextCache(budgets);
  const load = readLoadPerCore(procRoot);
  const machine = { clock, loadPerCore: load.ok ? load.value : Number.POSITIVE_INFINITY };
  const evidence: Evidence[] = [];
  for (const reading of readings) {
    const { state, issues } = reading;
    const { stat, expectedIdentity, owner } = reading.candidate;
    const connections =
      state.sockets && connectionsOf(stat.pid, state.sockets, expectedIdentity.uid, state.unixSockets);
    if (connections && !connections.ok && hasVanished(procRoot, stat)) continue;
    const known = valueOr(issues, connections) ?? [];
    const context = contextOf(owner);
    const budget = budgets.of(expectedIdentity.uid);
    evidence.push(budget.run(() => evidenceOf(procRoot, reading, known, context, machine, cache, budgets)));
  }
  return evidence;
}

/** What is the same for all candidates; the load is infinite if it cannot be read. */
type Machine = { readonly clock: ObservedClock; readonly loadPerCore: number };

type ProcessReading = {
  readonly candidate: Candidate;
  readonly environment: ClaudeEnvironment | null;
  readonly state: ProcessState;
  readonly issues: Issues;
};

/** The state of a process of which nothing was read. */
const NOT_READ: ProcessState = {
  cwd: null,
  holdsTaskLock: null,
  status: null,
  tree: null,
  sockets: null,
  unixSockets: new Set(),
};

/** Everything from /proc except the tables of sockets; null if the process has vanished. */
function readCandidate(
  procRoot: string,
  candidate: Candidate,
  cache: ProcessCache,
  view: FileView,
  budget: UserBudget,
): ProcessReading | null {
  const { stat, owner } = candidate;
  const issues = newIssues();
  if (budget.exhausted()) {
    issues.messages.push(BUDGET_EXHAUSTED);
    return { candidate, environment: null, state: NOT_READ, issues };
  }
  const environment = valueOr(issues, cache.readEnvironment(stat, budget));
  if (environment && valueOr(issues, cache.sharesFiles(stat, view, budget)) === false) {
    const { configDir } = environment;
    issues.messages.push(`${configDir} is another folder for it than here (mount namespaces): mount the same one here`);
  }
  let state = cache.readState(stat, owner.state === 'alive' ? owner.probe.daemon.pid : null, budget, issues);
  const items = environment ? keptItems(environment) : 0;
  if (!budget.reserve(items + (state.sockets?.size ?? 0) + (state.tree?.descendants.length ?? 0))) {
    cache.forgetState(stat);
    state = { ...state, tree: null, sockets: null, unixSockets: new Set() };
    issues.messages.push(BUDGET_EXHAUSTED);
  }
  issues.messages.push(...identityProblems(candidate, state.status, environment));
  if (owner.state === 'alive' && owner.probe.permissionProblem !== null) {
    issues.messages.push(owner.probe.permissionProblem);
    issues.unreadable = true;
  }
  if (issues.messages.length > 0 && hasVanished(procRoot, stat)) return null;
  return { candidate, environment, state, issues };
}

/** What speaks against the process being the `claude` that its Clay has started. */
function identityProblems(
  { stat, owner, expectedIdentity, inTerminal, unplaced }: Candidate,
  status: Status | null,
  environment: ClaudeEnvironment | null,
): string[] {
  const { uid, ppid } = expectedIdentity;
  const problems: string[] = [];
  if (status && singleUid(status) !== uid) problems.push(`it does not run under uid ${uid}, as its Clay does`);
  if (status && status.pidNamespaceDepth !== 1) problems.push('it lives in another pid namespace');
  if (stat.ppid !== ppid) problems.push(`its parent is ${stat.ppid}, not ${ppid}`);
  if (unplaced !== null) problems.push(unplaced);
  if (inTerminal || unplaced !== null || !environment) return problems;
  const isInherited = owner.state === 'alive' && owner.probe.daemon.insideTool;
  if (environment.insideTool && !isInherited)
    problems.push('CLAUDECODE is in its environment: a tool of another claude started it');
  if (!startedBySdk(environment)) {
    const entrypoint = environment.entrypoint ?? 'not set';
    problems.push(`CLAUDE_CODE_ENTRYPOINT in its environment is ${entrypoint}: the Agent SDK did not start it`);
  }
  return problems;
}

/** Whether the process is dead or its pid belongs to another one by now. */
function hasVanished(procRoot: string, { pid, startTicks }: Stat): boolean {
  const now = readStat(procRoot, pid);
  return now.ok ? isDead(now.value) || now.value.startTicks !== startTicks : now.failure.code === 'not-found';
}

/** /proc/uptime has a resolution of 10 ms. */
const START_TOLERANCE_MS = 1_000;

const NO_CONVERSATION: Conversation = { session: null, transcript: null, journal: null };

function evidenceOf(
  procRoot: string,
  { candidate, environment, state, issues }: ProcessReading,
  connections: Evidence['connections'],
  context: ClayContext,
  { clock, loadPerCore }: Machine,
  cache: ProcessCache,
  budgets: UserBudgets,
): Evidence {
  const { stat, owner } = candidate;
  const { tree, sockets, cwd, holdsTaskLock } = state;
  const startMs = stat.startTicks * MS_PER_TICK;
  const ageMs = Math.max(0, clock.uptimeMs - startMs);
  if (startMs > clock.uptimeMs + START_TOLERANCE_MS) issues.messages.push('it starts in the future');
  const startedAtMs = clock.wallMs - ageMs;
  const { uid } = candidate.expectedIdentity;
  const budget = budgets.of(uid);

  const startTimesMs = cache.startTimesMs(stat, startedAtMs);
  const expected = { pid: stat.pid, uid, startTicks: stat.startTicks, startedAtMs: startTimesMs };
  const conversation = environment
    ? cache.readConversation({ environment, process: expected, cwd, clay: owner }, budgets, issues)
    : NO_CONVERSATION;
  const { session, transcript } = conversation;
  // Its environment says who started it, not what it is: programs below a claude inherit that.
  if (session === null && stat.comm !== CLAUDE_COMM && candidate.unplaced === null && !candidate.inTerminal)
    issues.messages.push(`neither its name, ${stat.comm}, nor a session file of its own says that it is a claude`);
  // If the wall clock was changed, the earlier start time attributes more activity to this process and so protects it.
  const earliestStartMs = Math.min(...startTimesMs, session?.startedAtMs ?? startedAtMs);
  // Without a session file, what any conversation of its project does or waits for may be what this process does.
  const mayBeAny = environment !== null && session === null && cwd !== null;
  const journal = mayBeAny
    ? anyOpenTurn(cache.projectFiles, owner, cwd, earliestStartMs, budgets, issues)
    : conversation.journal;
  const anyTranscript = mayBeAny
    ? projectTranscriptsOf(cache.projectFiles, environment, cwd, earliestStartMs, budget, issues)
    : null;
  const mayRunHooks = tree !== null && tree.children > 0 && !hooksLeadSessions(session?.release ?? null);
  const hooks = mayRunHooks ? findHooks(procRoot, tree, budget) : [];
  const isTied = session?.isCertain === true;
  const trustedPids = owner.state === 'alive' ? [owner.probe.daemon.pid] : [];
  const hasDurable =
    holdsTaskLock === true && valueOr(issues, hasDurableTasks({ procRoot, pids: trustedPids }, stat, budget));
  const place = placeInClay(context, cwd, journal, isTied, issues);
  return {
    id: { pid: stat.pid, startTicks: stat.startTicks },
    ppid: stat.ppid,
    comm: stat.comm,
    uid,
    startedAtMs: earliestStartMs,
    ageMs,
    rssBytes: state.status?.rssBytes ?? 0,
    reclaimableBytes: state.status?.reclaimableBytes ?? 0,
    cwd,
    sdkVersion: environment?.sdkVersion ?? null,
    claudeRelease: session?.release ?? null,
    unknownSessionFields: session?.unknownFields ?? [],
    hasTerminal: candidate.inTerminal,
    cpuParts: tree?.cpuParts ?? new Map(),
    loadPerCore,
    socketFds: sockets?.size ?? 0,
    connections,
    children: tree?.children ?? 0,
    descendants: tree?.descendants ?? [],
    tools: tree ? [...tree.tools, ...hooks] : [],
    sessionId: isTied ? session.sessionId : null,
    doubtfulSessionId: isTied ? null : (session?.sessionId ?? null),
    status: session?.status ?? null,
    waitingFor: session?.waitingFor ?? null,
    statusUpdatedAtMs: session?.statusUpdatedAtMs ?? null,
    transcriptChangedAtMs: transcript?.changedAtMs ?? null,
    schedule: hasDurable
      ? "it waits for the entries in its project's scheduled_tasks.json"
      : pendingSchedule(transcript ?? anyTranscript, environment?.sdkVersion ?? null, earliestStartMs, clock),
    // One by one, and not spread, as in each sweep it is made of each process: 10 µs.
    journal: place.journal,
    journalDiskIsFull: place.journalDiskIsFull,
    clay: place.clay,
    project: place.project,
    issues: issues.messages,
    unreadable: issues.unreadable,
  };
}

/**
 * What Clay says of a process. A journal that may be another process's can show an open turn, but neither a deleted
 * conversation nor which project it is.
 */
function placeInClay(
  context: ClayContext,
  cwd: string | null,
  journal: JournalReading | null,
  isTied: boolean,
  issues: Issues,
): Pick<Evidence, 'journal' | 'journalDiskIsFull' | 'clay' | 'project'> {
  const evidence = journal?.evidence ?? { state: 'unknown' };
  const hasEnded = evidence.state === 'found' && evidence.turn === 'ended';
  return {
    // What cannot be asked protects by its issue.
    journalDiskIsFull: hasEnded && valueOr(issues, context.isDiskFull(evidence.path)) === true,
    journal: !isTied && evidence.state === 'missing' ? { state: 'unknown' } : evidence,
    clay: context.evidence,
    project: context.projectOf(cwd, isTied ? (journal?.folder ?? null) : null),
  };
}

/**
 * The evidence with Clay's part of it read again, and all else as it was. After SIGTERM a process runs its hooks and removes its
 * session file, so that only the journal of its conversation and its project in Clay can still speak for it.
 */
export function refreshClayEvidence(before: Evidence, owner: ClayOwner, budgets: UserBudgets): Evidence {
  const issues = newIssues();
  const context = buildClayContext(owner, budgets);
  const { cwd } = before;
  const journal = journalAgain(before, owner, budgets, issues);
  const isUnchanged =
    before.journal.state === 'found' &&
    journal?.evidence.state === 'found' &&
    journal.evidence.path === before.journal.path &&
    journal.evidence.changedAtMs === before.journal.changedAtMs;
  // What its transcript has shown of messages that may be queued holds as long as there are no more.
  const known = isUnchanged ? { ...journal, evidence: before.journal } : journal;
  return {
    ...before,
    ...placeInClay(context, cwd, known, before.sessionId !== null, issues),
    issues: issues.messages,
    unreadable: issues.unreadable,
  };
}

/** The journal of its conversation; of a process that never had a session file, any journal with an open turn, as in a sweep. */
function journalAgain(
  { sessionId, doubtfulSessionId, cwd, startedAtMs }: Evidence,
  owner: ClayOwner,
  budgets: UserBudgets,
  issues: Issues,
): JournalReading | null {
  const id = sessionId ?? doubtfulSessionId;
  if (id !== null) return journalOf(newConversationFiles(), owner, id, cwd, budgets, issues);
  return cwd === null ? null : anyOpenTurn(newProjectFiles, owner, cwd, startedAtMs, budgets, issues);
}
