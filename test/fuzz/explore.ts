import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { BUDGET_MS, checkParse, forTime, reportFailure } from './check.ts';
import { addToCorpus, corpusOf } from './corpus.ts';
import { mutatedFrom } from './mutate.ts';
import { type FuzzedParser, PARSERS, removeFiles } from './parsers.ts';

/** A corpus is small enough to be replayed at each run, and to be kept in the repository. */
const MAX_INPUTS = 64;
const MAX_INPUT_BYTES = 4096;

/** New code is found by more inputs rather than by long ones. */
const MAX_MUTATED_BYTES = 32 * 1024;

/** How long a parser is fuzzed before it is another's turn. What is kept is mutated from the next turn on. */
const TURN_MS = 1000;

/** Code that counts is slower than what `npm run test:fuzz` measures. */
const BUDGET = { foreign: 10 * BUDGET_MS, trusted: 100 * BUDGET_MS };

/** How often one statement, function or side of a branch has run. */
type Counter = { readonly counts: Record<string, number>; readonly key: string };

/** As istanbul-lib-instrument counts: for each file its statements, functions, and the sides of its branches. */
type Coverage = Record<
  string,
  {
    readonly s: Record<string, number>;
    readonly f: Record<string, number>;
    readonly b: Record<string, Record<string, number>>;
  }
>;

const countersIn = (counts: Record<string, number>): Counter[] => Object.keys(counts).map((key) => ({ counts, key }));

const COUNTERS: readonly Counter[] = Object.values(
  (globalThis as unknown as { __coverage__: Coverage }).__coverage__,
).flatMap(({ s, f, b }) => [s, f, ...Object.values(b)].flatMap(countersIn));

const hasNotRun = ({ counts, key }: Counter): boolean => counts[key] === 0;

/** The code that a parser runs, and the inputs that showed it. */
class Exploration {
  readonly #parser: FuzzedParser;
  readonly #seeds: Buffer[];
  readonly #covered: number;
  #notRun: readonly Counter[] = COUNTERS;
  #inputs = 0;
  #newInputs = 0;
  #lastNewAt = 0;

  constructor(parser: FuzzedParser) {
    this.#parser = parser;
    this.#seeds = [...parser.seeds];
    this.#resetCounters();
    for (const seed of this.#seeds) parser.parse(seed);
    this.#notRun = this.#notRun.filter(hasNotRun);
    this.#covered = COUNTERS.length - this.#notRun.length;
  }

  /** Throws for an input on which the parser fails; that input is kept. */
  fuzz(ms: number): void {
    const { name, parse, isTrusted } = this.#parser;
    this.#resetCounters();
    const property = fc.property(mutatedFrom(this.#seeds, MAX_MUTATED_BYTES), (input) => {
      this.#inputs += 1;
      checkParse(parse, input, isTrusted ? BUDGET.trusted : BUDGET.foreign);
      this.#keepIfNew(input);
    });
    const run = fc.check(property, forTime(ms));
    if (run.failed) reportFailure(name, run);
  }

  summary(): string {
    const { name } = this.#parser;
    const last = this.#newInputs > 0 ? `, the last after ${this.#lastNewAt}` : '';
    const pieces = COUNTERS.length - this.#notRun.length;
    return `${name}: ${this.#inputs} inputs, ${this.#newInputs} new${last}; ${pieces - this.#covered} of ${pieces} pieces of code new`;
  }

  #resetCounters(): void {
    for (const { counts, key } of this.#notRun) counts[key] = 0;
  }

  #keepIfNew(input: Buffer): void {
    if (this.#notRun.every(hasNotRun)) return;
    const { name } = this.#parser;
    if (corpusOf(name).length < MAX_INPUTS && gzipSync(input).length <= MAX_INPUT_BYTES) {
      this.#notRun = this.#notRun.filter(hasNotRun);
      addToCorpus(name, input);
      this.#seeds.push(input);
      this.#newInputs += 1;
      this.#lastNewAt = this.#inputs;
    }
    this.#resetCounters();
  }
}

/** Fuzzes all parsers in turn, and prints what was found in each. */
export function explore(seconds: number): void {
  const explorations = PARSERS.map((parser) => new Exploration(parser));
  const endMs = performance.now() + seconds * 1000;
  while (performance.now() < endMs) for (const exploration of explorations) exploration.fuzz(TURN_MS);
  for (const exploration of explorations) process.stdout.write(`${exploration.summary()}\n`);
  removeFiles();
}
