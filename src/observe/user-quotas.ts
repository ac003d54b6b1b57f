import type { Daemon, HomeProbe } from '../clay/daemon.ts';
import type { UserBudgets } from '../fs/user-budget.ts';
import type { Candidate } from './candidates.ts';
import type { ClayProbe } from './probe.ts';

// Every limit of what one user can make this program keep, read or ask. Real users stay far below; the limits stop one user
// from taking the memory or the time that is for all.

/** The Clays of users whose budget is exhausted, marked with the reason; and the reasons of such users who have none. */
export function markLeftAlone<T extends ClayProbe>(
  clays: readonly T[],
  budgets: UserBudgets,
): { readonly clays: readonly T[]; readonly others: readonly string[] } {
  const withClay = new Set(clays.map(({ daemon }) => daemon.uid));
  const others = budgets.leftAlone().filter((uid) => !withClay.has(uid));
  return {
    clays: clays.map((clay) => {
      const why = budgets.whyLeftAlone(clay.daemon.uid);
      return why === null ? clay : { ...clay, permissionProblem: `Clay ${clay.daemon.pid} was left alone: ${why}` };
    }),
    others: others.flatMap((uid) => budgets.whyLeftAlone(uid) ?? []),
  };
}

/** 5,000 candidates take 30 MB of memory. */
const MAX_CANDIDATES_PER_USER = 5_000;

/** Why the processes of such a user are left alone. */
export const TOO_MANY_PROCESSES = `a user has more than ${MAX_CANDIDATES_PER_USER} claude processes, and none of them is looked at`;

/** The candidates without those of users who have too many, and their Clays marked as left alone. */
export function capCandidatesPerUser<T extends ClayProbe>(
  clays: readonly T[],
  candidates: readonly Candidate[],
): { readonly clays: readonly T[]; readonly candidates: readonly Candidate[]; readonly exceeded: boolean } {
  const users = findUsersOverQuota(candidates);
  if (users.size === 0) return { clays, candidates, exceeded: false };
  const isOver = ({ expectedIdentity }: Candidate): boolean => users.has(expectedIdentity.uid);
  const pidsOver = new Set(
    candidates.flatMap((candidate) =>
      isOver(candidate) && candidate.owner.state === 'alive' ? [candidate.owner.probe.daemon.pid] : [],
    ),
  );
  return {
    clays: clays.map((clay) => (pidsOver.has(clay.daemon.pid) ? markOverQuota(clay) : clay)),
    candidates: candidates.filter((candidate) => !isOver(candidate)),
    exceeded: true,
  };
}

function findUsersOverQuota(candidates: readonly Candidate[]): Set<number> {
  if (candidates.length <= MAX_CANDIDATES_PER_USER) return new Set();
  const counts = new Map<number, number>();
  for (const { expectedIdentity } of candidates)
    counts.set(expectedIdentity.uid, (counts.get(expectedIdentity.uid) ?? 0) + 1);
  return new Set([...counts].flatMap(([uid, count]) => (count > MAX_CANDIDATES_PER_USER ? [uid] : [])));
}

const markOverQuota = <T extends ClayProbe>(clay: T): T => ({
  ...clay,
  permissionProblem: `Clay ${clay.daemon.pid} was left alone: ${TOO_MANY_PROCESSES}`,
});

/** A person has one Clay, or a few. Each is asked for its status, and its answer may be long. */
const MAX_DAEMONS_PER_USER = 64;

/** The probes with at most so many daemons of each user; what was left out is a refusal. */
export function capDaemonsPerUser(probes: readonly HomeProbe[]): HomeProbe[] {
  const counts = new Map<number, number>();
  const isWithin = ({ uid }: Daemon): boolean => {
    const count = (counts.get(uid) ?? 0) + 1;
    counts.set(uid, count);
    return count <= MAX_DAEMONS_PER_USER;
  };
  return probes.map((probe) => {
    const daemons = probe.daemons.filter(isWithin);
    if (daemons.length === probe.daemons.length) return probe;
    return { ...probe, daemons, refusals: [...probe.refusals, `its user has more than ${MAX_DAEMONS_PER_USER} Clays`] };
  });
}

/** The process table can name any number of homes: any user can start processes that look like daemons. */
const MAX_HOMES_FROM_PROCESSES = 256;

/** Adds the homes that the process table names; beyond the limit, the oldest that it no longer names are dropped. */
export function addFoundHomes(homes: Set<string>, named: readonly string[]): void {
  for (const home of named) homes.add(home);
  for (const home of homes) {
    if (homes.size <= MAX_HOMES_FROM_PROCESSES) break;
    if (!named.includes(home)) homes.delete(home);
  }
}
