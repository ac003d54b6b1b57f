import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Host } from './boot.ts';

const packageRoot = fileURLToPath(new URL('../..', import.meta.url));
const TARBALL = '/root/clay-reaper.tgz';

/** Packs this package and puts the tarball into the machine; gives its path there. */
export function bringTarball(host: Host): string {
  const folder = mkdtempSync(join(tmpdir(), 'clay-reaper-pack-'));
  try {
    const said = execFileSync('npm', ['pack', '--json', '--silent', '--pack-destination', folder], {
      cwd: packageRoot,
      encoding: 'utf8',
    });
    // A build script may say something first.
    const [packed] = JSON.parse(said.slice(said.indexOf('[\n'))) as { filename: string }[];
    if (packed === undefined) throw new Error(`npm pack made nothing: ${said}`);
    host.copyIn(join(folder, packed.filename), TARBALL);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return TARBALL;
}

/** Packs this package and installs it in the machine, as its administrator would. */
export async function installPackage(host: Host): Promise<void> {
  await host.ok(`npm install --global --offline --no-audit --no-fund ${bringTarball(host)}`);
}
