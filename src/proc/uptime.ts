import { fail, ok, type Result } from '../result.ts';
import { readSingleRead } from './read-file.ts';

/** How long the machine has been up, suspended time included, in ms (proc_uptime(5)). */
export function readUptimeMs(procRoot: string): Result<number> {
  const text = readSingleRead(`${procRoot}/uptime`);
  if (!text.ok) return text;
  const seconds = Number(text.value.split(' ')[0]);
  return Number.isFinite(seconds) ? ok(seconds * 1000) : fail('invalid', `${procRoot}/uptime holds no number`);
}
