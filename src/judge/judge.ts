import { areStale, type ConnectionWatch, watchConnections } from './connections.ts';
import { beginCpuWatch, type CpuUse, type CpuWatch, watchCpu } from './cpu.ts';
import { type Evidence, keyOf } from './evidence.ts';
import { type IdleWatch, idleTime } from './idle.ts';
import type { Limits, Now } from './limits.ts';
import { type Case, ORPHAN_KINDS, type OrphanKind, PROTECTION, type ReasonCode } from './rules.ts';

/** A protecting rule that holds. */
export type Reason = { readonly code: ReasonCode; readonly detail: string };

/** What was decided about one candidate. Times in ms. */
export type Judgement = {
  readonly evidence: Evidence;
  readonly cpu: CpuUse | null;
} & (
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

/** What is kept of a process from one look to the next. */
export type Watch = { readonly cpu: CpuWatch; readonly connections: ConnectionWatch; readonly idle: IdleWatch };

/** What is known from the last look, by {@link keyOf} the process. */
export type Watches = ReadonlyMap<string, Watch>;

/**
 * Judges all candidates of one look. Pure: it reads no clock, no file and no socket.
 * The watches that it gives back belong into the next look; processes that are gone are no longer in them.
 * `cases`: what the rules were asked about each process, by {@link keyOf} it, for whoever wants to ask them again.
 */
export function judge(
  evidence: readonly Evidence[],
  watches: Watches,
  limits: Limits,
  now: Now,
): { judgements: Judgement[]; watches: Map<string, Watch>; cases: Map<string, Case> } {
  const newest = newestByConversation(evidence);
  const next = new Map<string, Watch>();
  const cases = new Map<string, Case>();
  const judgements = evidence.map((each) => {
    const key = keyOf(each.id);
    const newestOne = newest.get(conversationOf(each) ?? '');
    const newerPid = newestOne === undefined || newestOne === each ? null : newestOne.id.pid;
    const { judgement, watch, which } = judgeOne(each, watches.get(key) ?? null, newerPid, limits, now);
    next.set(key, watch);
    cases.set(key, which);
    return judgement;
  });
  return { judgements: shortenWaits(judgements, limits), watches: next, cases };
}

function judgeOne(
  evidence: Evidence,
  last: Watch | null,
  newerPid: number | null,
  limits: Limits,
  now: Now,
): { judgement: Judgement; watch: Watch; which: Case } {
  const cpu =
    last === null
      ? { use: null, watch: beginCpuWatch(evidence, now) }
      : watchCpu(last.cpu, evidence, now, limits.cpuIdleBelow);
  const asStale: Case = { evidence, cpu: cpu.use, connectionsAreStale: true, newerPid, limits, now };
  const without = heldReasons(asStale);
  const connections = watchConnections(last?.connections ?? null, evidence.connections, without.length > 0, now);
  const which = areStale(connections, limits.staleConnectionAfterMs, now)
    ? asStale
    : { ...asStale, connectionsAreStale: false };
  const reasons = which.connectionsAreStale || evidence.connections.length === 0 ? without : heldReasons(which);

  // Not having measured yet protects, but is nothing that happened: the idle time does not start again for it.
  const nothingHappened = reasons.length === 0 || (cpu.use === null && reasons.every((each) => each.code === 'cpu'));
  const idleMs = nothingHappened ? idleTime(last?.idle ?? null, evidence, now) : 0;
  const watch = { cpu: cpu.watch, connections, idle: { atMs: now.monotonicMs, idleMs, wasAtWork: !nothingHappened } };

  if (reasons.length > 0) return { judgement: { evidence, cpu: cpu.use, verdict: 'protected', reasons }, watch, which };
  const kind = ORPHAN_KINDS.find((each) => each.fits(which)) ?? {
    kind: 'parked' as const,
    wait: 'parked_after' as const,
  };
  const waitMs = kind.wait === 'grace_period' ? limits.gracePeriodMs : limits.parkedAfterMs;
  return { judgement: decide({ evidence, cpu: cpu.use, orphan: kind.kind, idleMs }, waitMs), watch, which };
}

function heldReasons(which: Case): Reason[] {
  const reasons: Reason[] = [];
  PROTECTION.forEach(({ code, holds }) => {
    const detail = holds(which);
    if (detail !== null) reasons.push({ code, detail });
  });
  return reasons;
}

const decide = (
  { evidence, cpu, orphan, idleMs }: Pick<IdleOrphan, 'evidence' | 'cpu' | 'orphan' | 'idleMs'>,
  waitMs: number,
): IdleOrphan => ({ evidence, cpu, verdict: idleMs >= waitMs ? 'reap' : 'grace', reasons: [], orphan, idleMs, waitMs });

/** Of the parked processes of a Clay beyond its first `maxParked`, those that are idle longest wait only the grace period. */
function shortenWaits(judgements: Judgement[], limits: Limits): Judgement[] {
  const { maxParked } = limits;
  if (maxParked === null) return judgements;
  const parkedByClay = new Map<string | number, IdleOrphan[]>();
  for (const each of judgements) {
    if (each.verdict === 'protected' || each.orphan !== 'parked') continue;
    const { clay } = each.evidence;
    const whose = clay.state === 'dead' ? clay.home : clay.pid;
    parkedByClay.set(whose, [...(parkedByClay.get(whose) ?? []), each]);
  }
  const surplus = new Set<Judgement>();
  for (const parked of parkedByClay.values()) {
    for (const each of parked.sort(byIdleTime).slice(maxParked)) surplus.add(each);
  }
  return judgements.map((each) =>
    each.verdict !== 'protected' && surplus.has(each)
      ? decide(each, Math.min(limits.gracePeriodMs, each.waitMs))
      : each,
  );
}

/** The shortest idle first; of those equally long idle, the youngest. */
const byIdleTime = (one: IdleOrphan, other: IdleOrphan): number =>
  one.idleMs - other.idleMs ||
  other.evidence.id.startTicks - one.evidence.id.startTicks ||
  other.evidence.id.pid - one.evidence.id.pid;

/** The newest process of each conversation that has one; of two that began in the same tick, the one with the higher pid. */
function newestByConversation(evidence: readonly Evidence[]): Map<string, Evidence> {
  const newest = new Map<string, Evidence>();
  for (const each of evidence) {
    const conversation = conversationOf(each);
    if (conversation === null) continue;
    const other = newest.get(conversation);
    const later = other && (other.id.startTicks - each.id.startTicks || other.id.pid - each.id.pid) > 0;
    if (!later) newest.set(conversation, each);
  }
  return newest;
}

/** A conversation's name, or null if it cannot be told. Nobody's session file can speak for another user or another Clay. */
const conversationOf = (evidence: Evidence): string | null =>
  evidence.sessionId === null ? null : `${evidence.uid} ${evidence.clay.home} ${evidence.sessionId}`;
