import { lstatSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { type FileFingerprint, fingerprint, isUnchanged } from '../fs/file-cache.ts';
import { parseJsonAs } from '../fs/json.ts';
import { readPasswd } from '../fs/passwd.ts';
import { resolveTrustedDirectory } from '../fs/trusted-directory.ts';
import { readUntrustedText } from '../fs/untrusted-file.ts';
import { BUDGET_EXHAUSTED, type UserBudget, type UserBudgets } from '../fs/user-budget.ts';
import { readEnviron } from '../proc/environ.ts';
import { isDead, readStat, type Stat } from '../proc/stat.ts';
import { readStatus, singleUid } from '../proc/status.ts';
import { attempt, fail, ok, type Result } from '../result.ts';
import {
  checkPackage,
  daemonInstallation,
  type Installation,
  runsScriptOf,
  runsSetuidProgram,
} from './installation.ts';
import { Path, Slug } from './status-socket.ts';
import { homeOfUser, readSudoUid, refuseForeignLinks } from './sudo-user.ts';

/** A Clay daemon that the kernel confirms: process, daemon.json and socket belong to the same uid. */
export type Daemon = {
  readonly pid: number;
  readonly startTicks: number;
  readonly uid: number;
  /** Where its sessions/ are. The real path, without links that somebody could turn. */
  readonly home: string;
  readonly socketPath: string;
  readonly installation: Installation;
  /** Whether a tool of a `claude` started it: all processes below it inherit CLAUDECODE then. */
  readonly insideTool: boolean;
  /** The projects in its daemon.json. */
  readonly projects: readonly ProjectFolder[];
};

/** A project as daemon.json names it. */
export type ProjectFolder = { readonly slug: string; readonly path: string };

/** What a Clay home leads to. */
export type HomeProbe = {
  readonly home: string;
  readonly daemons: readonly Daemon[];
  /** Why its daemon.json or daemon-dev.json leads to no trustworthy daemon; empty if there are none. */
  readonly refusals: readonly string[];
  /** Why there is nothing, if there is neither a daemon nor a refusal. */
  readonly absentReason: string | null;
};

const DaemonFile = v.pipe(
  v.unknown(),
  // valibot takes a list for an object, and none of these keys has to be there.
  v.check((file) => !Array.isArray(file)),
  v.object({
    // In a container Clay can be PID 1. It takes its pid out of the file when it stops.
    pid: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(2 ** 22)), null),
    projects: v.optional(v.array(v.object({ slug: v.optional(Slug), path: v.optional(Path) })), []),
  }),
);

/** daemon.json as far as it is used. */
export type DaemonFile = v.InferOutput<typeof DaemonFile>;

/** Holds thousands of projects. */
const MAX_DAEMON_FILE_BYTES = 1024 * 1024;

/** The names of daemon.json and daemon.sock, in ordinary and in dev mode. */
const MODES = [
  { config: 'daemon.json', socket: 'daemon.sock' },
  { config: 'daemon-dev.json', socket: 'daemon-dev.sock' },
] as const;
type Mode = (typeof MODES)[number];

/** Probes homes, and verifies a daemon again only when it or its daemon.json has changed. */
export type HomeProber = {
  /** Looks for running, trustworthy daemons in one Clay home. */
  readonly probe: (home: string) => HomeProbe;
};

/** A daemon that was verified before, and what has to be the same for it to stay so. */
type VerifiedDaemon = { readonly file: FileFingerprint; readonly comm: string; readonly daemon: Daemon };

