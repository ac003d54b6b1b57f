import { spawn } from 'node:child_process';
import { program } from '../faults/interference.ts';
import type { User } from '../helpers/clay.ts';
import type { Finished } from '../helpers/cli.ts';
import { onOlderMachine } from '../helpers/older-machine.ts';
import { peakResidentBytes } from '../helpers/processes.ts';
import { optionsWithSmallHeap } from '../helpers/systemd-unit.ts';

/** How a run of the program went: what it printed, how long it took (ms), and the most memory that it had. */
export type Measured = Finished & { readonly tookMs: number; readonly peakBytes: number };

/** As the unit starts it, but for the size of the heap: whoever can fill that is the attacker. */
const AS_THE_SERVICE = optionsWithSmallHeap();

/** Nothing that is tested with this takes so long; what does hangs. */
const HANGS_AFTER_MS = 30_000;

/** Runs a command of clay-reaper with the service's small heap, and watches its memory; one that hangs is ended, with the signal in the result. */
export function measured(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  user?: User,
): Promise<Measured> {
  const begun = performance.now();
  const child = spawn(process.execPath, [...AS_THE_SERVICE, program, ...args], {
    env: onOlderMachine({
      PATH: process.env.PATH,
      HOME: '/nonexistent',
      STATE_DIRECTORY: process.env.TEST_STATE_DIRECTORY,
      ...env,
    }),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: HANGS_AFTER_MS,
    killSignal: 'SIGKILL',
    ...user,
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  let peakBytes = 0;
  const timer = setInterval(() => {
    try {
      peakBytes = Math.max(peakBytes, peakResidentBytes(child.pid ?? 0) || 0);
    } catch {
      // It is gone.
    }
  }, 20);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => {
      clearInterval(timer);
      resolve({ status, signal, ...output, tookMs: performance.now() - begun, peakBytes });
    });
  });
}
