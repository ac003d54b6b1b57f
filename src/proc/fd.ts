import { readdirSync } from 'node:fs';
import { BUDGET_EXHAUSTED, type UserBudget } from '../fs/user-budget.ts';
import { attempt, fail, ok, type Result } from '../result.ts';
import { listProcDirectory, readProcLink } from './read-file.ts';
import type { Status } from './status.ts';

const SOCKET = /^socket:\[(\d+)\]$/;

/** A `claude` has some 60 (measured); the limit that most processes start with is 1024. */
const MAX_DESCRIPTORS = 8_192;

/**
 * The socket inodes behind a process's descriptors, by descriptor number. `tableSize`: {@link Status.descriptorTableSize}, read just
 * before. A table that can hold no more than is read is listed at once: 24 descriptors take 41 instead of 108 µs.
 */
export function readSocketFds(
  procRoot: string,
  pid: number,
  budget: UserBudget,
  tableSize: number | null = null,
): Result<Map<string, number>> {
  const folder = `${procRoot}/${pid}/fd`;
  const isShort = tableSize !== null && tableSize <= MAX_DESCRIPTORS;
  const fds = isShort ? attempt(folder, () => readdirSync(folder)) : listProcDirectory(folder, MAX_DESCRIPTORS);
  if (!fds.ok) return fds;
  const sockets = new Map<string, number>();
  for (const fd of fds.value) {
    if (budget.exhausted()) return fail('invalid', BUDGET_EXHAUSTED);
    const inode = readSocketFd(procRoot, pid, fd);
    if (!inode.ok && inode.failure.code === 'not-found') continue;
    if (!inode.ok) return inode;
    if (inode.value !== null) sockets.set(fd, inode.value);
  }
  return ok(sockets);
}

/** The inode of the socket behind one descriptor, or null if it is no socket. */
export function readSocketFd(procRoot: string, pid: number, fd: string): Result<number | null> {
  const target = readProcLink(`${procRoot}/${pid}/fd/${fd}`);
  if (!target.ok) return target;
  const match = SOCKET.exec(target.value);
  return ok(match ? Number(match[1]) : null);
}