/** Makes a prober that knows no daemon yet. `trustedPackages`: forks of Clay that the configuration trusts. */
export function newHomeProber(
  procRoot: string,
  budgets: UserBudgets,
  trustedPackages: readonly string[] = [],
): HomeProber {
  const verified = new Map<string, VerifiedDaemon>();

  const isStillValid = (path: string, known: VerifiedDaemon): boolean => {
    const budget = budgets.of(known.daemon.uid);
    budget.reserve(itemsOf(known.daemon));
    // If nothing may be read for this user, its Clay stays known, and its processes are left alone.
    return (budget.exhausted() || isUnchanged(path, known.file, budget)) && isStillRunning(procRoot, known);
  };

  const probeMode = (home: string, mode: Mode): Result<Daemon> => {
    const path = `${home}/${mode.config}`;
    const known = verified.get(path);
    if (known && isStillValid(path, known)) return ok(known.daemon);
    verified.delete(path);
    const allowed = budgets.guard().check(path);
    if (!allowed.ok) return allowed;
    const config = attempt(path, () => lstatSync(path, { throwIfNoEntry: false }));
    if (!config.ok) return config;
    if (config.value === undefined) return fail('not-found', `${path} is not there`);
    const budget = budgets.of(config.value.uid);
    if (budget.exhausted()) return fail('invalid', BUDGET_EXHAUSTED);
    const daemon = budget.run(() => verifyDaemon(procRoot, home, mode, budget, trustedPackages));
    if (!daemon.ok) return daemon;
    if (!budget.reserve(itemsOf(daemon.value.daemon))) return fail('invalid', BUDGET_EXHAUSTED);
    verified.set(path, { file: fingerprint(config.value), comm: daemon.value.comm, daemon: daemon.value.daemon });
    return ok(daemon.value.daemon);
  };

  return {
    probe: (home) => {
      const daemons: Daemon[] = [];
      const refusals: string[] = [];
      let absentReason: string | null = null;
      for (const mode of MODES) {
        const daemon = probeMode(home, mode);
        if (daemon.ok) daemons.push(daemon.value);
        else if (daemon.failure.code === 'not-found') absentReason ??= daemon.failure.detail;
        else refusals.push(daemon.failure.detail);
      }
      return { home, daemons, refusals, absentReason: daemons.length + refusals.length > 0 ? null : absentReason };
    },
  };
}

/** What is kept of a daemon, in items of 100 bytes. */
const itemsOf = ({ projects }: Daemon): number =>
  5 + Math.ceil(projects.reduce((bytes, { slug, path }) => bytes + 100 + slug.length + path.length, 0) / 100);

function isStillRunning(procRoot: string, { daemon, comm }: VerifiedDaemon): boolean {
  const stat = readStat(procRoot, daemon.pid);
  return stat.ok && stat.value.startTicks === daemon.startTicks && stat.value.comm === comm && !isDead(stat.value);
}

/** `budget`: of the owner of daemon.json, whom everything else has to belong to. */
function verifyDaemon(
  procRoot: string,
  givenHome: string,
  mode: Mode,
  budget: UserBudget,
  trustedPackages: readonly string[],
): Result<{ readonly daemon: Daemon; readonly comm: string }> {
  const { uid } = budget;
  const folder = trustHome(procRoot, givenHome, mode, budget, trustedPackages);
  if (!folder.ok) return folder;
  const file = readDaemonFile(`${folder.value.path}/${mode.config}`, uid, budget);
  if (!file.ok) return file;
  const found = findDaemonProcess(procRoot, file.value, mode, budget, trustedPackages);
  if (!found.ok) return found;
  const { stat, installation } = found.value;
  if (folder.value.sudoUid !== null) {
    // The user could have put another daemon.json of root's here meanwhile.
    const sudoUid = readSudoUid(procRoot, stat.pid, budget);
    if (!sudoUid.ok || sudoUid.value !== folder.value.sudoUid)
      return fail('invalid', `${mode.config} changed while it was read`);
  }

  const place = findSocket(procRoot, stat.pid, folder.value.path, mode, budget, folder.value.sudoUid);
  if (!place.ok) return place;
  const { pid, startTicks, comm } = stat;
  const daemon = { pid, startTicks, uid, ...place.value, installation, projects: projectFolders(file.value) };
  return ok({ daemon, comm });
}

