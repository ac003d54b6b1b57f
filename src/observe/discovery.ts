import { type Daemon, type HomeProbe, type HomeProber, newHomeProber } from '../clay/daemon.ts';
import { type Homes, isSameHome } from '../clay/homes.ts';
import { readUserNames } from '../fs/passwd.ts';
import type { UserBudgets } from '../fs/user-budget.ts';
import { keyOf } from '../proc/process-id.ts';
import { readOwner } from '../proc/process-list.ts';
import { readStat } from '../proc/stat.ts';
import { readStatus } from '../proc/status.ts';
import { sleep } from '../sleep.ts';
import { type Abandoned, type ScannedDaemon, scanProcesses } from './process-scan.ts';
import { addFoundHomes, capDaemonsPerUser } from './user-quotas.ts';

/** The Clays that run, and the processes that dead ones may have left behind. */
export type Discovery = {
  readonly homes: readonly HomeProbe[];
  /** Each daemon once, even if several homes lead to it. */
  readonly daemons: readonly Daemon[];
  readonly abandoned: readonly Abandoned[];
  /** A sentence about the Clays of containers, which are left alone; null if there are none. */
  readonly inContainers: string | null;
  /** A sentence about each Clay that runs, but to which no home leads. */
  readonly withoutHome: readonly string[];
  /** Why the process table could not be scanned, else null. */
  readonly note: string | null;
  /** Where a Clay runs that was not looked at, and what to do about it; null if none was seen. */
  readonly hint: string | null;
  /** Whether daemons were searched in the process table, and not only in the named homes. */
  readonly searchedProcesses: boolean;
};

/** Finds Clays, sweep after sweep. */
export type Discoverer = {
  /** `homes`: where to look now; asked again with every scan. `nowMs`: the monotonic time. */
  readonly discover: (homes: () => Homes, nowMs: number) => Promise<Discovery>;
};

/** While no Clay runs, one without a known home may start at any time. A scan takes 15 ms with `ps`. */
const SCAN_INTERVAL_WITHOUT_CLAY_MS = 60_000;

/** A user may be added, or start a Clay in an unknown home, while another Clay runs. A scan takes 0.05 ms per process. */
const SCAN_INTERVAL_MS = 4 * 60_000;

/** A Clay that stops takes its pid out of daemon.json before it exits; what is still there after this time does not stop. */
const LOST_AFTER_MS = 1_000;

/**
 * Makes a discoverer that knows nothing yet. It reads the password database and scans the process table the first time, when a
 * daemon has come or gone, and now and then.
 */
export function newDiscoverer(procRoot: string, budgets: UserBudgets): Discoverer {
  const foundHomes = new Set<string>();
  let prober: HomeProber = newHomeProber(procRoot, budgets);
  let homes: Homes | null = null;
  let lastReader: (() => Homes) | null = null;
  let lastScanMs: number | null = null;
  let lastDaemons: ReadonlySet<string> = new Set();
  let running: readonly ScannedDaemon[] = [];
  let lastLost: ReadonlySet<number> = new Set();
  let scanned: Pick<Discovery, 'abandoned' | 'inContainers' | 'note' | 'hint'> = {
    abandoned: [],
    inContainers: null,
    note: null,
    hint: null,
  };

  const useHomes = (current: Homes): Homes => {
    prober = newHomeProber(procRoot, budgets, current.trustedPackages);
    return current;
  };

  /** A home of the password database in which no Clay has been seen gives no warning about its file system. */
  const probe = (home: string, isGuess: boolean): HomeProbe => {
    const place = budgets.guard().check(`${home}/daemon.json`);
    return isGuess && !place.ok && place.failure.code === 'io'
      ? { home, daemons: [], refusals: [], absentReason: place.failure.detail }
      : prober.probe(home);
  };

  const probeHomes = ({ paths, discover }: Homes): HomeProbe[] =>
    capDaemonsPerUser(
      [...new Set([...paths, ...foundHomes])].map((home) => probe(home, discover !== 'none' && !foundHomes.has(home))),
    );

  const isScanDue = (daemons: readonly Daemon[], nowMs: number): boolean => {
    if (lastScanMs === null) return true;
    const interval = daemons.length === 0 ? SCAN_INTERVAL_WITHOUT_CLAY_MS : SCAN_INTERVAL_MS;
    if (nowMs - lastScanMs >= interval) return true;
    return daemons.length !== lastDaemons.size || daemons.some((daemon) => !lastDaemons.has(keyOf(daemon)));
  };

  const scan = async ({ discover, paths, trustedPackages }: Homes, findDaemon: boolean): Promise<void> => {
    const found = await scanProcesses(procRoot, { onlyOwn: discover === 'user', findDaemon, trustedPackages, budgets });
    const isWanted = ({ home, uid }: Abandoned): boolean =>
      discover !== 'none' || paths.some((path) => isSameHome(path, home, budgets.of(uid)));
    const isNamed = ({ pid, homes }: ScannedDaemon): boolean => {
      const budget = budgets.of(readOwner(procRoot, pid) ?? 0);
      return homes.some((home) => paths.some((path) => isSameHome(path, home, budget)));
    };
    running = discover === 'none' ? found.daemons.filter(isNamed) : found.daemons;
    scanned = {
      abandoned: found.abandoned.filter(isWanted),
      inContainers: discover === 'none' ? null : found.inContainers,
      note: found.problem,
      hint:
        discover === 'none'
          ? otherHomesHint(found.daemons.filter((daemon) => !running.includes(daemon)))
          : foreignDaemonHint(procRoot, found.foreignDaemons),
    };
    // One user may run several Clays.
    if (discover !== 'none') addFoundHomes(foundHomes, [...new Set(found.daemons.flatMap((daemon) => daemon.homes))]);
  };

  return {
    discover: async (readHomes, nowMs) => {
      // The configuration was loaded again if this is another reader.
      if (homes === null || readHomes !== lastReader) homes = useHomes(readHomes());
      lastReader = readHomes;
      let probes = probeHomes(homes);
      let daemons = daemonsOf(probes);
      if (isScanDue(daemons, nowMs)) {
        homes = readHomes();
        await scan(homes, daemons.length === 0);
        lastScanMs = nowMs;
        probes = probeHomes(homes);
        daemons = daemonsOf(probes);
      }
      let lost = running.filter((daemon) => isLost(daemon, daemons, probes, procRoot));
      if (lost.some(({ pid }) => !lastLost.has(pid))) {
        await sleep(LOST_AFTER_MS, null);
        budgets.forgetMounts();
        probes = probeHomes(homes);
        daemons = daemonsOf(probes);
        lost = running.filter((daemon) => isLost(daemon, daemons, probes, procRoot));
      }
      lastLost = new Set(lost.map(({ pid }) => pid));
      lastDaemons = new Set(daemons.map(keyOf));
      const withoutHome = describeLost(lost);
      return { homes: probes, daemons, ...scanned, withoutHome, searchedProcesses: homes.discover !== 'none' };
    },
  };
}

