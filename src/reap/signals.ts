import { kill } from 'node:process';
import type { ProcessId } from '../proc/process-id.ts';
import { readPairOfProcess } from '../proc/read-file.ts';
import { isDead, parseStat, readStat, type Stat } from '../proc/stat.ts';
import { parseStatus, type Status, singleUid } from '../proc/status.ts';
import { ok, type Result } from '../result.ts';
import { sleep } from '../sleep.ts';

/** What a process has to be at the moment of the signal. execve(2) changes name and user, but neither pid nor start time. */
export type SignalTarget = ProcessId & { readonly uid: number; readonly comm: string };

/**
 * `gone`: the process no longer runs; `denied`: kill(2) is not permitted; `refused`: it is no longer what it was, or the kernel
 * does not say, so nothing was sent.
 */
export type SignalResult = { readonly state: 'sent' | 'gone' | 'denied' } | { readonly state: 'refused'; why: string };

/**
 * Sends a signal to this process only. Start time, name and all four uids are read directly before kill(2), with nothing in
 * between, and of one process ({@link readPairOfProcess}). Node has no pidfd, so a window of some microseconds remains in which
 * the pid could be reused or the process could execute another program.
 */
export function sendSignal(procRoot: string, target: SignalTarget, signal: 'SIGTERM' | 'SIGKILL'): SignalResult {
  const current = readStatAndStatus(procRoot, target.pid);
  if (!current.ok) return unread(current);
  const { stat, status } = current.value;
  if (isDead(stat) || stat.startTicks !== target.startTicks) return { state: 'gone' };
  if (singleUid(status) !== target.uid) return { state: 'refused', why: `it no longer runs under uid ${target.uid}` };
  if (stat.comm !== target.comm) return { state: 'refused', why: `its name is ${stat.comm} now` };
  try {
    kill(target.pid, signal);
    return { state: 'sent' };
  } catch (error) {
    return { state: (error as NodeJS.ErrnoException).code === 'ESRCH' ? 'gone' : 'denied' };
  }
}

/** The uids come last: a process that executes a setuid program keeps its start time, and may keep its name. */
function readStatAndStatus(procRoot: string, pid: number): Result<{ readonly stat: Stat; readonly status: Status }> {
  const texts = readPairOfProcess(`${procRoot}/${pid}/stat`, `${procRoot}/${pid}/status`);
  if (!texts.ok) return texts;
  const stat = parseStat(texts.value[0]);
  if (!stat.ok) return stat;
  const status = parseStatus(texts.value[1]);
  return status.ok ? ok({ stat: stat.value, status: status.value }) : status;
}

const unread = ({ failure }: Extract<Result<unknown>, { ok: false }>): SignalResult =>
  failure.code === 'not-found'
    ? { state: 'gone' }
    : { state: 'refused', why: `it is unknown whether it still is the same process: ${failure.detail}` };

/** The process as a target for signals, if it still runs, and under this uid alone; else null. */
export function targetOf(procRoot: string, id: ProcessId, uid: number): SignalTarget | null {
  const current = readStatAndStatus(procRoot, id.pid);
  if (!current.ok) return null;
  const { stat, status } = current.value;
  if (stat.startTicks !== id.startTicks || isDead(stat) || singleUid(status) !== uid) return null;
  return { ...id, uid, comm: stat.comm };
}

/**
 * Whether this process is dead: not there, a zombie (which kill(2) still finds), or its pid was reused.
 * False if the kernel does not say: a process counts as dead only with proof.
 */
export function hasExited(procRoot: string, id: ProcessId): boolean {
  const stat = readStat(procRoot, id.pid);
  if (!stat.ok) return stat.failure.code === 'not-found';
  return isDead(stat.value) || stat.value.startTicks !== id.startTicks;
}

/** An idle 0.2.92 is gone 0.07 to 0.2 s after SIGTERM (measured). */
const EXIT_POLL_MS = 50;

/** Waits until all of these processes are dead; returns those that are not after `timeoutMs`, or when `abort` fires. */
export async function waitForExit<Id extends ProcessId>(
  procRoot: string,
  ids: readonly Id[],
  timeoutMs: number,
  abort: AbortSignal | null,
): Promise<Id[]> {
  const deadline = performance.now() + timeoutMs;
  let alive = ids.filter((id) => !hasExited(procRoot, id));
  while (alive.length > 0 && performance.now() < deadline && !abort?.aborted) {
    await sleep(Math.min(EXIT_POLL_MS, deadline - performance.now()), abort);
    alive = alive.filter((id) => !hasExited(procRoot, id));
  }
  return alive;
}
