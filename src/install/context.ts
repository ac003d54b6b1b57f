import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ownHome } from '../fs/passwd.ts';
import { systemStateDirectories } from '../history/store.ts';
import { type InstallPaths, systemPaths, type UserContext, userPaths } from './paths.ts';

/** The machine to install on and the program to install. All paths are absolute. */
export type InstallContext = UserContext & {
  /** The root directory; tests use another one than /. */
  readonly root: string;
  /** The directory `systemd` of the package. */
  readonly templates: string;
  readonly node: string;
  readonly program: string;
  /** Whether the systemd in question (the system's or the user's) is running. */
  readonly systemdRunning: boolean;
  /** The version of systemd; null if there is none, or if it does not say. */
  readonly systemdVersion: number | null;
};

/** A file that `install` writes. `text`: null if it is missing, empty if it is anything but a regular file. */
type InstalledFile = { readonly path: string; readonly text: string | null };

/** What is on the machine before `install` or `uninstall`, and the templates of the package. */
export type Installed = {
  readonly templates: { readonly unit: string; readonly config: string };
  readonly unit: InstalledFile;
  readonly config: InstalledFile;
  /** The drop-in (systemd.unit(5)) of a trial. */
  readonly trial: InstalledFile;
  /** Whether there are drop-ins beside that of a trial. */
  readonly hasDropIns: boolean;
  readonly hasConfigDirectory: boolean;
  /** The state directories that exist. */
  readonly state: readonly { readonly path: string; readonly isEmpty: boolean }[];
  /**
   * A directory at the place of the link that systemd needs to its state directory: the service then fails to start with
   * status 238/STATE_DIRECTORY, "File exists". Null if there is none.
   */
  readonly blockedState: { readonly path: string; readonly target: string } | null;
};

/** The context of this process. `program`: the running script; `templates`: the directory `systemd` of its package. */
export function currentContext(program: string, templates: string, forUser: boolean): InstallContext {
  const euid = process.geteuid?.() ?? -1;
  // sudo and su remove XDG_RUNTIME_DIR, and "systemctl --user" needs it.
  const runtimeDirectory = process.env.XDG_RUNTIME_DIR ?? `/run/user/${euid}`;
  return {
    root: '/',
    env: { ...process.env, XDG_RUNTIME_DIR: runtimeDirectory },
    euid,
    home: ownHome(),
    templates: realpathSync(templates),
    node: process.execPath,
    program: realpathSync(program),
    // sd_booted(3); the systemd of a user has its socket in the runtime directory.
    systemdRunning: existsSync(forUser ? join(runtimeDirectory, 'systemd/private') : '/run/systemd/system'),
    systemdVersion: currentSystemdVersion(),
  };
}

/** The version of this machine's systemd, from "systemd 252 (252.39-1~deb12u2)"; null if there is none, or if it does not say. */
export function currentSystemdVersion(): number | null {
  try {
    const output = execFileSync('systemctl', ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    const version = /^systemd (\d+)/.exec(output)?.[1];
    return version === undefined ? null : Number(version);
  } catch {
    return null;
  }
}

/** Reads what is on the machine. Throws a system error if that is not possible. */
export function readInstalled(context: InstallContext, forUser: boolean): Installed {
  const paths: InstallPaths = forUser ? userPaths(context) : systemPaths(context.root);
  return {
    templates: {
      unit: readFileSync(join(context.templates, paths.template), 'utf8'),
      config: readFileSync(join(context.templates, 'config.toml'), 'utf8'),
    },
    unit: readInstalledFile(paths.unit),
    config: readInstalledFile(paths.config),
    trial: readInstalledFile(paths.trial),
    hasDropIns: listDropIns(paths.unit).some((name) => join(`${paths.unit}.d`, name) !== paths.trial),
    hasConfigDirectory: exists(dirname(paths.config)),
    blockedState: forUser ? null : permitted(() => findBlockedState(context.root), null),
    state: paths.state
      .filter((path) => permitted(() => exists(path), false))
      .map((path) => ({ path, isEmpty: permitted(() => readdirSync(path).length === 0, false) })),
  };
}

/** The first component of `path`, from the file up to /, that a user other than root can replace; null if none. */
export function writableByOthers(path: string): string | null {
  const stats = statSync(path, { throwIfNoEntry: false });
  // In a sticky directory, only its owner can replace a file.
  const isWritable = stats !== undefined && (stats.mode & 0o022) !== 0 && (stats.mode & 0o1000) === 0;
  if ((stats?.uid ?? 0) !== 0 || isWritable) return path;
  return path === dirname(path) ? null : writableByOthers(dirname(path));
}

/** True for anything at this path, including a dangling symbolic link. */
const exists = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

const listDropIns = (unit: string): string[] => (exists(`${unit}.d`) ? readdirSync(`${unit}.d`) : []);

/** What `read` returns, or `otherwise` if it may not: only root can look at the state of the service, and a dry run needs no root. */
function permitted<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EACCES') return otherwise;
    throw error;
  }
}

function findBlockedState(root: string): Installed['blockedState'] {
  const { link, target } = systemStateDirectories(root);
  const isDirectory = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  return isDirectory(link) && isDirectory(target) ? { path: link, target } : null;
}

function readInstalledFile(path: string): InstalledFile {
  if (!exists(path)) return { path, text: null };
  return { path, text: lstatSync(path).isFile() ? readFileSync(path, 'utf8') : '' };
}
