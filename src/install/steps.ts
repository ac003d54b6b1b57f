import { lstatSync, mkdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** One thing that `install` or `uninstall` does, or, in a dry run, says that it would do. */
export type Step =
  | { readonly do: 'write'; readonly path: string; readonly text: string }
  | { readonly do: 'keep'; readonly path: string; readonly why: string }
  | { readonly do: 'remove'; readonly path: string }
  | { readonly do: 'remove-if-empty'; readonly path: string }
  | { readonly do: 'systemctl'; readonly args: readonly string[]; readonly mayFail?: true }
  | { readonly do: 'say'; readonly text: string };

/** How steps reach the machine and the person. */
export type Hands = {
  /** Runs systemctl; resolves with undefined, or with what it complained about. */
  readonly systemctl: (args: readonly string[]) => Promise<string | undefined>;
  readonly print: (text: string) => void;
};

/** The steps that `plan` gives, or why what is there could not be looked at, in one line. */
export function tryToPlan(plan: () => Step[]): Step[] | string {
  try {
    return plan();
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) return error.message;
    throw error;
  }
}

/** Does the steps in order, and tells each. Stops at the first that fails and resolves with the reason, in one line. */
export async function perform(steps: readonly Step[], hands: Hands): Promise<string | undefined> {
  for (const step of steps) {
    const failure = step.do === 'systemctl' ? await control(step, hands) : touchFile(step, hands);
    if (failure !== undefined) return failure;
  }
  return undefined;
}

/** Tells the steps, and does none. */
export function preview(steps: readonly Step[], { print }: Pick<Hands, 'print'>): void {
  for (const step of steps) {
    if (step.do === 'write') print(`would write ${step.path}:\n${step.text}`);
    else if (step.do === 'systemctl') print(`would run systemctl ${step.args.join(' ')}`);
    else if (step.do === 'keep') print(`would keep ${step.path} (${step.why})`);
    else if (step.do === 'say') print(step.text);
    else if (isThere(step.path)) print(`would remove ${step.path}${step.do === 'remove' ? '' : ', if it is empty'}`);
  }
}

/** The text of a regular file; null if there is none. A link or anything else is never ours: its text is empty. */
export function readText(path: string): string | null {
  if (!isThere(path)) return null;
  return lstatSync(path).isFile() ? readFileSync(path, 'utf8') : '';
}

/** Whether there is anything at this path, a dangling link included. */
export function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

async function control(step: Step & { do: 'systemctl' }, { systemctl, print }: Hands): Promise<string | undefined> {
  const complaint = await systemctl(step.args);
  if (complaint === undefined) print(`ran systemctl ${step.args.join(' ')}`);
  return complaint === undefined || step.mayFail ? undefined : `systemctl ${step.args.join(' ')}: ${complaint}`;
}

function touchFile(step: Exclude<Step, { do: 'systemctl' }>, { print }: Hands): string | undefined {
  if (step.do === 'say') {
    print(step.text);
    return undefined;
  }
  try {
    if (step.do === 'keep') print(`kept ${step.path} (${step.why})`);
    else if (step.do === 'write') {
      writeWhole(step.path, step.text);
      print(`wrote ${step.path}`);
    } else if (isThere(step.path) && (step.do === 'remove' ? removeTree(step.path) : removeEmpty(step.path))) {
      print(`removed ${step.path}`);
    }
    return undefined;
  } catch (error) {
    return `${step.path}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** All or nothing: systemd must never read half a unit. */
function writeWhole(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const part = `${path}.${process.pid}.part`;
  try {
    writeFileSync(part, text, { mode: 0o644, flag: 'wx' });
    renameSync(part, path);
  } finally {
    rmSync(part, { force: true });
  }
}

function removeTree(path: string): boolean {
  rmSync(path, { recursive: true, force: true });
  return true;
}

function removeEmpty(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch {
    return false;
  }
}
