import { ok, type Result } from '../files.ts';
import { readProcBytes } from './read.ts';

/** The NUL-separated strings of /proc/PID/cmdline; empty ones at the end are the padding of a process title. */
export function parseCmdline(bytes: Buffer): string[] {
  const words = bytes.toString('utf8').split('\0');
  while (words.length > 0 && words[words.length - 1] === '') words.pop();
  return words;
}

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

/** Real ones have some kB. Any process can make its own as long as it likes (prctl(2), PR_SET_MM). */
const MAX_BYTES = 1024 * 1024;

/** Reads /proc/PID/cmdline. */
export function readCmdline(procRoot: string, pid: number): Result<string[]> {
  const bytes = readProcBytes(`${procRoot}/${pid}/cmdline`, MAX_BYTES);
  return bytes.ok ? ok(parseCmdline(bytes.value)) : bytes;
}

/** Reads /proc/PID/environ; takes the right to trace the process (ptrace(2), PTRACE_MODE_READ). */
export function readEnviron(procRoot: string, pid: number): Result<Map<string, string>> {
  const bytes = readProcBytes(`${procRoot}/${pid}/environ`, MAX_BYTES);
  return bytes.ok ? ok(parseEnviron(bytes.value)) : bytes;
}
