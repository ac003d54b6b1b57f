import { hrtime } from 'node:process';
import type { Clock } from '../judge/policy.ts';
import { readProcText } from '../proc/read-file.ts';
import { parseNamespacePids } from '../proc/status.ts';
import { readUptimeMs } from '../proc/uptime.ts';
import { fail, ok, type Result, UnavailableError } from '../result.ts';

/** The time on all clocks; the start times of processes count on `uptimeMs`. */
export type ObservedClock = Clock & { readonly uptimeMs: number };

/**
 * The path of /proc, after making sure that it shows the pid namespace of this program. In a container with the host's /proc
 * mounted, a pid read there would belong to another process when it is signalled.
 */
export function findProcRoot(procRoot = '/proc'): Result<string> {
  const status = readProcText(`${procRoot}/self/status`);
  if (!status.ok) return status;
  const pids = parseNamespacePids(status.value);
  if (pids.length !== 1 || pids[0] !== process.pid)
    return fail('invalid', `${procRoot} shows another pid namespace than the one that this program runs in`);
  return ok(procRoot);
}

/** The time now; fails if the kernel does not give its uptime. */
export function tryReadClock(procRoot: string): Result<ObservedClock> {
  const uptime = readUptimeMs(procRoot);
  if (!uptime.ok) return uptime;
  return ok({ wallMs: Date.now(), monotonicMs: Number(hrtime.bigint() / 1000n) / 1000, uptimeMs: uptime.value });
}

/** The time now; throws an {@link UnavailableError} if the kernel does not give its uptime. */
export function readClock(procRoot: string): ObservedClock {
  const now = tryReadClock(procRoot);
  if (!now.ok) throw new UnavailableError(`nothing can be judged: ${now.failure.detail}`);
  return now.value;
}
