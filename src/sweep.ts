import { looksLikeClaude } from './claude/recognise.ts';
import { askClay } from './clay/api.ts';
import { type PressureLimits, underPressure } from './config/limits.ts';
import { type Evidence, keyOf } from './judge/evidence.ts';
import { type IdleOrphan, type Judgement, judge, type Watch } from './judge/judge.ts';
import type { Limits } from './judge/limits.ts';
import { openTurn, processing } from './judge/rules.ts';
import type { Candidate, ClayLook, Keeper } from './observe/candidates.ts';
import { collectEvidence, withClaysWord } from './observe/collect.ts';
import { type ConnectionTables, openConnectionTables } from './observe/connections.ts';
import { type FactsByProcess, factsOn, factsToReadAgain } from './observe/facts.ts';
import type { Homes } from './observe/homes.ts';
import { type Host, type Moment, readMoment, tryMoment } from './observe/host.ts';
import { emptyMemory, type Memory, type Observation, observe } from './observe/observe.ts';
import { readMemoryPressure } from './proc/pressure.ts';
import { readSocketFds } from './proc/sockets.ts';
import { readStat } from './proc/stat.ts';
import { readStatus, singleUid } from './proc/status.ts';
import { type Ending, endProcess, type LastLook, type Order } from './reap/end-process.ts';
import { isGone, pause } from './reap/signals.ts';

/** Where and by which settings to sweep. */
export type SweepSettings = {
  readonly host: Host;
  readonly homes: Homes;
  readonly limits: Limits;
  /** What holds instead while the machine stalls for memory; null: nothing does. */
  readonly pressure: PressureLimits | null;
  readonly killAfterMs: number;
  readonly maxKillsPerSweep: number;
};

/** What is kept from one sweep to the next. */
export type SweepState = { readonly memory: Memory; watches: Map<string, Watch> };

/** The state of somebody who has not swept yet. */
export const emptyState = (): SweepState => ({ memory: emptyMemory(), watches: new Map() });

/** The outcome of one look: what there is, and what was judged of it. */
export type Look = Observation & {
  readonly judgements: readonly Judgement[];
  /** The limits that they were made by. */
  readonly limits: Limits;
  /** The memory pressure (percent) for which the shorter waits hold, or null if they do not. */
  readonly pressure: number | null;
  /** What was known before this look; a second look is judged against it. */
  readonly watchesBefore: ReadonlyMap<string, Watch>;
};

/** A process that was judged `reap`, and what became of it. */
export type Reaped = { readonly judgement: IdleOrphan; readonly ending: Ending };

/** One sweep: observe → judge → reap. Reporting is up to whoever sweeps. */
export async function sweep(
  settings: SweepSettings,
  state: SweepState,
  abort: AbortSignal,
): Promise<{ look: Look; reaped: Reaped[] }> {
  const found = await look(settings, state);
  const reaped = abort.aborted ? [] : await reap(settings, found, orphansToReap(found), abort);
  return { look: found, reaped };
}

/** observe → judge, once. */
export async function look(settings: SweepSettings, state: SweepState): Promise<Look> {
  const observation = await observe(settings.host, settings.homes, state.memory, () => readMoment(settings.host));
  const watchesBefore = state.watches;
  const pressure = pressureNow(settings);
  const limits =
    pressure !== null && settings.pressure ? underPressure(settings.limits, settings.pressure) : settings.limits;
  const { judgements, watches } = judge(observation.evidence, watchesBefore, limits, observation.at);
  state.watches = watches;
  return { ...observation, judgements, limits, pressure, watchesBefore };
}

/** The memory pressure if it is as high as the settings name; null below that, and where the kernel does not tell it. */
function pressureNow({ host, pressure }: SweepSettings): number | null {
  if (pressure === null) return null;
  const now = readMemoryPressure(host.procRoot);
  return now.ok && now.value >= pressure.someAvg10 ? now.value : null;
}

/** A one-shot needs a second look to measure CPU at all. An idle 0.3.330 uses 1 tick in this time (measured), 3 are 1 %. */
const CPU_WATCH_MS = 3_000;

/** An idle 0.2.92 uses 0.2 s at once about every minute: its next looks are quiet again. */
const CPU_PATIENCE_LOOKS = 3;

/**
 * A look that nothing went before, as a one-shot command has it: watches for a while, longer what CPU alone protects, if
 * it is one that matters.
 */
