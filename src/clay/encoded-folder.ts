import { lstatSync } from 'node:fs';
import { attempt, fail, listNames, ok, type Result } from '../files.ts';

/** A working directory as Clay and Claude write it in a folder's name: every character that is no letter or digit as `-`. */
export const encodeFolder = (cwd: string): string => cwd.replace(/[^a-zA-Z0-9]/g, '-');

/** The same in older installs of Clay: only `/` and `.` are replaced. */
export const encodeFolderAsOlderClay = (cwd: string): string => cwd.replace(/[/.]/g, '-');

/** Where `<sessionId>.jsonl` was found. */
export type FoundFile = { readonly path: string; readonly folder: string };

/**
 * Looks for `<base>/<folder>/<sessionId>.jsonl`, first in the folders that are likely, then in all of them: names of
 * folders differ between releases, that of the file does not.
 * `null` means that it is in none of them; a failure `gone`, that there is not even a base folder.
 */
export function findConversationFile(
  base: string,
  likely: readonly string[],
  sessionId: string,
): Result<FoundFile | null> {
  const name = `${sessionId}.jsonl`;
  for (const folder of likely) {
    const found = look(base, folder, name);
    if (!found.ok || found.value) return found;
  }
  const folders = listNames(base, MAX_FOLDERS, (entry) => entry.isDirectory());
  if (!folders.ok) return folders;
  for (const folder of folders.value) {
    if (likely.includes(folder)) continue;
    const found = look(base, folder, name);
    if (!found.ok || found.value) return found;
  }
  return ok(null);
}

/** One folder a project; whoever makes this many does not want them to be searched. */
const MAX_FOLDERS = 10_000;

function look(base: string, folder: string, name: string): Result<FoundFile | null> {
  const path = `${base}/${folder}/${name}`;
  const stat = attempt(path, () => lstatSync(path));
  if (stat.ok) return stat.value.isFile() ? ok({ path, folder }) : fail('odd', `${path} is not a regular file`);
  return stat.failure.why === 'gone' ? ok(null) : stat;
}
