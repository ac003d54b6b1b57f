import type { Connection, Evidence } from './evidence.ts';
import { recordedIdleMs } from './idle.ts';
import type { Clock } from './policy.ts';

/** The connections of a process, and since when they are unchanged. Times are monotonic, ms. */
export type ConnectionTracking = {
  readonly key: string;
  /** Since when they are unchanged and no other rule held. */
  readonly sinceMs: number;
  /** To which addresses it had connections since a rule held last, and since when. */
  readonly remotes: ReadonlyMap<string, number>;
};

/** A service behind several addresses has a handful. Any process can have as many as it likes. */
const MAX_REMOTES = 32;

const NO_REMOTES: ReadonlyMap<string, number> = new Map();

/** Continues the tracking: a changed connection or any other rule that holds starts the wait again. */
export function trackConnections(
  last: ConnectionTracking | null,
  connections: readonly Connection[],
  anotherRuleHeld: boolean,
  now: Clock,
): ConnectionTracking {
  const key = connections
    .map(({ inode, local, remote }) => `${inode} ${local} ${remote}`)
    .sort()
    .join(',');
  const isUnchanged = last !== null && last.key === key && !anotherRuleHeld;
  const known = anotherRuleHeld || last === null ? NO_REMOTES : last.remotes;
  const remotes = connections.every(({ remote }) => known.has(remote)) ? known : addRemotes(known, connections, now);
  return { key, sinceMs: isUnchanged ? last.sinceMs : now.monotonicMs, remotes };
}

function addRemotes(
  known: ReadonlyMap<string, number>,
  connections: readonly Connection[],
  { monotonicMs }: Clock,
): ReadonlyMap<string, number> {
  const remotes = new Map(known);
  for (const { remote } of connections) {
    if (!remotes.has(remote) && remotes.size < MAX_REMOTES) remotes.set(remote, monotonicMs);
  }
  return remotes;
}

/**
 * Whether the connections are no API calls: the same ones for so long (the event stream of an MCP server), or connections to
 * the same addresses, made again and again, of a conversation in which nothing has happened for as long (an MCP server or a
 * proxy that ends the stream each minute, telemetry). An API call writes to the transcript when it begins and when it ends.
 */
export function isStale(tracked: ConnectionTracking, evidence: Evidence, staleAfterMs: number, now: Clock): boolean {
  const isOld = (sinceMs: number): boolean => now.monotonicMs - sinceMs >= staleAfterMs;
  if (isOld(tracked.sinceMs)) return true;
  const isOldRemote = ({ remote }: Connection): boolean => isOld(tracked.remotes.get(remote) ?? now.monotonicMs);
  return isAtRest(evidence, staleAfterMs, now) && evidence.connections.every(isOldRemote);
}

/** Whether the files of its conversation are all there, and say that nothing has happened for so long. */
const isAtRest = (evidence: Evidence, forMs: number, now: Clock): boolean =>
  evidence.journal.state === 'found' &&
  evidence.journal.turn === 'ended' &&
  evidence.transcriptChangedAtMs !== null &&
  recordedIdleMs(evidence, now) >= forMs;