export async function lookOnce(
  settings: SweepSettings,
  afterFirstLook: (first: Look) => Promise<void> = async () => {},
  matters: (judgement: Judgement) => boolean = () => true,
): Promise<Look> {
  const isWorthWaiting = (each: Judgement): boolean => isHeldByCpuAlone(each) && matters(each);
  const state = emptyState();
  let found = await look(settings, state);
  await afterFirstLook(found);
  if (found.judgements.length === 0) return found;
  await pause(CPU_WATCH_MS, null);
  found = await look(settings, state);
  for (let more = 0; more < CPU_PATIENCE_LOOKS && found.judgements.some(isWorthWaiting); more++) {
    forgiveCpu(found, state);
    await pause(CPU_WATCH_MS, null);
    found = await look(settings, state);
  }
  return found;
}

const isHeldByCpuAlone = (judgement: Judgement): boolean =>
  judgement.verdict === 'protected' && judgement.reasons.every((reason) => reason.code === 'cpu');

/** Lets the idle time of those that CPU alone protects go on as if it had not: one burst among quiet looks is no work. */
function forgiveCpu(found: Look, state: SweepState): void {
  for (const judgement of found.judgements.filter(isHeldByCpuAlone)) {
    const key = keyOf(judgement.evidence.id);
    const before = found.watchesBefore.get(key);
    const after = state.watches.get(key);
    if (before && after) state.watches.set(key, { ...after, idle: before.idle });
  }
}

/** The processes that are to be reaped, the longest idle first. */
export const orphansToReap = (found: Pick<Look, 'judgements'>): IdleOrphan[] =>
  found.judgements.filter((each): each is IdleOrphan => each.verdict === 'reap').sort((a, b) => b.idleMs - a.idleMs);

/**
 * Ends processes side by side, at most as many as the settings allow, after asking their Clays once more.
 * `onEnding` is called each time that it is known what became of one.
 */
export async function reap(
  settings: SweepSettings,
  found: Look,
  orphans: readonly IdleOrphan[],
  abort: AbortSignal | null,
  onEnding: () => void = () => {},
): Promise<Reaped[]> {
  const chosen = orphans.slice(0, settings.maxKillsPerSweep).map((each) => withMemoryNow(settings.host, each));
  const left = orphans.slice(settings.maxKillsPerSweep).map(
    (judgement): Reaped => ({
      judgement,
      ending: {
        outcome: 'spared',
        why: `max_kills_per_sweep = ${settings.maxKillsPerSweep}: left to the next sweep`,
        because: 'postponed',
      },
    }),
  );
  if (chosen.length === 0) return left;
  const clays = await Promise.all(found.clays.map(askAgain));
  // All orders look again and signal in one go, before anything is waited for: one reading of the tables serves them all.
  const tables = openConnectionTables(settings.host, () => socketsOf(settings.host, chosen), false);
  const endings = await Promise.all(
    chosen.map(async (judgement) => {
      const ending = await endProcess(settings.host, orderFor(settings, found, clays, tables, judgement), abort);
      onEnding();
      return { judgement, ending };
    }),
  );
  return [...endings.flatMap(({ judgement, ending }) => (ending ? [{ judgement, ending }] : [])), ...left];
}

/** A judgement with the resident memory of now: of a process at rest it may be old, and it is what comes back. */
function withMemoryNow(host: Host, judgement: IdleOrphan): IdleOrphan {
  const { evidence } = judgement;
  const now = readStat(host.procRoot, evidence.id.pid);
  if (!now.ok || now.value.startTicks !== evidence.id.startTicks) return judgement;
  return { ...judgement, evidence: { ...evidence, rssBytes: now.value.rssPages * host.units.pageBytes } };
}

async function askAgain(clay: ClayLook): Promise<ClayLook> {
  return { ...clay, answer: await askClay(clay.daemon) };
}

const socketsOf = (host: Host, orphans: readonly IdleOrphan[]): Set<number> =>
  new Set(
    orphans.flatMap(({ evidence }) => {
      const sockets = readSocketFds(host.procRoot, evidence.id.pid);
      return sockets.ok ? [...sockets.value.values()] : [];
    }),
  );

