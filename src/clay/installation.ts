import { lstatSync, realpathSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import * as v from 'valibot';
import { parseJsonAs } from '../fs/json.ts';
import { readUntrustedText } from '../fs/untrusted-file.ts';
import type { UserBudget } from '../fs/user-budget.ts';
import { readCmdline } from '../proc/cmdline.ts';
import { mountGuardOf, statOnSafeMount } from '../proc/namespaces.ts';
import { readProcLink } from '../proc/read-file.ts';
import { attempt, fail, ok, type Result } from '../result.ts';

/** The name of Clay's package on npm. */
export const CLAY_PACKAGE = 'clay-server';

/** The folder of a package whose daemon a process runs. */
export type Installation = {
  /** `…/node_modules/clay-server`; in it are lib/daemon.js and the scripts of the workers. */
  readonly folder: string;
  /** From its package.json; null if that cannot be read. */
  readonly packageName: string | null;
  readonly release: string | null;
};

/** The installation of the daemon that a process runs, by its command line; null if it runs no such script. */
export function daemonInstallation(procRoot: string, pid: number, budget: UserBudget): Result<Installation | null> {
  const words = scriptWords(procRoot, pid, budget);
  if (!words.ok) return words;
  for (const word of words.value) {
    const folder = daemonFolder(word, budget);
    if (folder !== null) return ok({ folder, ...readPackage(procRoot, pid, folder, budget) });
  }
  return ok(null);
}

/**
 * The words of a command line that may be its script, as absolute paths: options of Node may stand before it, with values of their
 * own. Words that are relative to a working directory which cannot be read are left out.
 */
function scriptWords(procRoot: string, pid: number, budget: UserBudget): Result<string[]> {
  const cmdline = readCmdline(procRoot, pid, budget);
  if (!cmdline.ok) return cmdline;
  const [program = '', ...args] = cmdline.value.filter((word) => word !== '');
  const words = (args.length > 0 ? args : wordsOfTitle(program)).filter((word) => !word.startsWith('-'));
  const absolute = words.filter((word) => word.startsWith('/'));
  if (absolute.length === words.length) return ok(words);
  const cwd = readProcLink(`${procRoot}/${pid}/cwd`);
  return ok(cwd.ok ? words.map((word) => resolve(cwd.value, word)) : absolute);
}

/** A title names a program and its script, which may have spaces in its path. */
const MAX_TITLE_WORDS = 32;

/** The arguments in a title that a process has set in place of its command line: pm2 makes it `node …/lib/daemon.js` (measured on 7.0). */
function wordsOfTitle(title: string): string[] {
  const [, ...words] = title.split(' ', MAX_TITLE_WORDS);
  return words.length > 1 ? [title.slice(title.indexOf(' ') + 1), ...words] : words;
}

/**
 * The package's folder if a script is its daemon: lib/daemon.js, or bin/cli.js, which is the daemon itself with `--debug`
 * (measured on 2.41.1) and is also started through npm's link, /usr/bin/clay-server.
 */
function daemonFolder(word: string, budget: UserBudget): string | null {
  const script = basename(word) === CLAY_PACKAGE ? canonical(word, budget) : resolve(word);
  return /\/(lib\/daemon\.js|bin\/cli\.js)$/.test(script) ? dirname(dirname(script)) : null;
}

const PackageFile = v.object({
  name: v.pipe(v.string(), v.maxLength(200)),
  version: v.optional(v.pipe(v.string(), v.maxLength(100))),
});

/** The largest package.json seen has 3 kB. */
const MAX_PACKAGE_BYTES = 1024 * 1024;

/** Name and version in a package.json: as the process sees it if root made its view of the files, else as this program does. */
function readPackage(
  procRoot: string,
  pid: number,
  folder: string,
  budget: UserBudget,
): Pick<Installation, 'packageName' | 'release'> {
  const path = `${folder}/package.json`;
  const mounts = mountGuardOf({ procRoot, pids: [] }, pid, budget);
  const isSafe = mounts.ok && mounts.value.guard.checkMounts(path).ok;
  const text = readUntrustedText(isSafe ? `${procRoot}/${pid}/root${path}` : path, null, MAX_PACKAGE_BYTES, budget);
  const file = text.ok ? parseJsonAs(PackageFile, text.value) : text;
  return file.ok
    ? { packageName: file.value.name, release: file.value.version ?? null }
    : { packageName: null, release: null };
}

/**
 * Checks that the package of an installation is Clay's, or one that the configuration trusts. An installation whose
 * package.json is gone (it was updated while the daemon runs) is known by its folder.
 */
export function checkPackage(
  { folder, packageName }: Installation,
  trustedPackages: readonly string[],
): Result<'trusted'> {
  const name = packageName ?? basename(folder);
  if (name === CLAY_PACKAGE || trustedPackages.includes(name)) return ok('trusted');
  return fail(
    'invalid',
    `that process runs the daemon of package ${JSON.stringify(name)} (${folder}), which is not ${CLAY_PACKAGE}; if it is a fork that you trust: [trust] packages = [${JSON.stringify(name)}]`,
  );
}

/** Whether a process runs a script below the lib/ of an installation: a worker that Clay has started for a user. */
export function runsScriptOf(
  { folder }: Pick<Installation, 'folder'>,
  procRoot: string,
  pid: number,
  budget: UserBudget,
): boolean {
  const words = scriptWords(procRoot, pid, budget);
  if (!words.ok) return false;
  const lib = `${folder}/lib`;
  return words.value.some(
    (word) => isBelow(resolve(word), lib) || isBelow(canonical(word, budget), canonical(lib, budget)),
  );
}

const isBelow = (path: string, folder: string): boolean => path.startsWith(`${folder}/`);

/** The path without links, or as it is where it cannot be resolved (another mount namespace). */
function canonical(path: string, budget: UserBudget): string {
  if (!budget.checkPath(`${path}/.`).ok) return resolve(path);
  const real = attempt(path, () => realpathSync(path));
  return real.ok ? real.value : resolve(path);
}

const SETUID_OR_SETGID = 0o6000;

/**
 * Whether a process runs a program with a setuid or setgid bit. Its user starts that as root, with a command line and an environment of
 * the user's choice, so neither can prove anything. False if that is unknown.
 */
export function runsSetuidProgram(procRoot: string, pid: number, budget: UserBudget): boolean {
  const exe = `${procRoot}/${pid}/exe`;
  const link = attempt(exe, () => lstatSync(exe));
  const program = link.ok ? statOnSafeMount(procRoot, pid, exe, budget) : link;
  return program.ok && (program.value.mode & SETUID_OR_SETGID) !== 0;
}
