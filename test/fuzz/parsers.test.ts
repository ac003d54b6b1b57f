import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { BUDGET_MS, checkParse, forTime, reportFailure } from './check.ts';
import { corpusOf } from './corpus.ts';
import { mutatedFrom } from './mutate.ts';
import { PARSERS, removeFiles } from './parsers.ts';

/** How long all parsers together are fuzzed; `npm run test:fuzz` says how to change it. */
const TOTAL_MS = Number(process.env.CLAY_REAPER_FUZZ_SECONDS ?? 60) * 400;

afterAll(removeFiles);

describe.each(PARSERS)('parser of $name', ({ name, parse, seeds, isTrusted }) => {
  const budgetMs = isTrusted ? 10 * BUDGET_MS : BUDGET_MS;

  it('accepts its unmutated inputs and those of its corpus', () => {
    const kept = corpusOf(name);
    expect(seeds.length).toBeGreaterThan(kept.length);
    for (const input of seeds) expect(() => checkParse(parse, input, budgetMs)).not.toThrow();
  });

  it(
    `neither throws, nor takes more than ${budgetMs} ms, nor gives back far more than it got, for a mutated input`,
    () => {
      const property = fc.property(mutatedFrom(seeds), (input) => checkParse(parse, input, budgetMs));
      const run = fc.check(property, forTime(TOTAL_MS / PARSERS.length));
      if (run.failed) reportFailure(name, run);
    },
    TOTAL_MS + 60_000,
  );
});
