import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { DOCUMENTS, withTables } from '../../scripts/doc-tables.ts';
import { createProgram } from '../../src/cli.ts';
import { EXAMPLES } from '../../src/commands/examples.ts';
import { environmentName, SETTING_KEYS } from '../../src/config/settings.ts';
import { EXIT } from '../../src/report/exit-status.ts';
import { runCli } from '../helpers/cli.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const readme = readFileSync(`${root}README.md`, 'utf8');
const program = createProgram({ version: '1.2.3', commit: null }, () => {});
const commands = program.commands.map((command) => command.name());

describe('--help', () => {
  it('of the program lists every command', async () => {
    const { status, stdout, stderr } = await runCli(['--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    for (const command of commands) expect(stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'));
  });

  it('of the program leads with status and cleanup, and so do the README and the error of a call without a command', async () => {
    const { stdout } = await runCli(['--help']);
    const named = [...stdout.matchAll(/^ {2}(?:clay-reaper )?([a-z]+)\b/gm)].map(([, name]) => name);
    expect(named.slice(0, 2)).toEqual(['status', 'cleanup']);
    expect(stdout).toMatch(/^Begin with:\n {2}clay-reaper status .*\n {2}clay-reaper cleanup /m);
    const shown = [...readme.matchAll(/^ {4}(?:sudo )?(?:node \S+\.js|clay-reaper) ([a-z]+)/gm)].map(
      ([, name]) => name,
    );
    expect(shown.slice(0, 2)).toEqual(['status', 'cleanup']);
    const { status, stderr } = await runCli([]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/begin with "clay-reaper status", then "clay-reaper cleanup"/);
  });

  it.each(commands)('of %s has a valid example', async (command) => {
    const { status, stdout, stderr } = await runCli([command, '--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    const examples = EXAMPLES[command] ?? [];
    expect(examples).not.toHaveLength(0);
    for (const { line } of examples) {
      expect(stdout).toContain(line);
      const [name, ...words] = line.replace(/^sudo /, '').split(' ');
      expect([name, words[0]]).toEqual(['clay-reaper', command]);
      // --help wins over all that is good, but not over an option that is unknown.
      expect((await runCli([...words, '--help'])).status).toBe(0);
      const known = program.commands.find((candidate) => candidate.name() === command)?.options.map(({ long }) => long);
      for (const word of words.filter((argument) => argument.startsWith('--'))) expect(known).toContain(word);
    }
  });
});

describe('man page', () => {
  const page = readFileSync(`${root}dist/clay-reaper.8`, 'utf8');
  /** What is left when the marks of roff are read. */
  const plain = page.replaceAll('\\-', '-').replaceAll('\\(aq', "'").replaceAll('\\(ti', '~').replaceAll('""', '"');

  it('is in the package where npm looks for it', () => {
    const { man } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));
    // npm links only an array on "npm install --global".
    expect(man).toEqual(['dist/clay-reaper.8']);
    const packed = execFileSync('npm', ['pack', '--dry-run', '--ignore-scripts', '--json'], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [{ files }] = JSON.parse(packed) as [{ files: { path: string }[] }];
    expect(files.map(({ path }) => path)).toEqual(expect.arrayContaining(man));
  });

  it('covers every command, option, setting, example and exit status', () => {
    for (const command of program.commands) {
      expect(plain).toMatch(new RegExp(`^\\.SS "${command.name()}`, 'm'));
      for (const { flags } of command.options) expect(plain).toContain(`"${flags}"`);
      for (const { line } of EXAMPLES[command.name()] ?? []) expect(plain).toContain(`"${line}"`);
    }
    for (const key of SETTING_KEYS) {
      expect(plain).toContain(`.BR "${key}" `);
      expect(plain).toContain(`Environment: ${environmentName(key)}.`);
    }
    for (const status of Object.values(EXIT)) expect(plain).toMatch(new RegExp(`^\\.B "${status}"$`, 'm'));
  });

  it('uses only macros of man(7), balanced quotes, and no accidental control lines', () => {
    const lines = page.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^\.TH CLAY\\-REAPER 8 /);
    for (const line of lines) {
      if (line.startsWith('.')) expect(line).toMatch(/^\.(TH|SH|SS|PP|TP|B|BR|br|nh|ad)( |$)/);
      else expect(line).toMatch(/^[^'\s]/);
      expect((line.startsWith('.') ? (line.match(/"/g) ?? []) : []).length % 2).toBe(0);
    }
    const sections = lines.filter((line) => line.startsWith('.SH ')).map((line) => line.slice(4));
    expect(sections.slice(0, 3)).toEqual(['NAME', 'SYNOPSIS', 'DESCRIPTION']);
  });
});

describe('documents', () => {
  it.each(Object.keys(DOCUMENTS))('%s has up-to-date generated tables (if not: npm run docs)', (document) => {
    const text = readFileSync(`${root}${document}`, 'utf8');
    expect(text).toBe(withTables(document, text));
  });

  it('docs/configuration.md explains every setting', () => {
    const text = readFileSync(`${root}docs/configuration.md`, 'utf8');
    for (const key of SETTING_KEYS) expect(text).toContain(`| \`${key}\` | `);
  });

  const pages = ['README.md', 'CONTRIBUTING.md', 'ARCHITECTURE.md', 'SECURITY.md', 'CHANGELOG.md'].concat(
    readdirSync(`${root}docs`)
      .filter((name) => name.endsWith('.md'))
      .map((name) => `docs/${name}`),
  );
  it.each(pages)('%s has no dead link to a file or a heading', (page) => {
    for (const [, target = ''] of readFileSync(`${root}${page}`, 'utf8').matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
      const [path = '', heading] = target.split('#');
      const file = path === '' ? `${root}${page}` : join(root, dirname(page), path);
      expect(existsSync(file), `${page} links to ${target}`).toBe(true);
      if (heading !== undefined) expect(anchorsOf(readFileSync(file, 'utf8')), target).toContain(heading);
    }
  });
});

/** The anchors of the headings of a page, as GitHub makes them. */
const anchorsOf = (text: string): string[] =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

describe('README', () => {
  it('has at most 1,200 words, counted as wc -w does: tables and commands count too', () => {
    expect(readme.trim().split(/\s+/).length).toBeLessThanOrEqual(1200);
  });

  it('has its sections in the order in which a new user needs them', () => {
    const headings = [...readme.matchAll(/^## (.*)$/gm)].map(([, heading]) => heading);
    expect(headings).toEqual([
      'See and clean up',
      'Install, trial, upgrade, remove',
      'What is ended, and what never is',
      'Which Clay needs it',
      'Troubleshooting',
      'Commands',
      'Configuration',
      'Cost',
      'Security',
      'More',
    ]);
    expect(readme.indexOf('.svg)')).toBeLessThan(readme.indexOf('## See and clean up'));
  });

  it('shows nothing wider than 80 columns in its commands', () => {
    for (const [line] of readme.matchAll(/^ {4}.*$/gm)) expect(line.length, line).toBeLessThanOrEqual(84);
  });

  it('refers to an existing picture', () => {
    const [, path] = /!\[[^\]]+\]\(([^)]+\.svg)\)/.exec(readme) ?? [];
    expect(path).toBeDefined();
    expect(existsSync(`${root}${path}`)).toBe(true);
    const picture = readFileSync(`${root}${path}`, 'utf8');
    for (const verdict of ['protected', 'grace', 'reap']) expect(picture).toContain(`>${verdict}</text>`);
  });

  it('mentions every command', () => {
    for (const command of commands) expect(readme).toMatch(new RegExp(`clay-reaper ${command}\\b|\\| ${command}\\b`));
  });
});
