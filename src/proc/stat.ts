import { fail, ok, type Result } from '../result.ts';
import { readSingleRead } from './read-file.ts';

/**
 * Ticks are of 10 ms on every architecture that Node runs on: the kernel counts in USER_HZ, which is 100
 * (include/asm-generic/param.h; only alpha and ia64 had 1024). It is what sysconf(3) gives as _SC_CLK_TCK.
 */
export const MS_PER_TICK = 10;

/** What /proc/PID/stat says (proc_pid_stat(5)); only the fields that are used. */
export type Stat = {
  readonly pid: number;
  readonly comm: string;
  /** One letter: R running, S sleeping, D uninterruptible, T stopped, Z zombie, X dead. */
  readonly state: string;
  readonly ppid: number;
  /** The session's id: the pid of the process that leads it. */
  readonly session: number;
  /** 0 if it has no controlling terminal. */
  readonly ttyNr: number;
  readonly isKernelThread: boolean;
  /** CPU time of the process itself, user and system, in ticks. */
  readonly ownTicks: number;
  /** CPU time of those of its children that are dead and waited for, in ticks. */
  readonly reapedTicks: number;
  readonly threads: number;
  /** When it started, in ticks since boot. With the pid it names one process for good. */
  readonly startTicks: number;
};

/** PF_KTHREAD in the flags of a process (include/linux/sched.h). */
const KERNEL_THREAD_FLAG = 0x00200000;

/** The last field that is read. The kernel writes 52. */
const LAST_FIELD = 22;

/** Parses the text of a stat file; comm may hold spaces, brackets and newlines, so it ends at the last `)`. */
export function parseStat(text: string): Result<Stat> {
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  if (open < 1 || close < open) return fail('invalid', 'stat has no command name');
  const fields = text.slice(close + 2).split(' ', LAST_FIELD - 2);
  const number = (nr: number): number => Number(fields[nr - 3]);
  const stat: Stat = {
    pid: Number(text.slice(0, open - 1)),
    comm: text.slice(open + 1, close),
    state: fields[0] ?? '',
    ppid: number(4),
    session: number(6),
    ttyNr: number(7),
    isKernelThread: (number(9) & KERNEL_THREAD_FLAG) !== 0,
    ownTicks: number(14) + number(15),
    reapedTicks: number(16) + number(17),
    threads: number(20),
    startTicks: number(22),
  };
  const sound =
    /^[A-Za-z]$/.test(stat.state) &&
    [
      stat.pid,
      stat.ppid,
      stat.session,
      stat.ttyNr,
      stat.ownTicks,
      stat.reapedTicks,
      stat.threads,
      stat.startTicks,
    ].every(Number.isSafeInteger);
  return sound ? ok(stat) : fail('invalid', 'stat does not have the fields it should have');
}

/** Reads /proc/PID/stat. */
export function readStat(procRoot: string, pid: number): Result<Stat> {
  const text = readSingleRead(`${procRoot}/${pid}/stat`);
  return text.ok ? parseStat(text.value) : text;
}

/** Whether the process is dead: a zombie is, it only waits to be collected by its parent. */
export const isDead = (stat: Stat): boolean => stat.state === 'Z' || stat.state === 'X';
