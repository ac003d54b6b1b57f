import { realpathSync } from 'node:fs';
import { askClay } from '../clay/api.ts';
import { type ConfirmedDaemons, type Daemon, type HomeLook, lookAtHome } from '../clay/daemon.ts';
import { attempt } from '../files.ts';
import { type Evidence, keyOf } from '../judge/evidence.ts';
import { letGoOfUnread } from '../proc/held.ts';
import { readStat } from '../proc/stat.ts';
import { findBlindness } from './blindness.ts';
import { type Candidate, type ClayLook, findCandidates } from './candidates.ts';
import { collectEvidence } from './collect.ts';
import type { FactsByProcess } from './facts.ts';
import type { Homes } from './homes.ts';
import type { Host, Moment } from './host.ts';
import { type Abandoned, isReparented, lookOverProcesses } from './process-table.ts';

/** What one look found. */
export type Observation = {
  readonly at: Moment;
  readonly clays: readonly ClayLook[];
  readonly candidates: readonly Candidate[];
  readonly homes: readonly HomeLook[];
  /** What the last look over the process table has to say, where it found no Clay: a trouble, or a hint. */
  readonly tableNote: string | null;
  readonly evidence: readonly Evidence[];
  readonly facts: FactsByProcess;
};

/** A Clay, and the candidates found below it. */
type ClayFinding = ClayLook & { readonly candidates: readonly Candidate[] };

/** What the looks of one run know from those before; kept by whoever looks. */
export type Memory = {
  readonly facts: FactsByProcess;
  /** Homes that only the process table led to. */
  readonly foundHomes: Set<string>;
  readonly confirmed: ConfirmedDaemons;
  abandoned: Abandoned[];
  /** The daemons of the last look, by {@link keyOf}; a blindness is looked for once for each. */
  daemons: Map<string, { readonly blind: string | null }>;
  /** When the process table was last looked over; monotonic, ms. */
  tableAtMs: number | null;
  tableNote: string | null;
};

/** The memory of somebody who has not looked yet. */
export const emptyMemory = (): Memory => ({
  facts: new Map(),
  foundHomes: new Set(),
  confirmed: new Map(),
  abandoned: [],
  daemons: new Map(),
  tableAtMs: null,
  tableNote: null,
});

/** While there is no Clay at all, one without a known home may come at any time; a look for it costs 15 ms. */
const TABLE_INTERVAL_WITHOUT_CLAY_MS = 60_000;

/** Anybody can start a process that passes for a daemon in a home that does not last. */
const MAX_FOUND_HOMES = 256;

/**
 * One look at everything: finds the daemons, asks them side by side, and collects the evidence on their `claude`
 * processes. The process table is looked over only at the first look, when a daemon comes or goes, and now and then
 * while there is none.
 */
export async function observe(host: Host, homes: Homes, memory: Memory, clock: () => Moment): Promise<Observation> {
  let looks = lookAtHomes(host, homes, memory);
  let daemons = daemonsOf(looks);
  if (tableIsDue(daemons, memory, clock)) {
    await lookOver(host, homes, memory, daemons.length === 0);
    memory.tableAtMs = clock().monotonicMs;
    looks = lookAtHomes(host, homes, memory);
    daemons = daemonsOf(looks);
  }

  const clays = await lookAtClays(host, daemons, memory);
  const found = [...clays.flatMap((clay) => clay.candidates), ...abandonedCandidates(host, clays, memory)];
  const crowds = crowdsAmong(found);
  const candidates = found.filter((each) => !crowds.has(each.expected.uid));
  const at = clock();
  const evidence = collectEvidence(host, candidates, memory.facts, at);
  letGoOfUnread();
  return {
    ...{ at, candidates, evidence, facts: memory.facts, homes: looks },
    clays: clays.map((clay) => (clay.candidates.some((each) => crowds.has(each.expected.uid)) ? crowded(clay) : clay)),
    // Without a Clay, this is where it is said.
    tableNote: crowds.size > 0 ? CROWD : memory.tableNote,
  };
}

/** Takes 30 MB of memory; nobody has a hundredth of it, but a user may start as many as she likes, and fill the memory of all. */
const MAX_CANDIDATES_PER_USER = 5_000;

/** The users who have too many candidates to look at any. */
function crowdsAmong(candidates: readonly Candidate[]): Set<number> {
  if (candidates.length <= MAX_CANDIDATES_PER_USER) return new Set();
  const counts = new Map<number, number>();
  for (const { expected } of candidates) counts.set(expected.uid, (counts.get(expected.uid) ?? 0) + 1);
  return new Set([...counts].flatMap(([uid, count]) => (count > MAX_CANDIDATES_PER_USER ? [uid] : [])));
}

const CROWD = `a user has more than ${MAX_CANDIDATES_PER_USER} claude processes, and none of them is looked at`;

const crowded = (clay: ClayLook): ClayLook => ({
  ...clay,
  blind: `Clay ${clay.daemon.pid} was left alone: ${CROWD}`,
});

