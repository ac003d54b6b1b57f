import { kill } from 'node:process';
import type { ProcessId } from '../judge/evidence.ts';
import type { Host } from '../observe/host.ts';
import { isDead, readStat } from '../proc/stat.ts';

/** What became of a signal: sent, or the process was gone, or nothing proved that it still is the same, or it was not allowed. */
export type Sent = 'sent' | 'gone' | 'unproven' | 'denied';

/**
 * Sends a signal to that very process: its start time is compared right before, as a pid alone may be another's by now.
 * Node has no pidfd, so a window of some microseconds remains between the two system calls.
 */
export function sendSignal(host: Host, id: ProcessId, signal: 'SIGTERM' | 'SIGKILL'): Sent {
  const stat = readStat(host.procRoot, id.pid);
  if (!stat.ok) return stat.failure.why === 'gone' ? 'gone' : 'unproven';
  if (isDead(stat.value) || stat.value.startTicks !== id.startTicks) return 'gone';
  try {
    kill(id.pid, signal);
    return 'sent';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH' ? 'gone' : 'denied';
  }
}

/**
 * Whether that very process is dead: not there, a zombie (which kill(2) still finds), or its pid is another's.
 * Where the kernel does not say, it is not: nothing is taken for dead without proof.
 */
export function isGone(host: Host, id: ProcessId): boolean {
  const stat = readStat(host.procRoot, id.pid);
  if (!stat.ok) return stat.failure.why === 'gone';
  return isDead(stat.value) || stat.value.startTicks !== id.startTicks;
}

/** Looked for this often: a truly idle 0.2.92 is gone 0.07 to 0.2 s after SIGTERM (measured). */
const DEATH_POLL_MS = 50;

/** Waits until all of these are dead; gives those that are not after `limitMs`, or when `abort` fires. */
export async function waitForDeath(
  host: Host,
  ids: readonly ProcessId[],
  limitMs: number,
  abort: AbortSignal | null,
): Promise<ProcessId[]> {
  const deadline = performance.now() + limitMs;
  let alive = ids.filter((id) => !isGone(host, id));
  while (alive.length > 0 && performance.now() < deadline && !abort?.aborted) {
    await pause(Math.min(DEATH_POLL_MS, deadline - performance.now()), abort);
    alive = alive.filter((id) => !isGone(host, id));
  }
  return alive;
}

/** Waits, but no longer than until `abort` fires. */
export function pause(ms: number, abort: AbortSignal | null): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      abort?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.max(0, ms));
    if (abort?.aborted) done();
    else abort?.addEventListener('abort', done);
  });
}
