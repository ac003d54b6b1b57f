import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { attempt } from '../files.ts';
import { readProcText } from '../proc/read.ts';
import { parseEffectiveCapabilities } from '../proc/status.ts';

/** Where to look for Clay. */
export type Homes = {
  readonly paths: readonly string[];
  /** Whether the process table may be searched for daemons that no home leads to, and for abandoned processes. */
  readonly discover: 'nothing' | 'own' | 'machine';
};

/** What the choice of homes depends on. */
export type HomesInput = {
  /** From --clay-home and the configuration: if there are any, only these count. */
  readonly configured: readonly string[];
  readonly clayHome: string | undefined;
  readonly home: string;
  /** Whether this process may look after other users' processes. */
  readonly privileged: boolean;
  /** The text of the password database, where it can be read. */
  readonly passwd: string;
};

/** The homes to look at: the configured ones alone, else $CLAY_HOME or ~/.clay and, with privileges, every user's. */
export function chooseHomes(input: HomesInput): Homes {
  if (input.configured.length > 0)
    return { paths: [...new Set(input.configured.map((path) => resolve(path)))], discover: 'nothing' };
  const own = resolve(input.clayHome || `${input.home}/.clay`);
  const others = input.privileged ? passwdHomes(input.passwd).map((home) => resolve(`${home}/.clay`)) : [];
  return { paths: [...new Set([own, ...others])], discover: input.privileged ? 'machine' : 'own' };
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
const NEEDED = CAP_DAC_OVERRIDE | CAP_KILL | CAP_SYS_PTRACE;

/** Whether this process may look after other users' processes: as root, or by the capabilities that its unit gives it. */
export function isPrivileged(procRoot: string): boolean {
  if (process.geteuid?.() === 0) return true;
  const status = readProcText(`${procRoot}/self/status`);
  return status.ok && (parseEffectiveCapabilities(status.value) & NEEDED) === NEEDED;
}

/** {@link chooseHomes} for this process and machine. */
export function homesOfThisMachine(procRoot: string, configured: readonly string[]): Homes {
  const passwd = attempt('/etc/passwd', () => readFileSync('/etc/passwd', 'utf8'));
  return chooseHomes({
    configured,
    clayHome: process.env.CLAY_HOME,
    home: homedir(),
    privileged: isPrivileged(procRoot),
    passwd: passwd.ok ? passwd.value : '',
  });
}
