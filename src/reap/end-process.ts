import { keyOf, type ProcessId } from '../judge/evidence.ts';
import { readFamily } from '../observe/family.ts';
import type { Host } from '../observe/host.ts';
import { readStat } from '../proc/stat.ts';
import { readStatus, singleUid } from '../proc/status.ts';
import { sendSignal, waitForDeath } from './signals.ts';

/** How a process that was judged `reap` ended, or why it did not. */
export type Ending =
  | { readonly outcome: 'terminated'; readonly signal: 'SIGTERM' }
  | { readonly outcome: 'killed'; readonly signal: 'SIGKILL'; readonly leftovers: number }
  /** It should be gone and is not. */
  | { readonly outcome: 'survived'; readonly signal: 'SIGTERM' | 'SIGKILL' | null; readonly why: string }
  /** It was gone before anything was sent. */
  | { readonly outcome: 'vanished' }
  | Spared;

/**
 * It was judged `reap` and is left alone all the same: a last look says otherwise (`woke`), its Clay gave no usable answer
 * (`silence`), or others come first (`postponed`).
 */
export type Spared = {
  readonly outcome: 'spared';
  readonly why: string;
  readonly because: 'woke' | 'silence' | 'postponed';
};

/** What a last look before a signal says: go on, it is gone, or it is to be spared. */
export type LastLook = 'go' | 'gone' | Spared;

/** A process to end, and whom to ask before each signal. */
export type Order = {
  readonly id: ProcessId;
  readonly uid: number;
  /** The full judgement again, in the same moment in which SIGTERM is sent. Gives what is below the process by now. */
  readonly beforeTerm: () => { readonly look: LastLook; readonly descendants: readonly ProcessId[] };
  /** Clay's word again: a process that is ending looks busy, and its session file is gone already. */
  readonly beforeKill: () => Promise<LastLook>;
  readonly killAfterMs: number;
};

const UNPROVEN: Spared = {
  outcome: 'spared',
  why: 'the kernel does not tell whether its pid still is its own',
  because: 'woke',
};

const afterTerm = (spared: Spared): Spared => ({ ...spared, why: `after SIGTERM: ${spared.why}` });

/** SIGKILL takes effect at once, except on a process in uninterruptible sleep. */
const KILL_TAKES_MS = 5_000;

/** What is left behind by a SIGKILL gets this long to end by itself after SIGTERM; MCP servers take some ms. */
const LEFTOVERS_TAKE_MS = 5_000;

/**
 * Ends one process: SIGTERM, and SIGKILL if it is still there when `killAfterMs` is over.
 * Null if `abort` fired meanwhile: it is then left to its SIGTERM.
 */
export async function endProcess(host: Host, order: Order, abort: AbortSignal | null): Promise<Ending | null> {
  const { id } = order;
  const { look, descendants } = order.beforeTerm();
  if (look === 'gone') return { outcome: 'vanished' };
  if (look !== 'go') return look;
  const termed = sendSignal(host, id, 'SIGTERM');
  if (termed === 'gone') return { outcome: 'vanished' };
  if (termed === 'unproven') return UNPROVEN;
  if (termed === 'denied') return { outcome: 'survived', signal: null, why: 'it may not be signalled' };
  if ((await waitForDeath(host, [id], order.killAfterMs, abort)).length === 0)
    return { outcome: 'terminated', signal: 'SIGTERM' };
  if (abort?.aborted) return null;

  const word = await order.beforeKill();
  if (word === 'gone') return { outcome: 'terminated', signal: 'SIGTERM' };
  if (word !== 'go') return afterTerm(word);
  if (abort?.aborted) return null;
  const below = merge(descendants, descendantsNow(host, id));
  const killed = sendSignal(host, id, 'SIGKILL');
  if (killed === 'gone') return { outcome: 'terminated', signal: 'SIGTERM' };
  if (killed === 'unproven') return afterTerm(UNPROVEN);
  if (killed === 'denied') return { outcome: 'survived', signal: 'SIGTERM', why: 'it may not be killed' };
  const dead = (await waitForDeath(host, [id], KILL_TAKES_MS, abort)).length === 0;
  if (!dead)
    return abort?.aborted ? null : { outcome: 'survived', signal: 'SIGKILL', why: 'it is still there after SIGKILL' };
  return { outcome: 'killed', signal: 'SIGKILL', leftovers: await endLeftovers(host, below, order.uid, abort) };
}

function descendantsNow(host: Host, id: ProcessId): readonly ProcessId[] {
  const stat = readStat(host.procRoot, id.pid);
  const family = stat.ok && stat.value.startTicks === id.startTicks ? readFamily(host, stat.value) : null;
  return family?.ok ? family.value.descendants : [];
}

const merge = (...lists: readonly (readonly ProcessId[])[]): ProcessId[] => [
  ...new Map(lists.flat().map((id) => [keyOf(id), id])).values(),
];

/**
 * Ends what a SIGKILL left behind: processes that were below it before, by pid and start time, of its own user.
 * Gives how many there were. After an abort nobody would look for them again, so they are not waited for, but killed.
 */
async function endLeftovers(
  host: Host,
  below: readonly ProcessId[],
  uid: number,
  abort: AbortSignal | null,
): Promise<number> {
  const isTheirs = (id: ProcessId): boolean => {
    const status = readStatus(host.procRoot, id.pid);
    return status.ok && singleUid(status.value) === uid;
  };
  const left = below.filter((id) => isTheirs(id) && sendSignal(host, id, 'SIGTERM') === 'sent');
  const stubborn = await waitForDeath(host, left, LEFTOVERS_TAKE_MS, abort);
  for (const id of stubborn.filter(isTheirs)) sendSignal(host, id, 'SIGKILL');
  await waitForDeath(host, stubborn, KILL_TAKES_MS, abort);
  return left.length;
}
