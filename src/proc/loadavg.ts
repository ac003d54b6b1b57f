import { availableParallelism } from 'node:os';
import { ok, type Result } from '../result.ts';
import { readSingleRead } from './read-file.ts';

/** The load average of the last minute (proc_loadavg(5)) per core: how many processes want to run on each. */
export function readLoadPerCore(procRoot: string): Result<number> {
  const text = readSingleRead(`${procRoot}/loadavg`);
  return text.ok ? ok(Number(text.value.split(' ')[0]) / availableParallelism()) : text;
}
