import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The program that is tested is the one that the sources make now, and its history is no real one. */
export function setup(): () => void {
  execFileSync(process.execPath, ['src/build/build.js'], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    stdio: 'inherit',
  });
  const directory = mkdtempSync(join(tmpdir(), 'clay-reaper-state-'));
  process.env.TEST_STATE_DIRECTORY = directory;
  return () => rmSync(directory, { recursive: true, force: true });
}
