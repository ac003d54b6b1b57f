import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Counter, startService } from './service.ts';

/** What the service is compared with: another way to look at the same processes. */
export type Baseline = {
  /** CPU time of one run in ms, child processes included, measured over so many. */
  readonly cpuPerRun: (runs: number) => Promise<number>;
  readonly stop: () => Promise<void>;
};

const folder = fileURLToPath(new URL('baselines/', import.meta.url));

/** The bug report's shell loop; `expected`: how many processes it has to look at, else the comparison is void. */
export function shellLoop(clayPid: number, expected: number): Baseline {
  return {
    cpuPerRun: async (runs) => {
      const output = await run('bash', [
        join(folder, 'shell-loop.sh'),
        String(clayPid),
        String(runs),
        String(PACE_MS / 1000),
      ]);
      const [seen, ...times] = output.split('\n');
      if (Number(seen) !== expected) throw new Error(`the shell loop looked at ${seen} processes, not ${expected}`);
      // bash's own user and system time, and on the next line its children's, each as 1m2.345s.
      const spent = times.join(' ').matchAll(/(\d+)m(\d+\.\d+)s/g);
      const ms = [...spent].reduce(
        (sum, [, minutes, seconds]) => sum + Number(minutes) * 60e3 + Number(seconds) * 1e3,
        0,
      );
      return ms / runs;
    },
    stop: async () => {},
  };
}

/** ps-list, pidusage and a count of the descriptors. */
export const psListAndPidusage = (clayPid: number, expected: number): Baseline =>
  worker('ps-list.js', [String(clayPid)], expected);

/**
 * A loop that opens, reads and closes the files that one recorded sweep touches, and does no more. Clay's socket is one of
 * them; `asks`: whether it is asked, or only looked at.
 */
export async function plainLoop(clay: Counter, asks = true): Promise<Baseline> {
  const directory = mkdtempSync(join(tmpdir(), 'bench-record-'));
  const file = join(directory, 'operations.json');
  const recorder = await startService([clay], {
    nodeOptions: ['--require', join(folder, 'record.cjs')],
    env: { BENCH_RECORD: file },
  });
  await recorder.sweep(45);
  await recorder.stop();
  const operations = (JSON.parse(readFileSync(file, 'utf8')) as unknown[]).length;
  const baseline = worker('plain-loop.js', [file, ...(asks ? ['ask'] : [])], operations);
  return {
    cpuPerRun: baseline.cpuPerRun,
    stop: async () => {
      await baseline.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Pauses between the runs of a baseline, as long as the service makes them between its sweeps. */
const PACE_MS = 100;

function worker(script: string, args: readonly string[], expected: number): Baseline {
  const child = spawn(process.execPath, [join(folder, script), ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => answers.push(line));
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return {
    cpuPerRun: async (runs) => {
      child.stdin.write(`${JSON.stringify({ runs, everyMs: PACE_MS })}\n`);
      while (answers.length === 0) {
        if (child.exitCode !== null) throw new Error(`${script} has ended`);
        await sleep(20);
      }
      const { cpuMs, result } = JSON.parse(answers.shift() ?? '') as { cpuMs: number; result: number };
      if (result !== expected) throw new Error(`${script} looked at ${result}, not at ${expected}`);
      return cpuMs;
    },
    stop: async () => {
      child.kill();
      await exited;
    },
  };
}

function run(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('close', (status) => {
      if (status === 0) resolve(output);
      else reject(new Error(`${command} ended with ${status}`));
    });
  });
}
