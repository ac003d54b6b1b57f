import { lstatSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import * as v from 'valibot';
import {
  attempt,
  fail,
  firmFolder,
  isStill,
  ok,
  type Result,
  readForeignText,
  type Version,
  versionOf,
} from '../files.ts';
import { parseJsonAs } from '../json.ts';
import { readProcLink } from '../proc/read.ts';
import { isDead, readStat, type Stat } from '../proc/stat.ts';
import { readStatus, singleUid } from '../proc/status.ts';
import { readCmdline } from '../proc/strings.ts';
import { Path, Slug } from './api.ts';

/** A Clay daemon that the kernel confirms: process, daemon.json and socket belong to one and the same uid. */
export type Daemon = {
  readonly pid: number;
  readonly startTicks: number;
  readonly uid: number;
  /** The real path: no link in it that somebody could turn. */
  readonly home: string;
  readonly socketPath: string;
  /** The folder of daemon.js, where sdk-worker.js lies too. */
  readonly libDir: string;
  /** The projects in its daemon.json. */
  readonly projects: readonly ProjectFolder[];
};

/** A project as daemon.json names it. */
export type ProjectFolder = { readonly slug: string; readonly path: string };

/** What a Clay home leads to. */
export type HomeLook = {
  readonly home: string;
  readonly daemons: readonly Daemon[];
  /** Why its daemon.json or daemon-dev.json leads to no trustworthy daemon; empty if there are none. */
  readonly refusals: readonly string[];
  /** Why there is nothing, in words, if there is neither a daemon nor a refusal. */
  readonly nothing: string | null;
};

const DaemonFile = v.object({
  pid: v.pipe(v.number(), v.integer(), v.minValue(2), v.maxValue(2 ** 22)),
  projects: v.optional(v.array(v.object({ slug: v.optional(Slug), path: v.optional(Path) })), []),
});

/** daemon.json as far as it is used. */
export type DaemonFile = v.InferOutput<typeof DaemonFile>;

/** Holds thousands of projects. */
const MAX_DAEMON_FILE_BYTES = 1024 * 1024;

/** The names of daemon.json and daemon.sock, in ordinary and in dev mode. */
const FLAVOURS = [
  { config: 'daemon.json', socket: 'daemon.sock' },
  { config: 'daemon-dev.json', socket: 'daemon-dev.sock' },
] as const;

/** Daemons that were confirmed, by the path that led to their daemon.json. */
export type ConfirmedDaemons = Map<string, { readonly file: Version; readonly comm: string; readonly daemon: Daemon }>;

/** Looks for living, trustworthy daemons in one Clay home. One in `confirmed` stays so while it and its file are the very same. */
export function lookAtHome(procRoot: string, home: string, confirmed: ConfirmedDaemons = new Map()): HomeLook {
  const daemons: Daemon[] = [];
  const refusals: string[] = [];
  let nothing: string | null = null;
  for (const flavour of FLAVOURS) {
    const path = `${home}/${flavour.config}`;
    const known = stillConfirmed(procRoot, path, confirmed);
    const found = known ? ok(known) : confirmDaemon(procRoot, home, flavour, confirmed);
    if (found.ok) daemons.push(found.value);
    else if (found.failure.why === 'gone') nothing ??= found.failure.detail;
    else refusals.push(found.failure.detail);
  }
  return { home, daemons, refusals, nothing: daemons.length + refusals.length > 0 ? null : nothing };
}

function stillConfirmed(procRoot: string, path: string, confirmed: ConfirmedDaemons): Daemon | null {
  const known = confirmed.get(path);
  if (!known || !isStill(path, known.file)) return null;
  const stat = readStat(procRoot, known.daemon.pid);
  const isSame = stat.ok && stat.value.startTicks === known.daemon.startTicks && stat.value.comm === known.comm;
  return isSame && !isDead(stat.value) ? known.daemon : null;
}

function confirmDaemon(
  procRoot: string,
  givenHome: string,
  flavour: (typeof FLAVOURS)[number],
  confirmed: ConfirmedDaemons,
): Result<Daemon> {
  const givenPath = `${givenHome}/${flavour.config}`;
  confirmed.delete(givenPath);
  const config = attempt(givenPath, () => lstatSync(givenPath, { throwIfNoEntry: false }));
  if (!config.ok) return config;
  if (config.value === undefined) return fail('gone', `${givenPath} is not there`);
  const { uid } = config.value;
  const folder = firmFolder(givenHome, uid);
  if (!folder.ok) return folder;
  const home = folder.value;
  const path = `${home}/${flavour.config}`;
  const file = readDaemonFile(path, uid);
  if (!file.ok) return file;
  const { pid } = file.value;

  const stat = readStat(procRoot, pid);
  // A Clay that crashed leaves daemon.json behind: that is no daemon, and nothing to complain of.
  if (!stat.ok && stat.failure.why === 'gone')
    return fail('gone', `${flavour.config} names pid ${pid}, which does not run`);
  if (!stat.ok) return stat;
  if (isDead(stat.value)) return fail('gone', `${flavour.config} names pid ${pid}, which is dead`);

  const script = confirmDaemonProcess(procRoot, stat.value, uid);
  if (!script.ok) return fail('odd', `${flavour.config} names pid ${pid}, but ${script.failure.detail}`);

  const socketPath = `${home}/${flavour.socket}`;
  const socket = attempt(flavour.socket, () => lstatSync(socketPath));
  // A daemon that is starting has no socket yet, one that is going has none any more: ask it, and it will not answer.
  if (!socket.ok && socket.failure.why !== 'gone') return socket;
  if (socket.ok && !socket.value.isSocket()) return fail('odd', `${flavour.socket} is not a socket`);
  if (socket.ok && socket.value.uid !== uid) {
    return fail('odd', `${flavour.socket} belongs to uid ${socket.value.uid}, ${flavour.config} to uid ${uid}`);
  }
  const { startTicks, comm } = stat.value;
  const projects = projectFolders(file.value);
  const daemon = { pid, startTicks, uid, home, socketPath, libDir: dirname(script.value), projects };
  confirmed.set(givenPath, { file: versionOf(config.value), comm, daemon });
  return ok(daemon);
}

/** The projects that a daemon.json names in full. */
export const projectFolders = (file: DaemonFile): ProjectFolder[] =>
  file.projects.flatMap(({ slug, path }) => (slug === undefined || path === undefined ? [] : [{ slug, path }]));

/** Reads and checks a daemon.json; `ownerUid`: whose it has to be. */
export function readDaemonFile(path: string, ownerUid: number): Result<DaemonFile> {
  const text = readForeignText(path, ownerUid, MAX_DAEMON_FILE_BYTES);
  return text.ok ? parseDaemonFile(text.value, path) : text;
}

/** Parses the text of a daemon.json. */
export function parseDaemonFile(text: string, path: string): Result<DaemonFile> {
  const file = parseJsonAs(DaemonFile, text);
  return file.ok ? file : fail('odd', `${path} ${file.failure.detail}`);
}

/** Confirms that a process is Clay's daemon, of this uid and in this pid namespace; gives the path of its daemon.js. */
function confirmDaemonProcess(procRoot: string, stat: Stat, uid: number): Result<string> {
  const status = readStatus(procRoot, stat.pid);
  if (!status.ok) return status;
  if (singleUid(status.value) !== uid) return fail('odd', `that process does not belong to uid ${uid}`);
  if (status.value.pidNamespaceDepth !== 1) return fail('odd', 'that process lives in another pid namespace');
  const script = daemonScript(procRoot, stat.pid);
  if (!script.ok) return script;
  return script.value === null ? fail('odd', "that process does not run Clay's daemon") : ok(script.value);
}

/** The daemon.js that a process runs, or null if it is not Clay's. */
export function daemonScript(procRoot: string, pid: number): Result<string | null> {
  const script = clayScript(procRoot, pid, 'daemon.js');
  if (!script.ok || script.value === null) return script;
  return ok(isClayServer(procRoot, pid, dirname(dirname(script.value))) ? script.value : null);
}

/** Whether a process is a worker of that daemon: Clay's sdk-worker.js from the same folder, as its child. */
export function isWorkerOf(procRoot: string, stat: Stat, daemon: Daemon): boolean {
  if (stat.ppid !== daemon.pid) return false;
  const script = clayScript(procRoot, stat.pid, 'sdk-worker.js');
  return script.ok && script.value !== null && dirname(script.value) === daemon.libDir;
}

/** The absolute path of `…/lib/<name>` in a process's command line, or null; options of Node may stand before it. */
function clayScript(procRoot: string, pid: number, name: string): Result<string | null> {
  const cmdline = readCmdline(procRoot, pid);
  if (!cmdline.ok) return cmdline;
  const word = cmdline.value.slice(1).find((each) => each === `lib/${name}` || each.endsWith(`/lib/${name}`));
  if (word === undefined) return ok(null);
  if (word.startsWith('/')) return ok(resolve(word));
  const cwd = readProcLink(`${procRoot}/${pid}/cwd`);
  return cwd.ok ? ok(resolve(cwd.value, word)) : cwd;
}

const PackageFile = v.object({ name: v.literal('clay-server') });

/** Whether a folder is that of the package clay-server, by its place or by its package.json as the process sees it. */
function isClayServer(procRoot: string, pid: number, folder: string): boolean {
  if (folder.endsWith('/clay-server')) return true;
  const text = readForeignText(`${procRoot}/${pid}/root${folder}/package.json`, null, MAX_DAEMON_FILE_BYTES);
  return text.ok && parseJsonAs(PackageFile, text.value).ok;
}
