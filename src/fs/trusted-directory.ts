import { lstatSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { attempt, fail, type Result } from '../result.ts';
import type { UserBudget } from './user-budget.ts';

const OTHERS_MAY_WRITE = 0o002;
const STICKY = 0o1000;

/**
 * Resolves `path` and checks that it and every folder above it is owned by root, one of `ownerUids` or this user, and that others
 * may write there only where they cannot rename what is not theirs (path_resolution(7)): otherwise another user could swap it.
 */
export function resolveTrustedDirectory(
  path: string,
  budget: Pick<UserBudget, 'checkPath'>,
  ...ownerUids: readonly number[]
): Result<string> {
  const allowed = budget.checkPath(`${path}/.`);
  if (!allowed.ok) return allowed;
  const real = attempt(path, () => realpathSync(path));
  if (!real.ok) return real;
  const trusted = new Set([0, ...ownerUids, ...(process.geteuid ? [process.geteuid()] : [])]);
  for (let folder = real.value; ; folder = dirname(folder)) {
    const stat = attempt(folder, () => lstatSync(folder));
    if (!stat.ok) return stat;
    if (!stat.value.isDirectory()) return fail('invalid', `${folder} is not a directory`);
    if (!trusted.has(stat.value.uid)) {
      return fail(
        'invalid',
        `${folder} belongs to uid ${stat.value.uid}, so that what is in it is not sure to be uid ${ownerUids.join("'s or uid ")}'s`,
      );
    }
    if ((stat.value.mode & OTHERS_MAY_WRITE) !== 0 && (stat.value.mode & STICKY) === 0) {
      return fail('invalid', `anybody may write to ${folder}`);
    }
    if (folder === dirname(folder)) return real;
  }
}