function orderFor(
  settings: SweepSettings,
  found: Look,
  clays: readonly ClayLook[],
  tables: ConnectionTables,
  judgement: IdleOrphan,
): Order {
  const { evidence } = judgement;
  const candidate = found.candidates.find((each) => keyOf(each.stat) === keyOf(evidence.id));
  const keeper = candidate ? keeperNow(candidate.keeper, clays) : null;
  return {
    id: evidence.id,
    uid: evidence.uid,
    killAfterMs: settings.killAfterMs,
    beforeTerm: () => {
      const now = tryMoment(settings.host);
      // No descriptor may be left; what was begun with others has to go on.
      if (!now.ok) return { look: spare(`the time cannot be told: ${now.failure.detail}`, evidence), descendants: [] };
      const again =
        candidate && keeper ? lookAgain(settings, found, { ...candidate, keeper }, tables, evidence, now.value) : null;
      if (again === null) return { look: 'gone', descendants: [] };
      return { look: secondOpinion(again, judgement), descendants: again.evidence.descendants };
    },
    beforeKill: async () => {
      if (isGone(settings.host, evidence.id) || keeper === null) return 'gone';
      const asked = keeper.state === 'living' ? { ...keeper, look: await askAgain(keeper.look) } : keeper;
      const word = claysWord(withClaysWord(evidence, asked));
      return word === 'go' ? stillItself(settings.host, evidence) : word;
    },
  };
}

const keeperNow = (keeper: Keeper, clays: readonly ClayLook[]): Keeper | null => {
  if (keeper.state === 'dead') return keeper;
  const look = clays.find((clay) => keyOf(clay.daemon) === keyOf(keeper.look.daemon));
  return look ? { state: 'living', look: { ...keeper.look, answer: look.answer } } : null;
};

/** The judgement of one process made again from fresh evidence, or null if the process is gone. */
function lookAgain(
  settings: SweepSettings,
  found: Look,
  candidate: Candidate,
  tables: ConnectionTables,
  before: Evidence,
  now: Moment,
): Judgement | null {
  const { host } = settings;
  const stat = readStat(host.procRoot, before.id.pid);
  if (stat.ok ? stat.value.startTicks !== before.id.startTicks : stat.failure.why === 'gone') return null;
  const key = keyOf(before.id);
  const facts = factsOn(found.facts, before.id);
  const kept: FactsByProcess = new Map(facts ? [[before.id.pid, factsToReadAgain(facts)]] : []);
  const again = { ...candidate, stat: stat.ok ? stat.value : candidate.stat };
  const [fresh] = collectEvidence(host, [again], kept, now, tables);
  if (!fresh) return null;
  const others = found.evidence.filter((each) => each.sessionId === before.sessionId && keyOf(each.id) !== key);
  const { judgements } = judge([...others, fresh], found.watchesBefore, found.limits, now);
  return judgements.find((each) => keyOf(each.evidence.id) === key) ?? null;
}

/** Whether a second look agrees with the first, in which a shorter wait may have applied (`max_parked`). */
function secondOpinion(again: Judgement, first: IdleOrphan): LastLook {
  if (again.verdict === 'protected') {
    const why = again.reasons.map((reason) => `${reason.code}: ${reason.detail}`).join('; ');
    return spare(why, again.evidence);
  }
  if (again.orphan !== first.orphan)
    return spare(`it is no longer ${first.orphan}, but ${again.orphan}`, again.evidence);
  if (again.idleMs < first.waitMs) return spare('something has just happened in its conversation', again.evidence);
  return 'go';
}

/** What Clay says right before SIGKILL; whatever is not a clear word that nothing is going on spares the process. */
function claysWord(evidence: Evidence): LastLook {
  const { clay, doubts } = evidence;
  const silence = clay.state === 'silent' ? `Clay's API: ${clay.error}` : null;
  const objection = doubts[0] ?? silence ?? openTurn(evidence) ?? processing(evidence);
  return objection === null ? 'go' : spare(objection, evidence);
}

/** A process keeps pid and start time when it becomes another program (execve(2)), which may be another user's: sudo. */
function stillItself(host: Host, evidence: Evidence): LastLook {
  const [stat, status] = [readStat(host.procRoot, evidence.id.pid), readStatus(host.procRoot, evidence.id.pid)];
  const failure = stat.ok ? (status.ok ? null : status.failure) : stat.failure;
  if (failure !== null) return failure.why === 'gone' ? 'gone' : spare(failure.detail, evidence);
  if (!stat.ok || !status.ok) return 'gone';
  if (singleUid(status.value) !== evidence.uid) return spare(`it no longer runs under uid ${evidence.uid}`, evidence);
  return looksLikeClaude(stat.value) ? 'go' : spare(`its name is ${stat.value.comm} now`, evidence);
}

const spare = (why: string, evidence: Evidence): LastLook => ({
  outcome: 'spared',
  why,
  because: evidence.clay.state === 'silent' ? 'silence' : 'woke',
});
