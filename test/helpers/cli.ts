import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { onOlderMachine } from './older-machine.ts';
import { waitFor } from './wait-for.ts';

/** The program as a user has it: run `npm run build` before. */
const program = fileURLToPath(new URL('../../dist/clay-reaper.js', import.meta.url));

/** The history of what tests end belongs into no real one; build.ts makes this folder and removes it. */
export const stateDirectory = process.env.TEST_STATE_DIRECTORY;

/** Options with which every orphan is ended at once. */
export const NO_WAITS = ['--min-age', '0s', '--parked-after', '0s', '--grace', '0s'] as const;

export type Reason = { readonly code: string; readonly detail: string };

/** One process in `status --json` and `cleanup --json`: what scripts rely on. */
export type ProcessReport = {
  readonly pid: number;
  readonly startTicks: number;
  readonly ppid: number;
  readonly uid: number;
  readonly clayPid: number | null;
  readonly ageSeconds: number;
  readonly rssBytes: number;
  readonly reclaimableBytes: number;
  readonly cpuPercent: number;
  readonly cwd: string;
  readonly project: string | null;
  readonly sessionId: string | null;
  readonly sdkVersion: string | null;
  readonly claudeRelease: string | null;
  readonly unknownShapes: readonly { readonly shape: string; readonly seen: string }[];
  readonly socketFds: number;
  readonly connections: number;
  readonly children: number;
  readonly verdict: 'protected' | 'grace' | 'reap';
  readonly orphan: 'superseded' | 'deleted' | 'abandoned' | 'parked' | null;
  readonly reasons: readonly Reason[];
  readonly idleSeconds: number | null;
  readonly graceSeconds: number | null;
  readonly reapInSeconds: number | null;
  readonly outcome?: 'would-reap' | 'terminated' | 'killed' | 'survived' | 'vanished' | 'spared';
};

export type Report = {
  readonly schema: 1;
  readonly at: string;
  readonly clay: readonly {
    readonly pid: number;
    readonly uid: number;
    readonly home: string;
    readonly api: 'ok' | 'unreachable';
    readonly apiError: string | null;
    readonly projects: number;
    readonly processing: number;
  }[];
  readonly processes: readonly ProcessReport[];
  readonly totals: Readonly<Record<string, number>>;
};

export type Finished = {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
};

export type CliOptions = {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly uid?: number;
  readonly gid?: number;
  /** A command with its arguments that runs the program, e.g. nsenter(1). */
  readonly via?: readonly string[];
  /** Real processes write when they began: to the program they are as old as they are, and not a day older. */
  readonly trueAge?: boolean;
};

function start(args: readonly string[], { env, via = [], trueAge = false, ...user }: CliOptions) {
  const environment = { PATH: process.env.PATH, HOME: process.env.HOME, STATE_DIRECTORY: stateDirectory, ...env };
  const command = [...via, process.execPath, program, ...args];
  const child = spawn(command[0] as string, command.slice(1), {
    env: trueAge ? environment : onOlderMachine(environment),
    stdio: ['ignore', 'pipe', 'pipe'],
    ...user,
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text;
  });
  const finished = new Promise<Finished>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => resolve({ status, signal, ...output }));
  });
  return { child, finished };
}

/** Runs a command of clay-reaper to its end. */
export function runCli(args: readonly string[], options: CliOptions = {}): Promise<Finished> {
  return start(args, options).finished;
}

/** Runs a command with --json and reads its object. */
export async function runCliJson(
  args: readonly string[],
  options: CliOptions = {},
): Promise<Finished & { readonly report: Report }> {
  const finished = await runCli([...args, '--json'], options);
  try {
    return { ...finished, report: JSON.parse(finished.stdout) as Report };
  } catch {
    throw new Error(
      `clay-reaper ${args.join(' ')} ended with ${finished.status}: ${finished.stdout}${finished.stderr}`,
    );
  }
}

export type LogLine = { readonly event?: string; readonly pid?: number; readonly [field: string]: unknown };

export type RunningService = {
  readonly pid: number;
  readonly log: readonly LogLine[];
  /** Resolves with the first logged line that fits, past ones included. */
  readonly logged: (event: string, fits?: (line: LogLine) => boolean, timeoutMs?: number) => Promise<LogLine>;
  readonly signal: (signal: NodeJS.Signals) => void;
  readonly stop: () => Promise<Finished>;
};

/** Starts `clay-reaper run`, and follows its log. */
export function startService(args: readonly string[], options: CliOptions = {}): RunningService {
  const { child, finished } = start(['run', ...args], options);
  const log: LogLine[] = [];
  const follow = (stream: NodeJS.ReadableStream): void => {
    createInterface({ input: stream }).on('line', (line) => {
      try {
        log.push(JSON.parse(line) as LogLine);
      } catch {
        log.push({ text: line });
      }
    });
  };
  follow(child.stdout);
  follow(child.stderr);
  if (child.pid === undefined) throw new Error('clay-reaper did not start');
  return {
    pid: child.pid,
    log,
    logged: (event, fits = () => true, timeoutMs = 30_000) =>
      waitFor(
        `${event} is logged`,
        () => {
          const found = log.find((line) => line.event === event && fits(line));
          if (!found && child.exitCode !== null) throw new Error(`run ended without ${event}: ${JSON.stringify(log)}`);
          return found;
        },
        timeoutMs,
      ),
    signal: (signal) => void child.kill(signal),
    stop: () => {
      child.kill('SIGTERM');
      return finished;
    },
  };
}
