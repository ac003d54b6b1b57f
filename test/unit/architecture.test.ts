import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

/** The numbered steps of the walk, each with its file and the names behind it; a step may go over several lines. */
const steps = (/## The walk of one pid\n([\s\S]*?)\n\nBack in/.exec(read('ARCHITECTURE.md'))?.[1] ?? '')
  .split(/^(?=\d+\. )/m)
  .filter((step) => /^\d+\. /.test(step));

const namesIn = (text: string): string[] => [...text.matchAll(/`(\w+)`/g)].map(([, name = '']) => name);
/** Settings, verdicts and other words of the text that are no functions. */
const NO_FUNCTIONS = new Set(['claude', 'reap', 'poll_interval', 'kill_after', 'max_kills_per_sweep']);

const isDefined = (name: string, source: string): boolean =>
  new RegExp(`^(?:export )?(?:async )?(?:function|const) ${name}\\b`, 'm').test(source);

describe('the walk of one pid in ARCHITECTURE.md', () => {
  it('passes through at most 20 files', () => {
    const files = new Set(steps.flatMap((step) => [...step.matchAll(/`(src\/[\w/-]+\.ts)`/g)].map(([, file]) => file)));
    expect(files.size).toBeGreaterThan(10);
    expect(files.size).toBeLessThanOrEqual(20);
  });
  it.each(steps.map((step) => [step.split('`')[1] ?? '', step] as const))(
    'names functions that exist in %s',
    (file, step) => {
      const source = read(file);
      const [first, ...others] = namesIn(step);
      expect(first !== undefined && isDefined(first, source), `${first} in ${file}`).toBe(true);
      for (const name of others.filter((other) => !NO_FUNCTIONS.has(other)))
        expect(isDefined(name, source) || first === name, `${name} in ${file}`).toBe(true);
    },
  );
});

describe('the layers in ARCHITECTURE.md', () => {
  it('are those that the test of the layers checks', () => {
    const documented = /## Layers\n([\s\S]*?)\n## /.exec(read('ARCHITECTURE.md'))?.[1] ?? '';
    const checked = /const LAYERS = \[([\s\S]*?)\n\];/.exec(read('test/unit/layers.test.ts'))?.[1] ?? '';
    const names = (text: string, pattern: RegExp): string[] =>
      [...text.matchAll(pattern)].map(([, name = '']) => name.replace(/\/$/, '')).sort();
    const inPage = names(documented.replace(/^.*layers\.test.*$/gm, ''), /`([\w.]+\/?)`/g);
    const inTest = names(checked, /'([\w.]+)'/g).flatMap((name) =>
      name === 'sweep' ? ['sweep.ts', 'assess.ts'] : [name],
    );
    expect(inPage.filter((name) => name !== 'run')).toEqual(inTest.sort());
  });
});
