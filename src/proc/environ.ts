import { BUDGET_EXHAUSTED, type UserBudget } from '../fs/user-budget.ts';
import { fail, ok, type Result } from '../result.ts';
import { readProcBytes } from './read-file.ts';

/** The variables of /proc/PID/environ: what the process was started with. The first of a name counts, as in getenv(3). */
export function parseEnviron(bytes: Buffer): Map<string, string> {
  const variables = new Map<string, string>();
  for (const entry of bytes.toString('utf8').split('\0')) {
    const equals = entry.indexOf('=');
    if (equals < 1) continue;
    const name = entry.slice(0, equals);
    if (!variables.has(name)) variables.set(name, entry.slice(equals + 1));
  }
  return variables;
}

/** Real ones have some kB. A process can make its own of any size (prctl(2), PR_SET_MM). */
const MAX_BYTES = 1024 * 1024;

/** Reads /proc/PID/environ; takes the right to trace the process (ptrace(2), PTRACE_MODE_READ). */
export function readEnviron(procRoot: string, pid: number, budget: UserBudget): Result<Map<string, string>> {
  const bytes = readProcBytes(`${procRoot}/${pid}/environ`, MAX_BYTES);
  if (bytes.ok) budget.charge(bytes.value.length);
  return bytes.ok ? ok(parseEnviron(bytes.value)) : bytes;
}

/** Longer ones are not searched: a hook's has some kB. */
const MAX_SEARCHED_BYTES = 128 * 1024;

/** Whether /proc/PID/environ has a variable, with any value. */
export function environHas(procRoot: string, pid: number, name: string, budget: UserBudget): Result<boolean> {
  if (budget.exhausted()) return fail('invalid', BUDGET_EXHAUSTED);
  const bytes = readProcBytes(`${procRoot}/${pid}/environ`, MAX_SEARCHED_BYTES);
  if (!bytes.ok) return bytes;
  budget.charge(bytes.value.length);
  const text = bytes.value.toString('latin1');
  return ok(text.startsWith(`${name}=`) || text.includes(`\0${name}=`));
}
