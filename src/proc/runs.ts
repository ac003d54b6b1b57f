import { lstatSync, readdirSync } from 'node:fs';
import { attempt } from '../files.ts';
import { readProcText } from './read.ts';
import type { Stat } from './stat.ts';

/** A `claude` has some 20 (measured). */
const MAX_THREADS = 1_000;

/** The kernel counts runs only if it was built to (CONFIG_SCHED_INFO); else this is all there is. */
const NOT_COUNTED = '0 0 0';

/**
 * How long and how often each thread of a process has run, from /proc/PID/task/TID/schedstat (kernel:
 * scheduler/sched-stats): as long as this stays the same, the process has done nothing at all. Null if it cannot be told.
 */
export function readRuns(procRoot: string, { pid, state, threads }: Stat): string | null {
  // While a thread runs, its time is not up to date.
  if (state !== 'S' || threads > MAX_THREADS) return null;
  const folder = `${procRoot}/${pid}/task`;
  const tasks = attempt(folder, () => (threads === 1 ? [String(pid)] : readdirSync(folder)));
  if (!tasks.ok) return null;
  let runs = '';
  for (const task of tasks.value) {
    const text = readProcText(`${folder}/${task}/schedstat`);
    if (!text.ok || text.value.startsWith(NOT_COUNTED)) return null;
    runs += `${task} ${text.value}`;
  }
  // One that began meanwhile would be missing here, and might be gone again by the next time.
  return countThreads(folder) === tasks.value.length ? runs : null;
}

/** A directory has two links, and one more for each directory in it. */
function countThreads(folder: string): number {
  const stat = attempt(folder, () => lstatSync(folder));
  return stat.ok ? stat.value.nlink - 2 : 0;
}
