import { countThreads, listThreads } from './children.ts';
import { readSingleRead } from './read-file.ts';
import type { Stat } from './stat.ts';

/**
 * How often each thread of a process has run so far and for how long: its /proc/PID/task/TID/schedstat (sched-stats.rst), which is
 * /proc/PID/schedstat for the first one.
 */
export type ThreadRunCounts = readonly { readonly path: string; readonly text: string }[];

/** The kernel counts runs only if it was built to (CONFIG_SCHED_INFO); else this is all there is. */
const NO_SCHED_INFO = '0 0 0';

/** An idle `claude` has about 20 (measured). Those of a process are read on nobody's budget, and kept. */
const MAX_THREADS = 200;

/** The runs of a process; null if it runs just now, if it has more threads than any `claude`, or if they are unknown. */
export function readThreadRunCounts(procRoot: string, { pid, state, threads }: Stat): ThreadRunCounts | null {
  // While a thread runs, its time is not up to date.
  if (state !== 'S' || threads > MAX_THREADS) return null;
  const ids = listThreads(procRoot, pid, threads);
  if (!ids.ok) return null;
  const runCounts: ThreadRunCounts[number][] = [];
  for (const id of ids.value) {
    const path = id === String(pid) ? `${procRoot}/${pid}/schedstat` : `${procRoot}/${pid}/task/${id}/schedstat`;
    const text = readSingleRead(path);
    if (!text.ok || text.value.startsWith(NO_SCHED_INFO)) return null;
    runCounts.push({ path, text: text.value });
  }
  // One that began meanwhile would be missing here, and might be gone again by the next time.
  return countThreads(procRoot, pid) === runCounts.length ? runCounts : null;
}

/**
 * Whether a process has not run since. Only a thread that runs can begin another one: if none of these has, they still are
 * all. A process that has taken the pid meanwhile would have to have run as often and as long, to the nanosecond.
 */
export function hasNotRunSince(runCounts: ThreadRunCounts): boolean {
  for (const { path, text } of runCounts) {
    const now = readSingleRead(path);
    if (!now.ok || now.value !== text) return false;
  }
  return true;
}