/** The real path of a home that nobody but its owner can exchange; `sudoUid`: the user who owns folders on the way, if not null. */
function trustHome(
  procRoot: string,
  givenHome: string,
  mode: Mode,
  budget: UserBudget,
  trustedPackages: readonly string[],
): Result<{ readonly path: string; readonly sudoUid: number | null }> {
  const { uid } = budget;
  const trusted = resolveTrustedDirectory(givenHome, budget, uid);
  if (trusted.ok) return ok({ path: trusted.value, sudoUid: null });
  if (uid !== 0) return trusted;
  // A root daemon behind sudo keeps its home in that of the user whom its own environment names (measured on 2.36 and 2.41).
  const real = attempt(givenHome, () => realpathSync(givenHome));
  if (!real.ok) return real;
  const file = readDaemonFile(`${real.value}/${mode.config}`, 0, budget);
  if (!file.ok) return file.failure.code === 'not-found' ? file : trusted;
  const found = findDaemonProcess(procRoot, file.value, mode, budget, trustedPackages);
  if (!found.ok) return found;
  const sudoUid = readSudoUid(procRoot, found.value.stat.pid, budget);
  if (!sudoUid.ok) return sudoUid;
  if (sudoUid.value === null) return trusted;
  const withoutLinks = refuseForeignLinks(givenHome, budget);
  if (!withoutLinks.ok) return withoutLinks;
  const path = resolveTrustedDirectory(givenHome, budget, sudoUid.value);
  return path.ok ? ok({ path: path.value, sudoUid: sudoUid.value }) : path;
}

/** The process that a daemon.json names, after making sure that it runs Clay's daemon under this uid. */
function findDaemonProcess(
  procRoot: string,
  { pid }: DaemonFile,
  { config }: Mode,
  budget: UserBudget,
  trustedPackages: readonly string[],
): Result<{ readonly stat: Stat; readonly installation: Installation }> {
  if (pid === null) return fail('not-found', `${config} names no pid: that Clay was stopped`);
  const stat = readStat(procRoot, pid);
  // A Clay that crashed leaves daemon.json behind, which is no error.
  if (!stat.ok && stat.failure.code === 'not-found')
    return fail('not-found', `${config} names pid ${pid}, which does not run`);
  if (!stat.ok) return stat;
  if (isDead(stat.value)) return fail('not-found', `${config} names pid ${pid}, which is dead`);
  const installation = verifyProcess(procRoot, pid, budget, trustedPackages);
  if (installation.ok) return ok({ stat: stat.value, installation: installation.value });
  return fail('invalid', `${config} names pid ${pid}, but ${installation.failure.detail}`);
}

/** What to do about a daemon in another pid namespace: its pids mean other processes here. */
export const CONTAINER_ADVICE =
  'run clay-reaper in that container, or beside it in the same pid namespace (docker run --pid container:NAME); see docs/containers.md';

function verifyProcess(
  procRoot: string,
  pid: number,
  budget: UserBudget,
  trustedPackages: readonly string[],
): Result<Installation> {
  const { uid } = budget;
  const status = readStatus(procRoot, pid);
  if (!status.ok) return status;
  if (status.value.pidNamespaceDepth !== 1)
    return fail('invalid', `that process lives in another pid namespace, that of a container: ${CONTAINER_ADVICE}`);
  if (singleUid(status.value) !== uid) return fail('invalid', `that process does not belong to uid ${uid}`);
  const installation = daemonInstallation(procRoot, pid, budget);
  if (!installation.ok) return installation;
  if (installation.value === null) return fail('invalid', "that process does not run Clay's daemon");
  const trusted = checkPackage(installation.value, trustedPackages);
  if (!trusted.ok) return trusted;
  if (runsSetuidProgram(procRoot, pid, budget)) return fail('invalid', 'that process runs a setuid program');
  return ok(installation.value);
}

/**
 * The folder with the daemon's sessions/, and its socket. Both are beside daemon.json, unless CLAY_CONFIG leads to another folder
 * than CLAY_HOME: then they are in CLAY_HOME (measured on 2.41.1).
 */
