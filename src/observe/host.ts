import { hrtime } from 'node:process';
import { fail, ok, type Result } from '../files.ts';
import type { Now } from '../judge/limits.ts';
import { type MachineUnits, readMachineUnits, readUptimeMs } from '../proc/machine.ts';
import { readProcText } from '../proc/read.ts';
import { parseNamespacePids } from '../proc/status.ts';

/** The machine that is looked at: where its /proc is, and what its kernel counts in. */
export type Host = { readonly procRoot: string; readonly units: MachineUnits };

/** A moment on all clocks; `uptimeMs` is the one that start times of processes are counted on. */
export type Moment = Now & { readonly uptimeMs: number };

/**
 * The host that this program runs on. Fails where /proc is not that of our own pid namespace (a container with the
 * machine's /proc in it): a pid read there is somebody else's when it is signalled.
 */
export function readHost(procRoot = '/proc'): Result<Host> {
  const units = readMachineUnits(procRoot);
  if (!units.ok) return units;
  const status = readProcText(`${procRoot}/self/status`);
  if (!status.ok) return status;
  const pids = parseNamespacePids(status.value);
  if (pids.length !== 1 || pids[0] !== process.pid)
    return fail('odd', `${procRoot} is that of another pid namespace than the one that this program runs in`);
  return ok({ procRoot, units: units.value });
}

/** Nothing can be judged just now; the message says why. */
export class BlindMoment extends Error {}

/** The time now; fails if the kernel does not tell its uptime. */
export function tryMoment(host: Host): Result<Moment> {
  const uptime = readUptimeMs(host.procRoot);
  if (!uptime.ok) return uptime;
  return ok({ wallMs: Date.now(), monotonicMs: Number(hrtime.bigint() / 1000n) / 1000, uptimeMs: uptime.value });
}

/** The time now; throws a {@link BlindMoment} if the kernel does not tell its uptime. */
export function readMoment(host: Host): Moment {
  const now = tryMoment(host);
  if (!now.ok) throw new BlindMoment(`nothing can be judged: ${now.failure.detail}`);
  return now.value;
}
