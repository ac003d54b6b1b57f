import type { UserBudget } from '../fs/user-budget.ts';
import { ok, type Result } from '../result.ts';
import { readProcBytes } from './read-file.ts';

/** The NUL-separated strings of /proc/PID/cmdline; empty ones at the end are the padding of a process title. */
export function parseCmdline(bytes: Buffer): string[] {
  const words = bytes.toString('utf8').split('\0');
  while (words.length > 0 && words[words.length - 1] === '') words.pop();
  return words;
}

/** Real ones have some kB. Any process can make its own as long as it likes (prctl(2), PR_SET_MM). */
const MAX_BYTES = 1024 * 1024;

/** Reads /proc/PID/cmdline. */
export function readCmdline(procRoot: string, pid: number, budget: UserBudget): Result<string[]> {
  const bytes = readProcBytes(`${procRoot}/${pid}/cmdline`, MAX_BYTES);
  if (bytes.ok) budget.charge(bytes.value.length);
  return bytes.ok ? ok(parseCmdline(bytes.value)) : bytes;
}
