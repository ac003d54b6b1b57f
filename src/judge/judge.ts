import { keyOf } from '../proc/process-id.ts';
import { type CpuSample, firstCpuSample, measureCpu } from './cpu.ts';
import type { Evidence } from './evidence.ts';
import { type FutureTracking, type IdleTracking, idleTime, isSettled, trackFutureActivity } from './idle.ts';
import { type OrphanKind, orphanKindOf } from './orphan-kinds.ts';
import type { Clock, Policy } from './policy.ts';
import { PROTECTION_RULES, type ReasonCode, type RuleInput } from './rules.ts';
import { type ConnectionTracking, isStale, trackConnections } from './stale-connections.ts';

/** A protecting rule that holds. */
export type Reason = { readonly code: ReasonCode; readonly detail: string };

/** What was decided about one candidate, with all that the rules were asked about. Times in ms. */
export type Judgement = RuleInput &
  (
    | { readonly verdict: 'protected'; readonly reasons: readonly Reason[] }
    | {
        readonly verdict: 'grace' | 'reap';
        readonly reasons: readonly [];
        readonly orphan: OrphanKind;
        readonly idleMs: number;
        readonly waitMs: number;
      }
  );

/** An idle orphan: a {@link Judgement} that nothing protects. */
export type IdleOrphan = Exclude<Judgement, { verdict: 'protected' }>;

/** What is kept of a process from one sweep to the next. */
export type Tracking = {
  readonly cpu: CpuSample;
  readonly connections: ConnectionTracking;
  readonly future: FutureTracking | null;
  readonly idle: IdleTracking;
  /** When its journal said last that it streams while it had no connection, wall clock, ms; null: not in the last look. */
  readonly unseenStreamMs: number | null;
};

/** The tracking of all candidates of the previous sweep, by {@link keyOf} the process. */
export type TrackingByProcess = ReadonlyMap<string, Tracking>;

/**
 * Judges all candidates of one sweep. Pure: it reads no clock, no file and no socket. The tracking that it returns belongs
 * into the next call; processes that are gone are no longer in it.
 */
export function judge(
  evidence: readonly Evidence[],
  previous: TrackingByProcess,
  policy: Policy,
  now: Clock,
): { judgements: Judgement[]; tracking: Map<string, Tracking> } {
  const conversations = evidence.map(conversationOf);
  const newest = newestByConversation(evidence, conversations);
  const tracking = new Map<string, Tracking>();
  const judgements = evidence.map((candidate, index) => {
    const key = keyOf(candidate.id);
    const newestOfConversation = newest.get(conversations[index] ?? '') ?? candidate;
    const supersededBy = newestOfConversation === candidate ? null : newestOfConversation.id.pid;
    const { judgement, tracked } = judgeOne(candidate, previous.get(key) ?? null, supersededBy, policy, now);
    tracking.set(key, tracked);
    return judgement;
  });
  return { judgements: applyMaxParked(judgements, policy), tracking };
}

function judgeOne(
  evidence: Evidence,
  last: Tracking | null,
  supersededBy: number | null,
  policy: Policy,
  now: Clock,
): { judgement: Judgement; tracked: Tracking } {
  const cpu =
    last === null
      ? { use: null, tracked: firstCpuSample(evidence, now) }
      : measureCpu(last.cpu, evidence, now, policy.cpuIdleBelow);
  const future = trackFutureActivity(last?.future ?? null, evidence, now);
  const futureIsSettled = isSettled(future, now);
  const unseenStreamMs = unseenStream(evidence, now);
  const lastStreamMs = last?.unseenStreamMs ?? null;
  const ruleInput = (connectionsAreStale: boolean): RuleInput => ({
    evidence,
    cpu: cpu.use,
    connectionsAreStale,
    futureIsSettled,
    streamsUnseen: unseenStreamMs !== null && lastStreamMs !== null && unseenStreamMs > lastStreamMs,
    supersededBy,
    policy,
    now,
  });
  const inputWithStale = ruleInput(true);
  const reasonsExceptConnections = activeReasons(inputWithStale);
  const connections = trackConnections(
    last?.connections ?? null,
    evidence.connections,
    reasonsExceptConnections.length > 0,
    now,
  );
  const connectionsAreStale =
    evidence.connections.length === 0 || isStale(connections, evidence, policy.staleConnectionAfterMs, now);
  const input = connectionsAreStale ? inputWithStale : ruleInput(false);
  const reasons = connectionsAreStale ? reasonsExceptConnections : activeReasons(input);

  // Doubt protects without restarting the idle time: nothing is measured yet, or a server polls on a loaded machine. Work
  // that began before has restarted it, and so will work that goes on once the load falls.
  const isDoubtful = cpu.use === null || cpu.use.busy?.isDoubtful === true;
  const isIdle = reasons.length === 0 || (isDoubtful && reasons.every((reason) => reason.code === 'cpu'));
  const idleMs = isIdle ? idleTime(last?.idle ?? null, evidence, now, input.futureIsSettled) : 0;
  const tracked = {
    cpu: cpu.tracked,
    connections,
    future,
    idle: { atMs: now.monotonicMs, idleMs, wasProtected: !isIdle },
    unseenStreamMs,
  };
  const judgement =
    reasons.length > 0 ? ({ ...input, verdict: 'protected', reasons } as const) : orphanOf(input, idleMs);
  return { judgement, tracked };
}

