import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { ONE_SHOT_LIMITS, SERVICE_LIMITS } from '../../src/fs/user-budget.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const text = read('SECURITY.md');
const MB = 1024 * 1024;

it('SECURITY.md names only files that are there, and a test in each section that makes a claim', () => {
  const named = [...text.matchAll(/`((?:src|test|docs)\/[\w./-]+)`/g)].map(([, path = '']) => path);
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  const sections = text.split(/^## /m).slice(1);
  const withoutTest = sections.filter((section) => !section.includes('test/')).map((section) => section.split('\n')[0]);
  expect(withoutTest).toEqual(['Report a vulnerability', 'What an attacker is, and is not']);
});

it('SECURITY.md has the limits of the program', () => {
  const { ms, bytes, items } = SERVICE_LIMITS;
  expect(text).toContain(`| ${ms / 1000} s (one-shot commands: ${ONE_SHOT_LIMITS.ms / 1000} s)`);
  expect(text).toContain(`| ${bytes / MB} MB (${ONE_SHOT_LIMITS.bytes / MB / 1024} GB) |`);
  expect(text).toContain(`| ${items.toLocaleString('en')} items of 100 bytes |`);
  const quotas = read('src/observe/user-quotas.ts');
  for (const [row, name] of [
    ['Clays', 'MAX_DAEMONS_PER_USER'],
    ['candidates', 'MAX_CANDIDATES_PER_USER'],
    ['homes that processes name', 'MAX_HOMES_FROM_PROCESSES'],
  ] as const) {
    const limit = new RegExp(`const ${name} = ([\\d_]+);`).exec(quotas)?.[1]?.replace('_', ',');
    expect(limit).toBeDefined();
    expect(text).toContain(`| ${row} | ${limit}`);
  }
});
