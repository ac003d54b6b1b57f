import { lstatSync } from 'node:fs';
import { listUntrustedDirectory } from '../fs/untrusted-file.ts';
import { BUDGET_EXHAUSTED, type UserBudget } from '../fs/user-budget.ts';
import { attempt, fail, ok, type Result } from '../result.ts';

/** The directory name for a working directory in Clay and Claude: `-` for every character that is no letter or digit. */
export const projectDirName = (cwd: string): string => cwd.replace(/[^a-zA-Z0-9]/g, '-');

/** The same in older releases of Clay, which replace only `/` and `.`. */
export const legacyProjectDirName = (cwd: string): string => cwd.replace(/[/.]/g, '-');

/** Where `<sessionId>.jsonl` was found. */
export type ConversationFile = { readonly path: string; readonly folder: string };

/**
 * Looks for `<base>/<folder>/<sessionId>.jsonl` in the likely folders first, then in all of them: folder names differ
 * between releases, file names do not. Null: it is in none of them. `not-found`: there is no base folder.
 */
export function findConversationFile(
  base: string,
  likelyDirs: readonly string[],
  sessionId: string,
  budget: UserBudget,
): Result<ConversationFile | null> {
  const name = `${sessionId}.jsonl`;
  for (const folder of likelyDirs) {
    const file = statFile(base, folder, name, budget);
    if (!file.ok || file.value) return file;
  }
  const folders = listUntrustedDirectory(base, MAX_FOLDERS, budget, (entry) => entry.isDirectory());
  if (!folders.ok) return folders;
  for (const folder of folders.value) {
    if (likelyDirs.includes(folder)) continue;
    if (budget.exhausted()) return fail('invalid', BUDGET_EXHAUSTED);
    const file = statFile(base, folder, name, budget);
    if (!file.ok || file.value) return file;
  }
  return ok(null);
}

/** There is one folder per project. A base folder with more is not searched. */
const MAX_FOLDERS = 10_000;

function statFile(base: string, folder: string, name: string, budget: UserBudget): Result<ConversationFile | null> {
  const path = `${base}/${folder}/${name}`;
  const allowed = budget.checkPath(path);
  if (!allowed.ok) return allowed;
  const stat = attempt(path, () => lstatSync(path));
  if (stat.ok) return stat.value.isFile() ? ok({ path, folder }) : fail('invalid', `${path} is not a regular file`);
  return stat.failure.code === 'not-found' ? ok(null) : stat;
}

/** Finds a conversation's file and reads it; the place where it was found last is tried before any search. */
export type ConversationReader = {
  /** What `read` makes of the file, and where that is. Null and failures as in {@link findConversationFile}. */
  readonly read: <T>(
    base: string,
    likelyDirs: () => readonly string[],
    sessionId: string,
    budget: UserBudget,
    read: (file: ConversationFile) => Result<T>,
  ) => Result<{ readonly file: ConversationFile; readonly value: T } | null>;
  /** Where the file was found last, or null. */
  readonly lastFile: () => ConversationFile | null;
};

/** Makes a reader that has found nothing yet. */
export function newConversationReader(): ConversationReader {
  let last: ConversationFile | null = null;
  return {
    read: (base, likelyDirs, sessionId, budget, read) => {
      if (last?.path === `${base}/${last?.folder}/${sessionId}.jsonl`) {
        const value = read(last);
        if (value.ok) return ok({ file: last, value: value.value });
        if (value.failure.code !== 'not-found') return value;
      }
      const file = findConversationFile(base, likelyDirs(), sessionId, budget);
      last = file.ok ? file.value : null;
      if (!file.ok) return file;
      if (file.value === null) return ok(null);
      const value = read(file.value);
      return value.ok ? ok({ file: file.value, value: value.value }) : value;
    },
    lastFile: () => last,
  };
}
