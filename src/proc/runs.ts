import { readProcRecord } from './read.ts';
import type { Stat } from './stat.ts';
import { countThreads, listThreads } from './threads.ts';

/** How often each thread of a process has run so far, and for how long. */
export type Runs = { readonly threads: readonly string[]; readonly counts: readonly string[] };

/** The kernel counts runs only if it was built to (CONFIG_SCHED_INFO); else this is all there is. */
const NOT_COUNTED = '0 0 0';

/**
 * The runs of a process, from /proc/PID/task/TID/schedstat (sched-stats.rst); `last` itself if it has not run since then.
 * Null: it runs now, or this cannot be told.
 */
export function readRuns(procRoot: string, { pid, state, threads }: Stat, last: Runs | null): Runs | null {
  // While a thread runs, its time is not up to date.
  if (state !== 'S') return null;
  const countsOf = (thread: string): string | null => {
    const text = readProcRecord(`${procRoot}/${pid}/task/${thread}/schedstat`);
    return text.ok && !text.value.startsWith(NOT_COUNTED) ? text.value : null;
  };
  // Only a thread that runs can begin another one: if none of them has, they still are all.
  if (last?.threads.length === threads && last.threads.every((each, at) => countsOf(each) === last.counts[at])) {
    return last;
  }
  const ids = listThreads(procRoot, pid, threads);
  if (!ids.ok) return null;
  const counts: string[] = [];
  for (const id of ids.value) {
    const count = countsOf(id);
    if (count === null) return null;
    counts.push(count);
  }
  // One that began meanwhile would be missing here, and might be gone again by the next time.
  return countThreads(procRoot, pid) === ids.value.length ? { threads: ids.value, counts } : null;
}
