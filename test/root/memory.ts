import { readFileSync } from 'node:fs';

const field = (pid: number, name: string): number =>
  Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;

/** The resident memory of a process; bytes. */
export const residentBytes = (pid: number): number => field(pid, 'VmRSS');

/** The most that it ever had; bytes. */
export const highWaterBytes = (pid: number): number => field(pid, 'VmHWM');
