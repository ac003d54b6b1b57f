import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The program that is tested is the one that the sources make now. */
export function setup(): void {
  execFileSync(process.execPath, ['build.js'], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    stdio: 'inherit',
  });
}
