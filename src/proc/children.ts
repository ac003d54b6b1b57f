import { ok, type Result } from '../files.ts';
import { readProcText } from './read.ts';
import { countThreads, listThreads } from './threads.ts';

/**
 * The pids of a process's children, from /proc/PID/task/TID/children of all its threads: a child belongs to the thread
 * that made it, and Claude starts its own from any (measured).
 */
export function readChildren(procRoot: string, pid: number): Result<number[]> {
  const tasks = listThreads(procRoot, pid, countThreads(procRoot, pid));
  if (!tasks.ok) return tasks;
  const children: number[] = [];
  for (const task of tasks.value) {
    const text = readProcText(`${procRoot}/${pid}/task/${task}/children`);
    // A thread that has ended hands its children to another one of the process.
    if (!text.ok && text.failure.why === 'gone') continue;
    if (!text.ok) return text;
    for (const word of text.value.split(' ')) {
      if (word !== '') children.push(Number(word));
    }
  }
  return ok(children);
}
