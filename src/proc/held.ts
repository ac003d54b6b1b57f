import { closeSync, openSync, readSync } from 'node:fs';
import { failureOf, ok, type Result } from '../files.ts';
import { readProcRecord } from './read.ts';

type Held = { readonly fd: number; isRead: boolean };

/** By path; `isRead`: since {@link letGoOfUnread} was called last. */
const held = new Map<string, Held>();

/** Each takes some 4 kB of the kernel's memory (measured); what is beyond is opened each time. */
const MAX_HELD = 64;

/** A schedstat has some 30 bytes. */
const record = Buffer.allocUnsafe(256);

/**
 * {@link readProcRecord} of a file with at most 256 bytes that each look reads, as long as the process lives: it stays open
 * from one look to the next, for to open and close it takes longer than to read it. What is open leads to that very process
 * for good: once that is gone nothing can be read from it, whoever has its pid by then (proc_single_show() in fs/proc/base.c).
 */
export function readHeldRecord(path: string): Result<string> {
  try {
    const file = held.get(path) ?? hold(path);
    if (file === null) return readProcRecord(path);
    const length = readSync(file.fd, record, 0, record.length, 0);
    file.isRead = true;
    return ok(record.toString('latin1', 0, length));
  } catch (error) {
    return failureOf(error, path);
  }
}

function hold(path: string): Held | null {
  if (held.size >= MAX_HELD) return null;
  const file = { fd: openSync(path, 'r'), isRead: false };
  held.set(path, file);
  return file;
}

/** Closes what the look that is over did not read, or could not. */
export function letGoOfUnread(): void {
  for (const [path, file] of held) {
    if (!file.isRead) {
      closeSync(file.fd);
      held.delete(path);
    }
    file.isRead = false;
  }
}
