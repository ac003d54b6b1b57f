import type { HomeProbe } from '../clay/daemon.ts';
import { type Homes, isPrivileged } from '../clay/homes.ts';
import {
  type BudgetLimits,
  newUserBudgets,
  ONE_SHOT_LIMITS,
  SERVICE_LIMITS,
  type UserBudgets,
} from '../fs/user-budget.ts';
import type { Evidence } from '../judge/evidence.ts';
import { newOwnMountsReader } from '../proc/mountinfo.ts';
import { type Candidate, findCandidates, type ObservedClay } from './candidates.ts';
import type { ObservedClock } from './clock.ts';
import { newDiscoverer } from './discovery.ts';
import { collectEvidence } from './evidence.ts';
import { newProber } from './probe.ts';
import { newProcessCache, type ProcessCache } from './process-cache.ts';
import { capCandidatesPerUser, markLeftAlone, TOO_MANY_PROCESSES } from './user-quotas.ts';

/** What was found at one moment. */
export type Observation = {
  readonly at: ObservedClock;
  readonly clays: readonly ObservedClay[];
  readonly candidates: readonly Candidate[];
  readonly homes: readonly HomeProbe[];
  /** Why the process table could not be scanned, or that one user has too many processes; else null. */
  readonly scanNote: string | null;
  /** A sentence about the Clays of containers, which are left alone; null if there are none. */
  readonly inContainers: string | null;
  /** A sentence about each Clay that runs, but to which no home leads. */
  readonly withoutHome: readonly string[];
  /** Where a Clay runs that was not looked at, and what to do about it; null if none was seen. */
  readonly hint: string | null;
  /** Whether daemons were searched in the process table, and not only in the named homes. */
  readonly searchedProcesses: boolean;
  /** Why the processes of users without a Clay of their own were left alone, a line each. */
  readonly leftAlone: readonly string[];
  readonly evidence: readonly Evidence[];
  readonly cache: ProcessCache;
  readonly budgets: UserBudgets;
};

/** Where to look, and from which age on a process is reported. */
export type ObserveSettings = {
  /** Where to look for Clay now; asked again now and then, because users come and go. */
  readonly homes: () => Homes;
  readonly minAgeMs: number;
};

/** Observes sweep after sweep, and keeps what the next one needs. */
export type Observer = {
  readonly observe: (settings: ObserveSettings, clock: () => ObservedClock) => Promise<Observation>;
};

/** What differs between a service, which sweeps again and again, and a one-shot command. */
export type ObserverOptions = {
  /** What reading for one user may cost in one sweep. */
  readonly limits: BudgetLimits;
  /** Whether the tables of unix sockets are believed, in which a user can forge rows: the service reads the others before a kill. */
  readonly trustUnixTable: boolean;
};

/** For the service. */
export const SERVICE_OBSERVER: ObserverOptions = { limits: SERVICE_LIMITS, trustUnixTable: true };

/** For a one-shot command, whose answer a person reads. */
export const ONE_SHOT_OBSERVER: ObserverOptions = { limits: ONE_SHOT_LIMITS, trustUnixTable: false };

/** Makes an observer that has seen nothing yet. */
export function newObserver(procRoot: string, { limits, trustUnixTable }: ObserverOptions): Observer {
  const budgets = newUserBudgets(limits, isPrivileged(procRoot) ? newOwnMountsReader(procRoot) : null);
  const [discoverer, prober] = [newDiscoverer(procRoot, budgets), newProber(procRoot, budgets)];
  const cache = newProcessCache(procRoot);
  return {
    observe: async ({ homes, minAgeMs }, clock) => {
      budgets.beginSweep();
      // The age by which what is not understood is told from what has just started may be some seconds short.
      const { monotonicMs, uptimeMs } = clock();
      const discovery = await discoverer.discover(homes, monotonicMs);
      const probes = await prober.probe(discovery.daemons);
      const found = findCandidates({ procRoot, cache, budgets, uptimeMs, minAgeMs }, probes, discovery.abandoned);
      const { candidates, exceeded, ...capped } = capCandidatesPerUser(found.clays, found.candidates);
      const at = clock();
      const collected = collectEvidence(procRoot, candidates, cache, at, budgets, { trustUnixTable });
      const evidence = collected.filter(({ uid }) => budgets.whyLeftAlone(uid) === null);
      const { clays, others } = markLeftAlone(capped.clays, budgets);
      const scanNote = exceeded ? TOO_MANY_PROCESSES : discovery.note;
      const { homes: probedHomes, inContainers, withoutHome, hint, searchedProcesses } = discovery;
      return {
        at,
        clays,
        candidates,
        homes: probedHomes,
        inContainers,
        withoutHome,
        scanNote,
        hint,
        searchedProcesses,
        leftAlone: others,
        evidence,
        cache,
        budgets,
      };
    },
  };
}
