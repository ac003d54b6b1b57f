import { hrtime } from 'node:process';
import type { Result } from '../files.ts';
import { ok } from '../files.ts';
import type { Now } from '../judge/limits.ts';
import { type MachineUnits, readMachineUnits, readUptimeMs } from '../proc/machine.ts';

/** The machine that is looked at: where its /proc is, and what its kernel counts in. */
export type Host = { readonly procRoot: string; readonly units: MachineUnits };

/** A moment on all clocks; `uptimeMs` is the one that start times of processes are counted on. */
export type Moment = Now & { readonly uptimeMs: number };

/** The host that this program runs on. */
export function readHost(procRoot = '/proc'): Result<Host> {
  const units = readMachineUnits(procRoot);
  return units.ok ? ok({ procRoot, units: units.value }) : units;
}

/** The time now; throws if the kernel does not tell its uptime, for then nothing can be judged at all. */
export function readMoment(host: Host): Moment {
  const uptime = readUptimeMs(host.procRoot);
  if (!uptime.ok) throw new Error(uptime.failure.detail);
  return { wallMs: Date.now(), monotonicMs: Number(hrtime.bigint() / 1000n) / 1000, uptimeMs: uptime.value };
}
