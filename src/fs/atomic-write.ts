import { closeSync, constants, fchmodSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';

/**
 * Replaces the file at `path` in one step: a reader sees the old text or the new one, never a part. `mode` is set for any
 * umask. Throws as node:fs does, and then leaves no temporary file behind.
 */
export function writeAtomic(path: string, text: string, mode: number): void {
  const temporary = `${path}.${process.pid}.tmp`;
  // O_EXCL and O_NOFOLLOW: in a directory that others can write to, a planted link or FIFO makes this fail.
  const fd = openSync(
    temporary,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    mode,
  );
  try {
    try {
      fchmodSync(fd, mode);
      const bytes = Buffer.from(text);
      // On a full disk, write(2) succeeds partially; the next call reports ENOSPC.
      for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
