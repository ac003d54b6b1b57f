import { queryStatus } from '../clay/status-socket.ts';
import type { UserBudgets } from '../fs/user-budget.ts';
import { openTurn, projectInTurn } from '../judge/clay-activity.ts';
import type { Evidence } from '../judge/evidence.ts';
import { type IdleOrphan, type Judgement, judge, type Tracking } from '../judge/judge.ts';
import type { Policy } from '../judge/policy.ts';
import type { Candidate } from '../observe/candidates.ts';
import { type ObservedClock, tryReadClock } from '../observe/clock.ts';
import { type ConnectionLookup, createConnectionLookup } from '../observe/connections.ts';
import { collectEvidence, refreshClayEvidence } from '../observe/evidence.ts';
import type { Observation } from '../observe/observe.ts';
import type { ClayOwner, ClayProbe } from '../observe/probe.ts';
import { readSocketFds } from '../proc/fd.ts';
import { keyOf, type ProcessId } from '../proc/process-id.ts';
import { isDead, readStat, type Stat } from '../proc/stat.ts';
import type { Spared } from './result.ts';
import { hasExited } from './signals.ts';

/** The part of an assessment that a recheck is made from. */
export type Assessed = Pick<Observation, 'candidates' | 'evidence' | 'cache' | 'budgets'> & {
  readonly clays: readonly ClayProbe[];
  readonly policy: Policy;
  /** The tracking from before the assessment: the recheck is judged against the same. */
  readonly previous: ReadonlyMap<string, Tracking>;
};

/** What the rechecks of one sweep share. */
export type RecheckContext = {
  readonly procRoot: string;
  readonly assessed: Assessed;
  /** The Clays of the assessment, asked again. */
  readonly clays: readonly ClayProbe[];
  readonly connections: ConnectionLookup;
};

/** The result of a recheck: send the signal, the process is gone, or it is to be spared. */
export type Recheck = 'proceed' | 'gone' | Spared;

/** Asks all Clays again, side by side, before any of `orphans` is ended. */
export async function prepareRecheck(
  procRoot: string,
  assessed: Assessed,
  orphans: readonly IdleOrphan[],
): Promise<RecheckContext> {
  const clays = await Promise.all(assessed.clays.map((clay) => requeryStatus(clay, assessed.budgets)));
  // The TCP tables are read even for sockets that the unix table explains: a unix socket's name can forge a row of it.
  const connections = createConnectionLookup(
    procRoot,
    () => socketsOf(procRoot, orphans, assessed.budgets),
    assessed.budgets,
    false,
  );
  return { procRoot, assessed, clays, connections };
}

async function requeryStatus(clay: ClayProbe, budgets: UserBudgets): Promise<ClayProbe> {
  const status = await queryStatus(clay.daemon, budgets.of(clay.daemon.uid));
  budgets.forgetMounts();
  return { ...clay, status };
}

const socketsOf = (procRoot: string, orphans: readonly IdleOrphan[], budgets: UserBudgets): Set<number> =>
  new Set(
    orphans.flatMap(({ evidence }) => {
      const sockets = readSocketFds(procRoot, evidence.id.pid, budgets.of(evidence.uid));
      return sockets.ok ? [...sockets.value.values()] : [];
    }),
  );

/**
 * Before SIGTERM: the whole judgement again, from fresh evidence. Synchronous, so that the signal follows at once.
 * `descendants`: the processes below it by now.
 */
export function recheckBeforeTerm(
  context: RecheckContext,
  orphan: IdleOrphan,
): { readonly recheck: Recheck; readonly descendants: readonly ProcessId[] } {
  const { procRoot } = context;
  const { evidence } = orphan;
  const stop = (recheck: 'gone' | Spared) => ({ recheck, descendants: [] });
  const clock = tryReadClock(procRoot);
  // Do not throw: other terminations are in progress.
  if (!clock.ok) return stop(spare(`the time is unknown: ${clock.failure.detail}`, evidence));
  const stat = readStat(procRoot, evidence.id.pid);
  if (!stat.ok) return stop(stat.failure.code === 'not-found' ? 'gone' : spare(stat.failure.detail, evidence));
  if (isDead(stat.value) || stat.value.startTicks !== evidence.id.startTicks) return stop('gone');
  const judgement = reassess(context, orphan, stat.value, clock.value);
  if (judgement === null) return stop('gone');
  return { recheck: confirmVerdict(judgement, orphan), descendants: judgement.evidence.descendants };
}

