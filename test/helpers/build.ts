import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Builds the program that is tested, or takes that of a package ($TEST_TARBALL): a release is tested as it will be installed.
 * Nothing of both if $TEST_BUILT is set, by what runs several suites side by side.
 * What the tests end is recorded in a history of its own.
 */
export function setup(): () => void {
  const cwd = fileURLToPath(new URL('../..', import.meta.url));
  if (process.env.TEST_BUILT === undefined) build(cwd, process.env.TEST_TARBALL);
  const directory = mkdtempSync(join(tmpdir(), 'clay-reaper-state-'));
  process.env.TEST_STATE_DIRECTORY = directory;
  return () => rmSync(directory, { recursive: true, force: true });
}

function build(cwd: string, tarball: string | undefined): void {
  if (tarball === undefined) {
    execFileSync(process.execPath, ['--import', 'tsx', 'scripts/build.ts'], { cwd, stdio: 'inherit' });
  } else {
    rmSync(`${cwd}dist`, { recursive: true, force: true });
    execFileSync('tar', ['-xzf', tarball, '--strip-components=1', 'package/dist'], { cwd });
  }
}
