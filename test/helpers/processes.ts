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

/** The pid that we see a process under, by the one that it has in the pid namespace of another (NSpid in proc_pid_status(5)). */
export function pidInNamespaceOf(other: number, inner: number): number {
  const namespace = (pid: number): string => readlinkSync(`/proc/${pid}/ns/pid`);
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const pid = Number(name);
    try {
      const pids = /^NSpid:\t(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]?.split('\t');
      if (pids?.at(-1) === String(inner) && namespace(pid) === namespace(other)) return pid;
    } catch {
      // It has exited since.
    }
  }
  throw new Error(`no process has pid ${inner} in the namespace of ${other}`);
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

/**
 * Resident memory in bytes. Not VmRSS of /proc/PID/status, which the kernel counts per CPU and adds up loosely, but the
 * sum over the pages themselves (proc_pid_smaps_rollup(5)).
 */
export function residentBytes(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Number(/^Rss:\s+(\d+) kB$/m.exec(rollup)?.[1]) * 1024;
}

/** The largest resident memory that the process ever had (VmHWM), in bytes. */
export function peakResidentBytes(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}
