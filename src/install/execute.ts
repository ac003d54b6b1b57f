import { execFile } from 'node:child_process';
import { lstatSync, mkdirSync, rmdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { writeAtomic } from '../fs/atomic-write.ts';
import { appendHistory, readHistory } from '../history/store.ts';
import type { Step } from './plan.ts';

/** What the steps act through, beside the file system. */
export type Effects = {
  /** Runs systemctl; resolves with undefined, or with its error message. */
  readonly systemctl: (args: readonly string[]) => Promise<string | undefined>;
  readonly print: (text: string) => void;
};

/** Carries out the steps in order and prints each. Stops at the first failure; resolves with undefined or its reason. */
export async function execute(steps: readonly Step[], effects: Effects): Promise<string | undefined> {
  for (const step of steps) {
    const failure =
      step.action === 'systemctl' ? await executeSystemctl(step, effects) : executeFileStep(step, effects);
    if (failure !== undefined) return failure;
  }
  return undefined;
}

/** Prints what {@link execute} would do. */
export function preview(steps: readonly Step[], { print }: Pick<Effects, 'print'>): void {
  for (const step of steps) print(describe(step));
}

function describe(step: Step): string {
  switch (step.action) {
    case 'write':
      return `would write ${step.path}:\n${step.text}`;
    case 'keep':
      return `would keep ${step.path} (${step.why})`;
    case 'remove':
      return `would remove ${step.path}`;
    case 'remove-if-empty':
      return `would remove ${step.path}, if it is empty`;
    case 'move-history':
      return `would move the history in ${step.path} to ${step.target} and remove ${step.path}, which keeps the service from starting`;
    case 'systemctl':
      return `would run systemctl ${step.args.join(' ')}`;
    case 'note':
      return step.text;
  }
}

/** Runs systemctl with this environment; resolves with undefined, or with its error message in one line. */
export function runSystemctl(args: readonly string[], env: NodeJS.ProcessEnv): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile('systemctl', ['--no-ask-password', ...args], { env }, (error, _stdout, stderr) => {
      if (error === null) return resolve(undefined);
      const message = stderr.trim() || error.message.trim();
      resolve(message.replace(/\s*\n\s*/g, ' '));
    });
  });
}

async function executeSystemctl(
  step: Extract<Step, { action: 'systemctl' }>,
  { systemctl, print }: Effects,
): Promise<string | undefined> {
  const error = await systemctl(step.args);
  if (error === undefined) print(`ran systemctl ${step.args.join(' ')}`);
  return error === undefined || step.mayFail ? undefined : `systemctl ${step.args.join(' ')}: ${error}`;
}

function executeFileStep(step: Exclude<Step, { action: 'systemctl' }>, { print }: Effects): string | undefined {
  if (step.action === 'note') {
    print(step.text);
    return undefined;
  }
  try {
    switch (step.action) {
      case 'keep':
        print(`kept ${step.path} (${step.why})`);
        break;
      case 'write':
        mkdirSync(dirname(step.path), { recursive: true, mode: 0o755 });
        writeAtomic(step.path, step.text, 0o644);
        print(`wrote ${step.path}`);
        break;
      case 'remove':
        if (!exists(step.path)) break;
        rmSync(step.path, { recursive: true, force: true });
        print(`removed ${step.path}`);
        break;
      case 'move-history':
        moveHistory(step.path, step.target);
        print(`moved the history in ${step.path} to ${step.target}: it kept the service from starting`);
        break;
      case 'remove-if-empty':
        if (removeEmpty(step.path)) print(`removed ${step.path}`);
        break;
    }
    return undefined;
  } catch (error) {
    return `${step.path}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** True for anything at this path, including a dangling symbolic link. */
const exists = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

/** Appends the records in one directory to those in another and removes the first. Throws if a record could be lost. */
function moveHistory(from: string, to: string): void {
  for (const kind of ['history', 'trial'] as const) {
    const { records, problem } = readHistory(from, { kind });
    const failure = problem ?? appendHistory(to, records, kind);
    if (failure !== undefined) throw new Error(failure);
  }
  rmSync(from, { recursive: true });
}

function removeEmpty(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch {
    return false;
  }
}
