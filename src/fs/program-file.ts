import { statSync } from 'node:fs';
import { attempt } from '../result.ts';

/**
 * Which version of a program's file is at a path: another one has another identity. Null: that cannot be told. The change time, for npm
 * and dpkg set the modification time to that of the package (inode(7)).
 */
export function programIdentity(path: string): string | null {
  const stats = attempt(path, () => statSync(path, { throwIfNoEntry: false }));
  if (!stats.ok) return null;
  return stats.value === undefined ? 'none' : `${stats.value.dev}:${stats.value.ino}:${stats.value.ctimeMs}`;
}

/** Whether a program's file was replaced or removed after this time (ms since the epoch): who has it running runs an older one. */
export function wasReplacedAfter(path: string, startedAtMs: number): boolean {
  const stats = attempt(path, () => statSync(path, { throwIfNoEntry: false }));
  return stats.ok && (stats.value === undefined || stats.value.ctimeMs > startedAtMs);
}
