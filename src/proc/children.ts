import { lstatSync, readdirSync } from 'node:fs';
import { BUDGET_EXHAUSTED, type UserBudget } from '../fs/user-budget.ts';
import { attempt, fail, ok, type Result } from '../result.ts';
import { readProcText } from './read-file.ts';
import { readStat, type Stat } from './stat.ts';

/** An idle `claude` has about 20 threads (measured). */
const MAX_THREADS = 10_000;

/**
 * The number of threads of a process, 0 if unknown. /proc/PID/task is a directory with two links of its own and one per
 * thread, so one lstat(2) is enough.
 */
export function countThreads(procRoot: string, pid: number): number {
  const folder = `${procRoot}/${pid}/task`;
  const task = attempt(folder, () => lstatSync(folder, { throwIfNoEntry: false }));
  return task.ok && task.value ? task.value.nlink - 2 : 0;
}

/** The ids of the threads of a process, from /proc/PID/task; `count`: the number of threads, see {@link countThreads}. */
export function listThreads(procRoot: string, pid: number, count: number): Result<string[]> {
  const folder = `${procRoot}/${pid}/task`;
  if (count > MAX_THREADS) return fail('invalid', `${folder} holds more than ${MAX_THREADS} threads`);
  // The first thread has the id of the process.
  return count === 1 ? ok([String(pid)]) : attempt(folder, () => readdirSync(folder));
}

/**
 * The pids of the children of a process, from /proc/PID/task/TID/children of all its threads: a child belongs to the
 * thread that started it, and Claude starts children from any thread (measured).
 */
export function readChildren(procRoot: string, pid: number, budget: UserBudget): Result<number[]> {
  const threads = listThreads(procRoot, pid, countThreads(procRoot, pid));
  if (!threads.ok) return threads;
  const children: number[] = [];
  for (const thread of threads.value) {
    if (budget.exhausted()) return fail('invalid', BUDGET_EXHAUSTED);
    const text = readProcText(`${procRoot}/${pid}/task/${thread}/children`);
    // A thread that ends hands its children to another thread of the process.
    if (!text.ok && text.failure.code === 'not-found') continue;
    if (!text.ok) return text;
    for (const word of text.value.split(' ')) {
      if (word !== '') children.push(Number(word));
    }
  }
  return ok(children);
}

/**
 * The stat of each child of a process. A child that has exited is left out; one that cannot be read is a failure, because
 * nobody knows what it is. `statOf`: gives the stat of a child where it is known already, else null.
 */
export function readChildStats(
  procRoot: string,
  pid: number,
  budget: UserBudget,
  statOf: (child: number) => Stat | null = () => null,
): Result<Stat[]> {
  const children = readChildren(procRoot, pid, budget);
  if (!children.ok) return children;
  const stats: Stat[] = [];
  for (const child of children.value) {
    if (budget.exhausted()) return fail('invalid', BUDGET_EXHAUSTED);
    const known = statOf(child);
    const stat = known ? ok(known) : readStat(procRoot, child);
    if (!stat.ok && stat.failure.code !== 'not-found') return stat;
    // The child may have exited since the list was read, and its pid may belong to an unrelated process.
    if (stat.ok && stat.value.ppid === pid) stats.push(stat.value);
  }
  return ok(stats);
}
