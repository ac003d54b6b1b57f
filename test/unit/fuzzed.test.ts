import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .map((path) => `src/${path}`);

it('fuzzes every function that parses text', () => {
  const parsers = sources.flatMap((path) =>
    [...read(path).matchAll(/^export (?:function|const) (parse\w+|create\w+Parser)\b/gm)].map(([, name = '']) => name),
  );
  expect(parsers.length).toBeGreaterThan(20);
  const targets = read('test/fuzz/parsers.ts');
  // parseJsonAs is parseJson and a schema, which the parsers of files have in them.
  const missing = parsers.filter((name) => name !== 'parseJsonAs' && !new RegExp(`\\b${name}\\b`).test(targets));
  expect(missing).toEqual([]);
});

it('fuzzes every file of a user that is JSON', () => {
  const targets = read('test/fuzz/parsers.ts');
  // These read a file of a process, which the fuzzer of the whole assessment has.
  const inSweep = ['src/claude/durable-tasks.ts', 'src/clay/installation.ts'];
  const readers = sources.filter((path) => read(path).includes("from '../fs/json.ts'"));
  expect(readers.length).toBeGreaterThan(5);
  const missing = readers.filter((path) => !targets.includes(`'../../${path}'`) && !inSweep.includes(path));
  expect(missing).toEqual([]);
});
