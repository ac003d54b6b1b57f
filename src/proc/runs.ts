import { readProcText } from './read.ts';
import type { Stat } from './stat.ts';
import { countThreads, listThreads } from './threads.ts';

/** The kernel counts runs only if it was built to (CONFIG_SCHED_INFO); else this is all there is. */
const NOT_COUNTED = '0 0 0';

/**
 * How long and how often each thread of a process has run, from /proc/PID/task/TID/schedstat (kernel:
 * scheduler/sched-stats): as long as this stays the same, the process has done nothing at all. Null if it cannot be told.
 */
export function readRuns(procRoot: string, { pid, state, threads }: Stat): string | null {
  // While a thread runs, its time is not up to date.
  if (state !== 'S') return null;
  const ids = listThreads(procRoot, pid, threads);
  if (!ids.ok) return null;
  let runs = '';
  for (const id of ids.value) {
    const text = readProcText(`${procRoot}/${pid}/task/${id}/schedstat`);
    if (!text.ok || text.value.startsWith(NOT_COUNTED)) return null;
    runs += `${id} ${text.value}`;
  }
  // One that began meanwhile would be missing here, and might be gone again by the next time.
  return countThreads(procRoot, pid) === ids.value.length ? runs : null;
}
