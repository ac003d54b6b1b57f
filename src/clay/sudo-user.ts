import { lstatSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { readPasswd } from '../fs/passwd.ts';
import type { UserBudget } from '../fs/user-budget.ts';
import { readEnviron } from '../proc/environ.ts';
import { attempt, fail, ok, type Result } from '../result.ts';

/** No kernel has a higher uid; (uid_t) -1 is none (setresuid(2)). */
const MAX_UID = 2 ** 32 - 2;

/**
 * The uid of the user who started a root daemon through sudo, as its environment names him in SUDO_UID or SUDO_USER; null if
 * it names none. Where both are set they have to name the same user.
 */
export function sudoUidOf(environ: ReadonlyMap<string, string>, passwd: string): Result<number | null> {
  const [uidText, name] = [environ.get('SUDO_UID'), environ.get('SUDO_USER')];
  if (uidText === undefined && name === undefined) return ok(null);
  const byUid = uidText === undefined ? null : parseUid(uidText);
  const byName = name === undefined ? null : uidOfName(name, passwd);
  if (uidText !== undefined && byUid === null) return fail('invalid', 'SUDO_UID in its environment is no uid');
  if (byUid !== null && byName !== null && byUid !== byName)
    return fail('invalid', `SUDO_UID and SUDO_USER in its environment name two users, uid ${byUid} and uid ${byName}`);
  const uid = byUid ?? byName;
  return uid === null ? fail('invalid', `SUDO_USER in its environment is not in the password database`) : ok(uid);
}

/** {@link sudoUidOf} for a process, by its environment as the kernel shows it and this machine's password database. */
export function readSudoUid(procRoot: string, pid: number, budget: UserBudget): Result<number | null> {
  const environ = readEnviron(procRoot, pid, budget);
  if (!environ.ok) return environ;
  return sudoUidOf(environ.value, readPasswd());
}

function parseUid(text: string): number | null {
  const uid = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return uid <= MAX_UID ? uid : null;
}

function uidOfName(name: string, passwd: string): number | null {
  const fields = passwd.split('\n').map((line) => line.split(':'));
  const uid = fields.find(([user]) => user === name)?.[2];
  return uid === undefined ? null : parseUid(uid);
}

/** The home directory of a user in a password database (passwd(5)), or null. */
export function homeOfUser(name: string, passwd: string): string | null {
  const fields = passwd.split('\n').map((line) => line.split(':'));
  return fields.find(([user]) => user === name)?.[5] || null;
}

/**
 * Refuses a path that leads through a symbolic link which does not belong to root: the user in whose home a root daemon keeps its files
 * may own the folders, but has no reason to lead elsewhere.
 */
export function refuseForeignLinks(path: string, budget: UserBudget): Result<string> {
  const allowed = budget.checkPath(path);
  if (!allowed.ok) return allowed;
  for (let part = path; part !== dirname(part); part = dirname(part)) {
    const stat = attempt(part, () => lstatSync(part));
    if (!stat.ok) return stat;
    if (stat.value.isSymbolicLink() && stat.value.uid !== 0)
      return fail('invalid', `${part} is a symbolic link of uid ${stat.value.uid}`);
  }
  return attempt(path, () => realpathSync(path));
}