/**
 * Before SIGKILL: only Clay is asked again. After SIGTERM a process runs its hooks, looks busy, and has removed its session file,
 * so the full judgement would always spare it.
 */
export async function recheckBeforeKill(context: RecheckContext, { evidence }: IdleOrphan): Promise<Recheck> {
  const candidate = findCandidate(context, evidence);
  if (hasExited(context.procRoot, evidence.id) || candidate === null) return 'gone';
  const { owner } = candidate;
  const requeried =
    owner.state === 'alive' ? { ...owner, probe: await requeryStatus(owner.probe, context.assessed.budgets) } : owner;
  return clayObjection(refreshClayEvidence(evidence, requeried, context.assessed.budgets));
}

/** The candidate behind the evidence, with what its Clay answered when it was asked again; null if there is none. */
function findCandidate({ assessed, clays }: RecheckContext, { id }: Evidence): Candidate | null {
  const candidate = assessed.candidates.find(({ stat }) => stat.pid === id.pid && stat.startTicks === id.startTicks);
  const owner = candidate ? refreshOwner(candidate.owner, clays) : null;
  return candidate && owner ? { ...candidate, owner } : null;
}

function refreshOwner(owner: ClayOwner, clays: readonly ClayProbe[]): ClayOwner | null {
  if (owner.state === 'dead') return owner;
  const clay = clays.find(({ daemon }) => keyOf(daemon) === keyOf(owner.probe.daemon));
  return clay ? { state: 'alive', probe: { ...owner.probe, status: clay.status } } : null;
}

/** The judgement of one process made again from fresh evidence, or null if the process is gone. */
function reassess(
  context: RecheckContext,
  { evidence }: IdleOrphan,
  stat: Stat,
  clock: ObservedClock,
): Judgement | null {
  const { procRoot, assessed, connections } = context;
  const { id, sessionId } = evidence;
  const candidate = findCandidate(context, evidence);
  if (candidate === null) return null;
  const cache = assessed.cache.forRecheck(id);
  const [fresh] = collectEvidence(procRoot, [{ ...candidate, stat }], cache, clock, assessed.budgets, connections);
  if (!fresh) return null;
  const isThis = (other: Evidence): boolean => keyOf(other.id) === keyOf(id);
  // The newest process of a conversation supersedes the others, so those of the same conversation are judged with it.
  const sameConversation = assessed.evidence.filter((other) => other.sessionId === sessionId && !isThis(other));
  const { judgements } = judge([...sameConversation, fresh], assessed.previous, assessed.policy, clock);
  return judgements.find((judgement) => isThis(judgement.evidence)) ?? null;
}

/** Whether the second judgement agrees with the first, in which a shorter wait may have applied (`max_parked`). */
function confirmVerdict(second: Judgement, first: IdleOrphan): Recheck {
  const { comm } = second.evidence;
  // A process that executes another program keeps its pid, its start time and most of its environment (execve(2)).
  if (comm !== first.evidence.comm)
    return spare(`its name is ${comm} now, not ${first.evidence.comm}`, second.evidence);
  if (second.verdict === 'protected') {
    const why = second.reasons.map((reason) => `${reason.code}: ${reason.detail}`).join('; ');
    return spare(why, second.evidence);
  }
  if (second.orphan !== first.orphan)
    return spare(`it is no longer ${first.orphan}, but ${second.orphan}`, second.evidence);
  if (second.idleMs < first.waitMs) return spare('something has just happened in its conversation', second.evidence);
  return 'proceed';
}

/** What Clay says right before SIGKILL. Anything but a clear answer that no turn is open spares the process. */
function clayObjection(evidence: Evidence): Recheck {
  const { clay, issues } = evidence;
  const apiError = clay.state === 'unreachable' ? `Clay's API: ${clay.error}` : null;
  const objection = issues[0] ?? apiError ?? openTurn(evidence) ?? projectInTurn(evidence);
  return objection === null ? 'proceed' : spare(objection, evidence);
}

const spare = (why: string, evidence: Evidence): Spared => ({
  outcome: 'spared',
  why,
  because: evidence.clay.state === 'unreachable' ? 'unreachable' : 'active',
});
