import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { attempt } from '../result.ts';

/** The login name of each uid in the text of a password database (passwd(5)); of several names, the first. */
export function parseUserNames(passwd: string): Map<number, string> {
  const names = new Map<number, string>();
  for (const line of passwd.split('\n')) {
    const [name, , uid] = line.split(':');
    if (name && uid && /^\d+$/.test(uid) && !names.has(Number(uid))) names.set(Number(uid), name);
  }
  return names;
}

/** The text of this machine's password database; users of a directory service (LDAP) are not in it. Empty if it cannot be read. */
export function readPasswd(path = '/etc/passwd'): string {
  const text = attempt(path, () => readFileSync(path, 'utf8'));
  return text.ok ? text.value : '';
}

/** The login names of this machine. */
export const readUserNames = (path?: string): ReadonlyMap<number, string> => parseUserNames(readPasswd(path));

/**
 * The home of this program's user: $HOME, or what the password database says; `/` if neither is there. systemd 257 sets no HOME
 * for the user of a service with DynamicUser=, whom the database knows only where libnss-systemd is installed.
 */
export function ownHome(): string {
  const home = attempt('home', () => homedir());
  return home.ok ? home.value : '/';
}
