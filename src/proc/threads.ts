import { lstatSync, readdirSync } from 'node:fs';
import { attempt, fail, ok, type Result } from '../files.ts';

/** A `claude` has some 20 (measured). */
const MAX_THREADS = 10_000;

/** How many threads a process has: /proc/PID/task has two links, as any directory, and one more for each. 0 if it cannot be told. */
export function countThreads(procRoot: string, pid: number): number {
  const folder = `${procRoot}/${pid}/task`;
  const task = attempt(folder, () => lstatSync(folder, { throwIfNoEntry: false }));
  return task.ok && task.value ? task.value.nlink - 2 : 0;
}

/** The ids of a process's threads, from /proc/PID/task; `count`: how many it has. */
export function listThreads(procRoot: string, pid: number, count: number): Result<string[]> {
  const folder = `${procRoot}/${pid}/task`;
  if (count > MAX_THREADS) return fail('odd', `${folder} holds more than ${MAX_THREADS} threads`);
  // The first one has the id of the process.
  return count === 1 ? ok([String(pid)]) : attempt(folder, () => readdirSync(folder));
}
