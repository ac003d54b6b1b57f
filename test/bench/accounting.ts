import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

const MS_PER_TICK = 1000 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** CPU time of a process and of its children that are dead and waited for, user and system, in ms (proc_pid_stat(5)). */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // Fields 14 to 17, counted from the third: utime, stime, cutime, cstime.
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) * MS_PER_TICK;
}

/** How many processes the machine has. */
export const processCount = (): number => readdirSync('/proc').filter((name) => /^\d+$/.test(name)).length;

/** What the figures were measured on, in a line. */
export function machine(): string {
  const cpuinfo = readFileSync('/proc/cpuinfo', 'utf8');
  const cores = cpuinfo.match(/^processor\s*:/gm)?.length ?? 0;
  const model = /^model name\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? process.arch;
  const kernel = /\d+\.\d+\.\d+/.exec(readFileSync('/proc/sys/kernel/osrelease', 'utf8'))?.[0] ?? '';
  return `${cores} cores of ${model}, Linux ${kernel}, Node ${process.versions.node}`;
}
