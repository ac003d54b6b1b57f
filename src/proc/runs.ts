import { readHeldRecord } from './held.ts';
import { readProcRecord } from './read.ts';
import type { Stat } from './stat.ts';
import { countThreads, listThreads } from './threads.ts';

/**
 * How often each thread of a process has run so far and for how long: its /proc/PID/task/TID/schedstat (sched-stats.rst), which is
 * /proc/PID/schedstat for the first one.
 */
export type Runs = readonly { readonly path: string; readonly text: string }[];

/** The kernel counts runs only if it was built to (CONFIG_SCHED_INFO); else this is all there is. */
const NOT_COUNTED = '0 0 0';

/** The runs of a process; null if it runs just now, or if they cannot be told. */
export function readRuns(procRoot: string, { pid, state, threads }: Stat): Runs | null {
  // While a thread runs, its time is not up to date.
  if (state !== 'S') return null;
  const ids = listThreads(procRoot, pid, threads);
  if (!ids.ok) return null;
  const runs: Runs[number][] = [];
  for (const id of ids.value) {
    const path = id === String(pid) ? `${procRoot}/${pid}/schedstat` : `${procRoot}/${pid}/task/${id}/schedstat`;
    const text = readProcRecord(path);
    if (!text.ok || text.value.startsWith(NOT_COUNTED)) return null;
    runs.push({ path, text: text.value });
  }
  // One that began meanwhile would be missing here, and might be gone again by the next time.
  return countThreads(procRoot, pid) === runs.length ? runs : null;
}

/**
 * Whether a process has not run since. Only a thread that runs can begin another one: if none of these has, they still are
 * all. A process that has taken the pid meanwhile would have to have run as often and as long, to the nanosecond.
 */
export const isAtRestSince = (runs: Runs): boolean =>
  runs.every(({ path, text }) => {
    const now = readHeldRecord(path);
    return now.ok && now.value === text;
  });