/** Looks over the process table for daemons that no home leads to, and for what dead ones left behind. */
async function lookOver(host: Host, homes: Homes, memory: Memory, noDaemonYet: boolean): Promise<void> {
  const table = await lookOverProcesses(host, homes.discover === 'own', noDaemonYet);
  const onlyThese = homes.discover === 'nothing';
  memory.tableNote = table.problem ?? hintAt(table.foreignDaemons);
  memory.abandoned = table.abandoned.filter(
    (each) => !onlyThese || homes.paths.some((path) => isSameFolder(path, each.home)),
  );
  // Root looks after the whole machine; a user's own reaper stops at the first home that leads to a Clay.
  if (homes.discover === 'machine' || (homes.discover === 'own' && noDaemonYet)) {
    for (const home of table.homes) memory.foundHomes.add(home);
    // Those found first are let go first, if they lead nowhere any more.
    for (const home of memory.foundHomes) {
      if (memory.foundHomes.size <= MAX_FOUND_HOMES) break;
      if (!table.homes.includes(home)) memory.foundHomes.delete(home);
    }
  }
}

function lookAtHomes(host: Host, homes: Homes, memory: Memory): HomeLook[] {
  const paths = new Set([...homes.paths, ...memory.foundHomes]);
  return limitPerUser([...paths].map((home) => lookAtHome(host.procRoot, home, memory.confirmed)));
}

/** A person has one Clay, or a few. */
const MAX_DAEMONS_PER_USER = 64;

/** Each daemon is asked, and each may answer at length: one user's are not to fill the memory, or the time, of all. */
function limitPerUser(looks: readonly HomeLook[]): HomeLook[] {
  const counts = new Map<number, number>();
  return looks.map((look) => {
    const daemons = look.daemons.filter(({ uid }) => {
      counts.set(uid, (counts.get(uid) ?? 0) + 1);
      return (counts.get(uid) ?? 0) <= MAX_DAEMONS_PER_USER;
    });
    if (daemons.length === look.daemons.length) return look;
    return { ...look, daemons, refusals: [...look.refusals, `its user has more than ${MAX_DAEMONS_PER_USER} Clays`] };
  });
}

/** Each daemon once, whatever number of paths lead to it. */
function daemonsOf(looks: readonly HomeLook[]): Daemon[] {
  const daemons = new Map<string, Daemon>();
  for (const daemon of looks.flatMap((look) => look.daemons)) {
    if (!daemons.has(keyOf(daemon))) daemons.set(keyOf(daemon), daemon);
  }
  return [...daemons.values()];
}

function tableIsDue(daemons: readonly Daemon[], memory: Memory, clock: () => Moment): boolean {
  if (memory.tableAtMs === null) return true;
  if (daemons.length === 0 && memory.daemons.size === 0) {
    return clock().monotonicMs - memory.tableAtMs >= TABLE_INTERVAL_WITHOUT_CLAY_MS;
  }
  return daemons.length !== memory.daemons.size || daemons.some((daemon) => !memory.daemons.has(keyOf(daemon)));
}

async function lookAtClays(host: Host, daemons: readonly Daemon[], memory: Memory): Promise<ClayFinding[]> {
  const clays = await Promise.all(
    daemons.map(async (daemon): Promise<ClayFinding> => {
      const answer = await askClay(daemon);
      const known = memory.daemons.get(keyOf(daemon));
      // One that was blind is tried again: the administrator may have mended it.
      const blind = known && known.blind === null ? null : findBlindness(host, daemon, answer);
      const look = { daemon, answer, blind };
      const found = findCandidates(host, look, memory.facts);
      if (found.ok) return { ...look, candidates: found.value };
      return {
        ...look,
        blind: `cannot read the children of Clay ${daemon.pid}: ${found.failure.detail}`,
        candidates: [],
      };
    }),
  );
  memory.daemons = new Map(clays.map((clay) => [keyOf(clay.daemon), { blind: clay.blind }]));
  return clays;
}

/**
 * The abandoned processes that are still there. One that began while the Clay that lives in its home was there already
 * cannot have been left behind by an earlier one, so it is nobody's leftover that we know of.
 */
function abandonedCandidates(host: Host, clays: readonly ClayLook[], memory: Memory): Candidate[] {
  const candidates = memory.abandoned.flatMap((each): Candidate[] => {
    const stat = readStat(host.procRoot, each.pid);
    if (!stat.ok || stat.value.startTicks !== each.startTicks || !isReparented(host, stat.value)) return [];
    const living = clays.find((clay) => isSameFolder(clay.daemon.home, each.home));
    if (living && living.daemon.startTicks <= each.startTicks) return [];
    const keeper = { state: 'dead', home: each.home, uid: each.uid } as const;
    return [{ stat: stat.value, keeper, expected: { uid: each.uid, ppid: stat.value.ppid } }];
  });
  memory.abandoned = memory.abandoned.filter((each) => candidates.some((candidate) => candidate.stat.pid === each.pid));
  return candidates;
}

const hintAt = (foreignDaemons: readonly number[]): string | null =>
  foreignDaemons.length === 0
    ? null
    : `Clay ${foreignDaemons.join(', ')} of another user runs here: run clay-reaper as root for it`;

function isSameFolder(one: string, other: string): boolean {
  const real = attempt(one, () => [realpathSync(one), realpathSync(other)]);
  return one === other || (real.ok && real.value[0] === real.value[1]);
}