function findSocket(
  procRoot: string,
  pid: number,
  configFolder: string,
  mode: Mode,
  budget: UserBudget,
  sudoUid: number | null,
): Result<Pick<Daemon, 'home' | 'socketPath' | 'insideTool'>> {
  const { uid } = budget;
  const environ = readEnviron(procRoot, pid, budget);
  const clayHome = environ.ok ? environ.value.get('CLAY_HOME') : undefined;
  const owners = sudoUid === null ? [uid] : [uid, sudoUid];
  const home = clayHome?.startsWith('/') ? resolveTrustedDirectory(clayHome, budget, ...owners) : ok(configFolder);
  if (!home.ok) return home;
  const socketPath = `${home.value}/${mode.socket}`;
  const socket = attempt(mode.socket, () => lstatSync(socketPath));
  // A daemon that starts has no socket yet, one that stops has none any more: it is asked, and does not answer.
  if (!socket.ok && socket.failure.code !== 'not-found') return socket;
  if (socket.ok && !socket.value.isSocket()) return fail('invalid', `${mode.socket} is not a socket`);
  if (socket.ok && socket.value.uid !== uid) {
    return fail('invalid', `${mode.socket} belongs to uid ${socket.value.uid}, ${mode.config} to uid ${uid}`);
  }
  const insideTool = environ.ok && (environ.value.get('CLAUDECODE') ?? '') !== '';
  return ok({ home: home.value, socketPath, insideTool });
}

/** The projects that a daemon.json names in full. */
export const projectFolders = (file: DaemonFile): ProjectFolder[] =>
  file.projects.flatMap(({ slug, path }) => (slug === undefined || path === undefined ? [] : [{ slug, path }]));

/** Reads and checks a daemon.json; `ownerUid`: the user who must own it. */
export function readDaemonFile(path: string, ownerUid: number, budget: UserBudget): Result<DaemonFile> {
  const text = readUntrustedText(path, ownerUid, MAX_DAEMON_FILE_BYTES, budget);
  return text.ok ? parseDaemonFile(text.value, path) : text;
}

/** Parses the text of a daemon.json. */
export function parseDaemonFile(text: string, path: string): Result<DaemonFile> {
  const file = parseJsonAs(DaemonFile, text);
  return file.ok ? file : fail('invalid', `${path} ${file.failure.detail}`);
}

/**
 * The homes that a running daemon may keep its daemon.json in, by its environment: CLAY_HOME, the folder of CLAY_CONFIG, and
 * ~/.clay of its user or of the user behind sudo, in this order. Empty if its environment cannot be read.
 */
export function homesOfDaemon(procRoot: string, pid: number, budget: UserBudget): string[] {
  const environ = readEnviron(procRoot, pid, budget);
  if (!environ.ok) return [];
  const variable = (name: string): string[] => {
    const value = environ.value.get(name);
    return value?.startsWith('/') && value.length <= MAX_PATH && !LONG_NAME.test(value) ? [value] : [];
  };
  const sudoUser = environ.value.get('SUDO_USER');
  const sudoHome = sudoUser === undefined ? null : homeOfUser(sudoUser, readPasswd());
  const homes = [
    ...variable('CLAY_HOME'),
    ...variable('CLAY_CONFIG').map(dirname),
    ...(sudoHome === null ? [] : [`${sudoHome}/.clay`]),
    ...variable('HOME').map((home) => `${home}/.clay`),
  ];
  // They are kept, and anybody can name long ones.
  return [...new Set(homes)].filter((home) => budget.reserve(1 + Math.ceil(home.length / 100)));
}

/** limits.h, PATH_MAX. */
const MAX_PATH = 4096;

/** limits.h, NAME_MAX is 255 bytes: nothing can have such a name. */
const LONG_NAME = /[^/]{256}/;

/**
 * Whether a process is a worker of a daemon: its child, running a script of the same installation. A root daemon starts one for each
 * conversation of an OS user, under that user's uid; another daemon cannot change the uid.
 */
export function isWorkerOf(procRoot: string, stat: Stat, daemon: Daemon, budget: UserBudget): boolean {
  return stat.ppid === daemon.pid && runsScriptOf(daemon.installation, procRoot, stat.pid, budget);
}
