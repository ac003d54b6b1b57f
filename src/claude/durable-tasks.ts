import * as v from 'valibot';
import { parseJsonAs } from '../fs/json.ts';
import { mayExist, readUntrustedText } from '../fs/untrusted-file.ts';
import type { UserBudget } from '../fs/user-budget.ts';
import { type TrustedProcesses, withWorkingDirectory } from '../proc/namespaces.ts';
import type { ProcessId } from '../proc/process-id.ts';
import { fail, ok, type Result } from '../result.ts';

// Entries that outlive their process are kept in the project, not in a transcript; the process whose pid is in the lock
// is the one that waits for them, be they its own or those of one that has died (measured on both SDKs).
const Lock = v.object({ pid: v.number(), procStart: v.optional(v.string()) });
const Tasks = v.object({ tasks: v.array(v.unknown()) });

const MAX_BYTES = 1024 * 1024;

const FOLDER = '.claude';

/** Whether a process is the one that waits for the durable entries of its project; only it can begin to be. */
export function readHoldsTaskLock(
  trusted: TrustedProcesses,
  { pid, startTicks }: ProcessId,
  budget: UserBudget,
): Result<boolean> {
  const lock = readJson(trusted, pid, 'scheduled_tasks.lock', Lock, budget);
  if (!lock.ok) return lock.failure.code === 'not-found' ? ok(false) : lock;
  if (lock.value === null) return fail('invalid', 'scheduled_tasks.lock in its project is not as expected');
  const { procStart } = lock.value;
  return ok(lock.value.pid === pid && (procStart === undefined || procStart === String(startTicks)));
}

/** Whether there are durable entries in a process's project, scheduled_tasks.json: anybody may add one. */
export function hasDurableTasks(trusted: TrustedProcesses, { pid }: ProcessId, budget: UserBudget): Result<boolean> {
  const tasks = readJson(trusted, pid, 'scheduled_tasks.json', Tasks, budget);
  if (!tasks.ok) return tasks.failure.code === 'not-found' ? ok(false) : tasks;
  // A list that cannot be read is not an empty one.
  return ok(tasks.value === null || tasks.value.tasks.length > 0);
}

/**
 * The parsed file, or null if it is not as the schema says. Read through /proc/PID/cwd, as a process may see other files than
 * this program (a service has a /tmp of its own).
 */
function readJson<T>(
  trusted: TrustedProcesses,
  pid: number,
  name: string,
  schema: v.GenericSchema<unknown, T>,
  budget: UserBudget,
): Result<T | null> {
  const text = withWorkingDirectory(trusted, pid, FOLDER, budget, (directory) => {
    const path = `${directory}/${FOLDER}/${name}`;
    return mayExist(path, budget)
      ? readUntrustedText(path, null, MAX_BYTES, budget)
      : fail('not-found', `${name} is not there`);
  });
  if (!text.ok) return text;
  const parsed = parseJsonAs(schema, text.value);
  return ok(parsed.ok ? parsed.value : null);
}
