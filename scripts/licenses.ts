import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

type Manifest = { readonly name: string; readonly version: string; readonly license?: string };

/**
 * The names and licenses of all packages that a bundle contains, as text. `inputs` are the paths of the bundled files
 * (esbuild's metafile). Throws for a package that names no license.
 */
export function licensesOf(inputs: readonly string[]): string {
  const folders = new Set(inputs.flatMap((path) => path.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0] ?? []));
  const parts = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
    if (!license) throw new Error(`${name} ${version} is in the bundle and names no license`);
    const file = readdirSync(folder).find((fileName) => /^licen[cs]e/i.test(fileName));
    const text = file ? readFileSync(join(folder, file), 'utf8').trim() : 'The package has no license file.';
    return `${name} ${version}\nLicense: ${license}\n\n${text}\n`;
  });
  const rule = `\n${'-'.repeat(80)}\n\n`;
  return `clay-reaper contains these packages.\n${rule}${parts.join(rule)}`;
}
