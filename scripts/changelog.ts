import { readFileSync, writeFileSync } from 'node:fs';

// npm run changelog -- release: gives [Unreleased] the version of package.json and today's date ("npm version" runs it).
// npm run changelog -- notes: prints what the changelog says of the version of package.json.
const FILE = 'CHANGELOG.md';

/** The changelog in which [Unreleased] has become `version`. Throws if there is nothing to release. */
export function released(changelog: string, version: string, date: string): string {
  const heading = '## [Unreleased]\n';
  if (!changelog.includes(heading)) throw new Error(`${FILE} has no heading "${heading.trim()}"`);
  if (sectionOf(changelog, 'Unreleased') === '') throw new Error(`${FILE} has nothing below "${heading.trim()}"`);
  return changelog.replace(heading, () => `${heading}\n## [${version}] - ${date}\n`);
}

/** The text below the heading of a version, without the heading. Throws if there is no such heading. */
export function sectionOf(changelog: string, version: string): string {
  const lines = changelog.split('\n');
  const start = lines.findIndex((line) => line.startsWith(`## [${version}]`));
  if (start === -1) throw new Error(`${FILE} has no heading for ${version}`);
  const length = lines.slice(start + 1).findIndex((line) => line.startsWith('## '));
  const end = length === -1 ? lines.length : start + 1 + length;
  return lines
    .slice(start + 1, end)
    .join('\n')
    .trim();
}

/** Runs one of the two commands above in the package's folder. */
function main(command: string | undefined): void {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  const changelog = readFileSync(FILE, 'utf8');
  if (command === 'notes') process.stdout.write(`${sectionOf(changelog, version)}\n`);
  else if (command === 'release')
    writeFileSync(FILE, released(changelog, version, new Date().toISOString().slice(0, 10)));
  else {
    console.error('usage: npm run changelog -- release | notes');
    process.exitCode = 2;
  }
}

if (process.argv[1]?.endsWith('changelog.ts')) main(process.argv[2]);
