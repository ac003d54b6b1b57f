import * as v from 'valibot';
import { fail, isThere, ok, type Result, readForeignText } from '../files.ts';
import { parseJsonAs } from '../json.ts';
import type { ProcessId } from '../judge/evidence.ts';

// Entries that outlive their process are kept in the project, not in a transcript; the process whose pid is in the lock
// is the one that waits for them, be they its own or those of one that has died (measured on both SDKs).
const Lock = v.object({ pid: v.number(), procStart: v.optional(v.string()) });
const Tasks = v.object({ tasks: v.array(v.unknown()) });

const MAX_BYTES = 1024 * 1024;

/** Read through /proc/PID/cwd, for a process's own view of the files may be another than ours (a service has a /tmp of its own). */
const folderOf = (procRoot: string, pid: number): string => `${procRoot}/${pid}/cwd/.claude`;

/** Whether a process is the one that waits for the durable entries of its project; only it can begin to be. */
export function readTaskLock(procRoot: string, { pid, startTicks }: ProcessId): Result<boolean> {
  const lock = readJson(`${folderOf(procRoot, pid)}/scheduled_tasks.lock`, Lock);
  if (!lock.ok) return lock.failure.why === 'gone' ? ok(false) : lock;
  if (lock.value === null) return fail('odd', 'scheduled_tasks.lock in its project is not as expected');
  const { procStart } = lock.value;
  return ok(lock.value.pid === pid && (procStart === undefined || procStart === String(startTicks)));
}

/** Whether there are durable entries in a process's project, scheduled_tasks.json: anybody may add one. */
export function areTasksScheduled(procRoot: string, { pid }: ProcessId): Result<boolean> {
  const tasks = readJson(`${folderOf(procRoot, pid)}/scheduled_tasks.json`, Tasks);
  if (!tasks.ok) return tasks.failure.why === 'gone' ? ok(false) : tasks;
  // A list that cannot be read is not an empty one.
  return ok(tasks.value === null || tasks.value.tasks.length > 0);
}

/** The parsed file, or null if it is not as the schema says. */
function readJson<T>(path: string, schema: v.GenericSchema<unknown, T>): Result<T | null> {
  if (!isThere(path)) return fail('gone', `${path} is not there`);
  const text = readForeignText(path, null, MAX_BYTES);
  if (!text.ok) return text;
  const parsed = parseJsonAs(schema, text.value);
  return ok(parsed.ok ? parsed.value : null);
}
