import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { withSettings } from '../../src/build/docs/settings.ts';
import { EXAMPLES } from '../../src/commands/examples.ts';
import { environmentName, SETTING_KEYS } from '../../src/config/settings.ts';
import { EXIT } from '../../src/output/exit-status.ts';
import { createProgram } from '../../src/program.ts';
import { reaper } from '../support/reaper.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const readme = readFileSync(`${root}README.md`, 'utf8');
const program = createProgram('1.2.3', () => {});
const commands = program.commands.map((command) => command.name());

describe('--help', () => {
  it('of the program names every command', async () => {
    const { status, stdout, stderr } = await reaper(['--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    for (const command of commands) expect(stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'));
  });

  it.each(commands)('of %s has an example that the program would take', async (command) => {
    const { status, stdout, stderr } = await reaper([command, '--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    const examples = EXAMPLES[command] ?? [];
    expect(examples).not.toHaveLength(0);
    for (const { line } of examples) {
      expect(stdout).toContain(line);
      const [name, ...words] = line.replace(/^sudo /, '').split(' ');
      expect([name, words[0]]).toEqual(['clay-reaper', command]);
      // --help wins over all that is good, but not over an option that is unknown.
      expect((await reaper([...words, '--help'])).status).toBe(0);
      const known = program.commands.find((each) => each.name() === command)?.options.map(({ long }) => long);
      for (const word of words.filter((each) => each.startsWith('--'))) expect(known).toContain(word);
    }
  });
});

describe('the man page', () => {
  const page = readFileSync(`${root}dist/clay-reaper.8`, 'utf8');
  /** What is left when the marks of roff are read. */
  const plain = page.replaceAll('\\-', '-').replaceAll('\\(aq', "'").replaceAll('\\(ti', '~').replaceAll('""', '"');

  it('comes with the package, where npm looks for it', () => {
    const { man } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));
    expect(man).toBe('dist/clay-reaper.8');
    const packed = execFileSync('npm', ['pack', '--dry-run', '--ignore-scripts', '--json'], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [{ files }] = JSON.parse(packed) as [{ files: { path: string }[] }];
    expect(files.map(({ path }) => path)).toContain(man);
  });

  it('is about every command, option, setting, example and exit status', () => {
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

  it('is sound: only macros of man(7), arguments in whole quotes, and no line that roff would take for another', () => {
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

describe('the README', () => {
  it('has the reference of settings that SETTINGS gives; if not: npm run docs', () => {
    expect(readme).toBe(withSettings(readme));
    for (const key of SETTING_KEYS) expect(readme).toContain(`| \`${key}\` | `);
  });

  it('shows a picture that is there', () => {
    const [, path] = /!\[[^\]]+\]\(([^)]+\.svg)\)/.exec(readme) ?? [];
    expect(path).toBeDefined();
    expect(existsSync(`${root}${path}`)).toBe(true);
    const picture = readFileSync(`${root}${path}`, 'utf8');
    for (const verdict of ['protected', 'grace', 'reap']) expect(picture).toContain(`>${verdict}</text>`);
  });

  it('tells of every command', () => {
    for (const command of commands) expect(readme).toMatch(new RegExp(`clay-reaper ${command}\\b|\\| ${command}\\b`));
  });
});
