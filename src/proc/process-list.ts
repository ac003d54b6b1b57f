import { lstatSync } from 'node:fs';
import type { UserBudgets } from '../fs/user-budget.ts';
import { attempt, ok, type Result } from '../result.ts';
import { listProcDirectory, readProcPrefix } from './read-file.ts';
import { readStat } from './stat.ts';

/** A row of the process table. */
export type ProcessEntry = {
  readonly pid: number;
  readonly ppid: number;
  /** Its command line, words separated by spaces; empty if it was not wanted. */
  readonly cmd: string;
};

/** Which process table to read. */
export type ListOptions = {
  /** `ps-list` where there are `ps` and enough memory for it; else /proc itself, which takes a third of the time. */
  readonly withPs: boolean;
  /** Whether a command line is worth keeping. */
  readonly isWanted: (cmd: string) => boolean;
  readonly budgets: UserBudgets;
};

/**
 * `ps-list` holds all that `ps` prints in memory: up to 64 MB of command lines, which any user can make so long, and several
 * times that to split it. The heap of the service is kept small, and a full heap ends the program.
 */
const HEAP_FOR_PS_LIST_BYTES = 512 * 1024 * 1024;

/** All processes of the machine, kernel threads included. */
export async function listProcesses(
  procRoot: string,
  { withPs, isWanted, budgets }: ListOptions,
): Promise<Result<ProcessEntry[]>> {
  const byPs = withPs && procRoot === '/proc' ? await listWithPs() : null;
  if (byPs === null) return listFromProc(procRoot, isWanted, budgets);
  return ok(byPs.map(({ pid, ppid, cmd }) => ({ pid, ppid, cmd: cmd !== undefined && isWanted(cmd) ? cmd : '' })));
}

/** Null where there is no `ps`, or too little memory for it. */
async function listWithPs(): Promise<{ pid: number; ppid: number; cmd?: string }[] | null> {
  const { getHeapStatistics } = await import('node:v8');
  if (getHeapStatistics().heap_size_limit < HEAP_FOR_PS_LIST_BYTES) return null;
  const { default: psList } = await import('ps-list');
  return psList().catch(() => null);
}

/** Enough to recognise a process; a process can make its command line of any length. */
const CMD_BYTES = 4096;

/** The uid that owns the directory of a process in /proc: its effective one, or root's (proc_pid(5)); null if it is gone. */
export function readOwner(procRoot: string, pid: number): number | null {
  const stat = attempt('its directory', () => lstatSync(`${procRoot}/${pid}`, { throwIfNoEntry: false }));
  return stat.ok && stat.value ? stat.value.uid : null;
}

/** Takes some 100 bytes each. */
const ENTRY_ITEMS = 1;

/**
 * The process table from /proc. Left out are processes that exit meanwhile, and those of users whose budget is exhausted.
 */
export function listFromProc(
  procRoot: string,
  isWanted: (cmd: string) => boolean,
  budgets: UserBudgets,
): Result<ProcessEntry[]> {
  const names = listProcDirectory(procRoot);
  if (!names.ok) return names;
  return ok(
    names.value.flatMap((name): ProcessEntry[] => {
      const pid = Number(name);
      const uid = Number.isInteger(pid) ? readOwner(procRoot, pid) : null;
      const budget = uid === null ? null : budgets.of(uid);
      const entry = budget?.run(() => (budget.exhausted() ? null : readEntry(procRoot, pid, isWanted))) ?? null;
      if (!entry || !budget?.reserve(ENTRY_ITEMS + Math.ceil(entry.cmd.length / 100))) return [];
      return [entry];
    }),
  );
}

function readEntry(procRoot: string, pid: number, isWanted: (cmd: string) => boolean): ProcessEntry | null {
  const stat = readStat(procRoot, pid);
  if (!stat.ok) return null;
  const { ppid, isKernelThread } = stat.value;
  // It has no command line, and on a small machine half of all processes are kernel threads.
  if (isKernelThread) return { pid, ppid, cmd: '' };
  const bytes = readProcPrefix(`${procRoot}/${pid}/cmdline`, CMD_BYTES);
  const cmd = bytes.ok ? bytes.value.toString('utf8').replace(/\0+$/, '').replaceAll('\0', ' ') : '';
  return { pid, ppid, cmd: isWanted(cmd) ? cmd : '' };
}
