import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Writes who made what is in a bundle, and under which licence: every package of which esbuild put a file into it.
 * Fails for a package without a licence text of its own and without a licence's name.
 */
export function writeLicences(inputs, outfile) {
  const folders = new Set(
    Object.keys(inputs).flatMap((path) => path.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0] ?? []),
  );
  const parts = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    if (!license) throw new Error(`${name} ${version} is in the bundle and names no licence`);
    const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
    const text = file ? readFileSync(join(folder, file), 'utf8').trim() : 'It comes without a text of its licence.';
    return `${name} ${version}\nLicence: ${license}\n\n${text}\n`;
  });
  const rule = `\n${'-'.repeat(80)}\n\n`;
  writeFileSync(outfile, `clay-reaper.js contains these packages.\n${rule}${parts.join(rule)}`);
}
