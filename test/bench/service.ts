import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { unitSettings } from '../helpers/systemd-unit.ts';
import { cpuMs } from './accounting.ts';

// A copy: what is measured stays the same while somebody builds.
const copy = mkdtempSync(join(tmpdir(), 'bench-program-'));
cpSync(fileURLToPath(new URL('../../dist', import.meta.url)), copy, { recursive: true });
process.once('exit', () => rmSync(copy, { recursive: true, force: true }));

/** The built program. */
export const program = join(copy, 'clay-reaper.js');

/** Whose sweeps are counted: a Clay is asked once a sweep, so it knows, and the service has no work with it. */
export type Counter = { readonly home: string; readonly statusRequests: () => Promise<number> };

export type ServiceOptions = {
  readonly pollMs?: number;
  readonly args?: readonly string[];
  /** Options of Node before the program, if not those of the unit. */
  readonly nodeOptions?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
};

/** `clay-reaper run`, for Clays of the benchmark and no others. */
export type Service = {
  readonly pid: number;
  /** Resolves when so many more sweeps are over. */
  readonly sweep: (sweeps: number) => Promise<void>;
  /** CPU time of one sweep in ms, measured over so many. */
  readonly cpuOfSweep: (sweeps: number) => Promise<number>;
  /** Holds it while something else is measured, and lets it go on. */
  readonly halt: () => void;
  readonly goOn: () => void;
  readonly stop: () => Promise<void>;
};

/** Starts the service. Its sweeps are counted by the first Clay. Nothing that it finds is ever due, unless `args` say so. */
export async function startService(clays: readonly Counter[], options: ServiceOptions = {}): Promise<Service> {
  const unit = unitSettings();
  const { pollMs = 100, args = [], nodeOptions = unit.nodeOptions, env = {} } = options;
  const [counter] = clays;
  if (!counter) throw new Error('a service without a Clay');
  const state = mkdtempSync(join(tmpdir(), 'bench-state-'));
  const child = spawn(
    process.execPath,
    [
      ...nodeOptions,
      ...[program, 'run', '--poll', `${pollMs}ms`, '--parked-after', 'never', '--min-age', '0', '--log-level', 'warn'],
      ...clays.flatMap(({ home }) => ['--clay-home', home]),
      ...args,
    ],
    {
      env: { PATH: process.env.PATH, HOME: state, STATE_DIRECTORY: state, ...unit.env, ...env },
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  const { pid } = child;
  if (pid === undefined) throw new Error('the service did not start');
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));

  const sweep = async (sweeps: number): Promise<void> => {
    const end = (await counter.statusRequests()) + sweeps;
    for (let left = sweeps; left > 0; left = end - (await counter.statusRequests())) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error('the service has ended');
      await sleep(Math.max(10, (left - 1) * pollMs));
    }
    await untilQuiet(pid, pollMs);
  };
  await sweep(1);
  return {
    pid,
    sweep,
    cpuOfSweep: async (sweeps) => {
      // One that was halted in the middle of a sweep has used up the budget of its user, and leaves her alone for two sweeps.
      await sweep(4);
      const [cpu, counted] = [cpuMs(pid), await counter.statusRequests()];
      await sweep(sweeps);
      return (cpuMs(pid) - cpu) / ((await counter.statusRequests()) - counted);
    },
    halt: () => void child.kill('SIGSTOP'),
    goOn: () => void child.kill('SIGCONT'),
    stop: async () => {
      child.kill('SIGCONT');
      child.kill('SIGTERM');
      await exited;
      rmSync(state, { recursive: true, force: true });
    },
  };
}

/** The sweep that has begun is over when no more CPU time is used. */
async function untilQuiet(pid: number, pollMs: number): Promise<void> {
  for (let before = -1, now = cpuMs(pid); now !== before; ) {
    before = now;
    await sleep(Math.min(pollMs / 4, 500));
    now = cpuMs(pid);
  }
}
