import type { Connection } from './evidence.ts';
import type { Now } from './limits.ts';

/** The connections of a process as far as they were watched. */
export type ConnectionWatch = {
  readonly key: string;
  /** Since when they have been the very same, with nothing else going on; monotonic, ms. */
  readonly sinceMs: number;
};

/** Watches on: any change among the connections, or anything else that protects, starts the wait again. */
export function watchConnections(
  last: ConnectionWatch | null,
  connections: readonly Connection[],
  somethingElseHeld: boolean,
  now: Now,
): ConnectionWatch {
  const key = connections
    .map((each) => `${each.inode} ${each.local} ${each.remote}`)
    .sort()
    .join(',');
  const goesOn = last !== null && last.key === key && !somethingElseHeld;
  return { key, sinceMs: goesOn ? last.sinceMs : now.monotonicMs };
}

/** Whether connections that have been the same for so long are an MCP server's event stream and no work. */
export const areStale = (watch: ConnectionWatch, staleAfterMs: number, now: Now): boolean =>
  now.monotonicMs - watch.sinceMs >= staleAfterMs;
