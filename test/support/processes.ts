import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** A process for ever: a pid alone may be somebody else's tomorrow. */
export type ProcessId = { readonly pid: number; readonly startTicks: number };

/** Fields of /proc/PID/stat from the third on; null when there is no such process. */
function statFields(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}

/** Who has this pid now; null when nobody has. */
export function identify(pid: number): ProcessId | null {
  const fields = statFields(pid);
  return fields && { pid, startTicks: Number(fields[19]) };
}

/** Whether this very process lives; a zombie does not. */
export function isAlive({ pid, startTicks }: ProcessId): boolean {
  const fields = statFields(pid);
  return fields !== null && fields[0] !== 'Z' && fields[0] !== 'X' && Number(fields[19]) === startTicks;
}

export function parentOf(pid: number): number | null {
  const fields = statFields(pid);
  return fields && Number(fields[1]);
}

export function sessionOf(pid: number): number | null {
  const fields = statFields(pid);
  return fields && Number(fields[3]);
}

/** The children of all its threads. */
export function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

/** What a process has open, as the links in /proc/PID/fd say; one that is closed meanwhile is left out. */
export function openFiles(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return [];
    }
  });
}

/** Every process that has `text` somewhere in its environment; those of others that cannot be read are left out. */
export function withEnvironment(text: string): ProcessId[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const found = readFileSync(`/proc/${name}/environ`, 'utf8').includes(text);
        return found ? (identify(Number(name)) ?? []) : [];
      } catch {
        return [];
      }
    });
}

/** Ends this very process, if it still is the one. */
export function kill(process_: ProcessId, signal: NodeJS.Signals = 'SIGKILL'): void {
  if (!isAlive(process_)) return;
  try {
    process.kill(process_.pid, signal);
  } catch {
    // It went by itself in between.
  }
}