/** What is streamed is written as it comes; the look at the connections may be some time before that at the journal. */
const STREAM_MS = 2_000;

/** When its journal changed, if that says that an answer is streaming in while the process has no connection; else null. */
function unseenStream({ connections, journal, sessionId }: Evidence, now: Clock): number | null {
  if (connections.length > 0 || sessionId === null || journal.state !== 'found' || journal.turn !== 'open') return null;
  if (journal.decidedBy !== 'delta' && journal.decidedBy !== 'thinking_delta') return null;
  return Math.abs(now.wallMs - journal.changedAtMs) < STREAM_MS ? journal.changedAtMs : null;
}

function activeReasons(input: RuleInput): Reason[] {
  const reasons: Reason[] = [];
  PROTECTION_RULES.forEach(({ code, holds }) => {
    const detail = holds(input);
    if (detail !== null) reasons.push({ code, detail });
  });
  return reasons;
}

function orphanOf(input: RuleInput, idleMs: number): IdleOrphan {
  const { kind, waitSetting } = orphanKindOf(input);
  const { evidence, cpu, connectionsAreStale, futureIsSettled, streamsUnseen, supersededBy, policy, now } = input;
  const waitMs = waitSetting === 'grace_period' ? policy.gracePeriodMs : policy.parkedAfterMs;
  return {
    // One by one: a spread takes 10 µs for each process (measured), a quarter of its judgement.
    evidence,
    cpu,
    connectionsAreStale,
    futureIsSettled,
    streamsUnseen,
    supersededBy,
    policy,
    now,
    verdict: verdictFor(idleMs, waitMs),
    reasons: [],
    orphan: kind,
    idleMs,
    waitMs,
  };
}

const verdictFor = (idleMs: number, waitMs: number): IdleOrphan['verdict'] => (idleMs >= waitMs ? 'reap' : 'grace');

/** Of the parked processes of a Clay beyond its first `maxParked`, those that are idle longest wait only the grace period. */
function applyMaxParked(judgements: Judgement[], policy: Policy): Judgement[] {
  const { maxParked } = policy;
  if (maxParked === null) return judgements;
  const parkedByClay = new Map<string | number, IdleOrphan[]>();
  for (const judgement of judgements) {
    if (judgement.verdict === 'protected' || judgement.orphan !== 'parked') continue;
    const { clay } = judgement.evidence;
    const owner = clay.state === 'dead' ? clay.home : clay.pid;
    parkedByClay.set(owner, [...(parkedByClay.get(owner) ?? []), judgement]);
  }
  const surplus = new Set<Judgement>();
  for (const parked of parkedByClay.values()) {
    for (const orphan of parked.sort(byIdleTime).slice(maxParked)) surplus.add(orphan);
  }
  return judgements.map((judgement) => {
    if (judgement.verdict === 'protected' || !surplus.has(judgement)) return judgement;
    const waitMs = Math.min(policy.gracePeriodMs, judgement.waitMs);
    return { ...judgement, verdict: verdictFor(judgement.idleMs, waitMs), waitMs };
  });
}

/** The shortest idle first; of those equally long idle, the youngest. */
const byIdleTime = (a: IdleOrphan, b: IdleOrphan): number =>
  a.idleMs - b.idleMs || b.evidence.id.startTicks - a.evidence.id.startTicks || b.evidence.id.pid - a.evidence.id.pid;

/**
 * The newest process of each conversation; of two that began in the same tick, the one with the higher pid. `conversations`: of
 * each piece of evidence, see {@link conversationOf}.
 */
function newestByConversation(
  evidence: readonly Evidence[],
  conversations: readonly (string | null)[],
): Map<string, Evidence> {
  const newest = new Map<string, Evidence>();
  evidence.forEach((candidate, index) => {
    const conversation = conversations[index] ?? null;
    if (conversation === null) return;
    const { id } = newest.get(conversation) ?? candidate;
    const isNewer = (candidate.id.startTicks - id.startTicks || candidate.id.pid - id.pid) >= 0;
    if (isNewer) newest.set(conversation, candidate);
  });
  return newest;
}

/** Names a conversation, or returns null if it is unknown. A session file cannot speak for another user or another Clay. */
const conversationOf = (evidence: Evidence): string | null =>
  evidence.sessionId === null ? null : `${evidence.uid} ${evidence.clay.home} ${evidence.sessionId}`;
