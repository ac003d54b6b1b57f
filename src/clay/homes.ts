import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { ownHome, readPasswd } from '../fs/passwd.ts';
import type { UserBudget } from '../fs/user-budget.ts';
import { readProcText } from '../proc/read-file.ts';
import { parseEffectiveCapabilities } from '../proc/status.ts';
import { attempt } from '../result.ts';

/** Where to look for Clay, and which Clays to trust. */
export type Homes = {
  readonly paths: readonly string[];
  /** Whether the process table may be searched for daemons that no home leads to, and for abandoned processes. */
  readonly discover: 'none' | 'user' | 'system';
  /** Packages whose daemon counts as Clay's, beside clay-server. */
  readonly trustedPackages: readonly string[];
};

/** What the choice of homes depends on. */
export type HomesInput = {
  /** From --clay-home and the configuration: if there are any, only these count. */
  readonly configured: readonly string[];
  readonly trustedPackages: readonly string[];
  readonly clayHome: string | undefined;
  readonly home: string;
  /** Whether this process may look after other users' processes. */
  readonly privileged: boolean;
  /** The text of the password database, where it can be read. */
  readonly passwd: string;
};

/** The homes to look at: the configured ones alone, else $CLAY_HOME or ~/.clay and, with privileges, every user's. */
export function resolveHomes(input: HomesInput): Homes {
  const { trustedPackages } = input;
  if (input.configured.length > 0)
    return { paths: [...new Set(input.configured.map((path) => resolve(path)))], discover: 'none', trustedPackages };
  const own = resolve(input.clayHome || `${input.home}/.clay`);
  const others = input.privileged ? passwdHomes(input.passwd).map((home) => resolve(`${home}/.clay`)) : [];
  return { paths: [...new Set([own, ...others])], discover: input.privileged ? 'system' : 'user', trustedPackages };
}

/** The home directories in the text of a password database (passwd(5)). */
export function passwdHomes(passwd: string): string[] {
  return passwd
    .split('\n')
    .map((line) => line.split(':')[5])
    .filter((home) => home?.startsWith('/') && home !== '/') as string[];
}

// linux/capability.h: what it takes to read, signal and connect to other users' processes.
const CAP_DAC_OVERRIDE = 1n << 1n;
const CAP_KILL = 1n << 5n;
const CAP_SYS_PTRACE = 1n << 19n;
const REQUIRED_CAPABILITIES = CAP_DAC_OVERRIDE | CAP_KILL | CAP_SYS_PTRACE;

/** Whether this process may look after other users' processes: as root, or by the capabilities that its unit gives it. */
export function isPrivileged(procRoot: string): boolean {
  if (process.geteuid?.() === 0) return true;
  const status = readProcText(`${procRoot}/self/status`);
  return status.ok && (parseEffectiveCapabilities(status.value) & REQUIRED_CAPABILITIES) === REQUIRED_CAPABILITIES;
}

/** {@link resolveHomes} for this process and machine. */
export function findHomes(procRoot: string, configured: readonly string[], trustedPackages: readonly string[]): Homes {
  return resolveHomes({
    configured,
    trustedPackages,
    clayHome: process.env.CLAY_HOME,
    home: ownHome(),
    privileged: isPrivileged(procRoot),
    passwd: readPasswd(),
  });
}

/** Whether two paths lead to the same Clay home. `budget`: of the user who may have made them. */
export function isSameHome(one: string, other: string, budget: UserBudget): boolean {
  if (one === other) return true;
  if (!budget.checkPath(`${one}/.`).ok || !budget.checkPath(`${other}/.`).ok) return false;
  const real = attempt(one, () => [realpathSync(one), realpathSync(other)]);
  return real.ok && real.value[0] === real.value[1];
}