function daemonsOf(probes: readonly HomeProbe[]): Daemon[] {
  const daemons = new Map<string, Daemon>();
  for (const daemon of probes.flatMap((probe) => probe.daemons)) {
    if (!daemons.has(keyOf(daemon))) daemons.set(keyOf(daemon), daemon);
  }
  return [...daemons.values()];
}

/** More Clays than this are counted, not named. */
const MAX_NAMED = 3;

/** "Clay 142 runs as root: use sudo", for a user whose own Clay does not run. */
function foreignDaemonHint(procRoot: string, pids: readonly number[]): string | null {
  if (pids.length === 0) return null;
  const names = readUserNames();
  const described = pids.slice(0, MAX_NAMED).map((pid) => {
    const status = readStatus(procRoot, pid);
    const uid = status.ok ? status.value.uids[1] : null;
    return `Clay ${pid} runs as ${uid === null ? 'another user' : (names.get(uid) ?? `uid ${uid}`)}`;
  });
  const rest = pids.length > MAX_NAMED ? [`${pids.length - MAX_NAMED} more run`] : [];
  return `${[...described, ...rest].join(', ')}: use sudo`;
}

/** For a user who named homes without a running Clay: where one runs. */
function otherHomesHint(running: readonly ScannedDaemon[]): string | null {
  const others = [...new Set(running.flatMap(({ homes }) => homes[0] ?? []))];
  return others.length === 0
    ? null
    : `Clay runs with the home ${others.slice(0, MAX_NAMED).join(', ')}: name it with --clay-home, or leave the option out`;
}

/** Whether a process runs Clay's daemon, but no home leads to it, and none was refused, which is said already. */
function isLost(
  { pid, ppid, homes, isClay }: ScannedDaemon,
  daemons: readonly Daemon[],
  probes: readonly HomeProbe[],
  procRoot: string,
): boolean {
  if (!isClay || probes.some(({ home, refusals }) => refusals.length > 0 && homes.includes(home))) return false;
  // A program that started a daemon (nodemon) has the same words in its command line.
  const isParent = (daemon: Daemon): boolean => {
    const stat = readStat(procRoot, daemon.pid);
    return stat.ok && stat.value.ppid === pid;
  };
  // A child of a daemon between fork(2) and execve(2) still has its parent's command line and environment.
  const isKnown = (daemon: Daemon): boolean => daemon.pid === pid || daemon.pid === ppid || isParent(daemon);
  return !daemons.some(isKnown) && readStat(procRoot, pid).ok;
}

function describeLost(lost: readonly ScannedDaemon[]): string[] {
  const lines = lost.slice(0, MAX_NAMED).map(({ pid, homes }) => {
    const why =
      homes.length === 0
        ? 'its environment, which would name its home, cannot be read'
        : `none of its homes has a daemon.json that names it (${homes.join(', ')})`;
    return `Clay ${pid} was left alone: ${why}; name its home with --clay-home, or start Clay again`;
  });
  const more = lost.length - MAX_NAMED;
  return more > 0 ? [...lines, `${more} more Clays without a home were left alone`] : lines;
}
