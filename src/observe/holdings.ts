/** Counts what is kept of each user's processes. */
export type Holdings = {
  /** Whether so many things more (a socket, a descendant, an alarm, …) may be kept of a process of this user's; if so they count. */
  readonly mayHold: (uid: number, things: number) => boolean;
};

/**
 * Each takes some 100 bytes. 5,000 processes with the 8 sockets of an idle `claude` have 40,000; a user can open millions of
 * sockets, and what is kept of hers must not fill the memory that the service has for all.
 */
const MAX_THINGS_PER_USER = 100_000;

/** Nothing is kept yet. */
export function noHoldings(): Holdings {
  const held = new Map<number, number>();
  return {
    mayHold: (uid, things) => {
      const sum = (held.get(uid) ?? 0) + things;
      if (sum > MAX_THINGS_PER_USER) return false;
      held.set(uid, sum);
      return true;
    },
  };
}
