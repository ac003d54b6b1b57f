import { serialize } from 'node:v8';
import type fc from 'fast-check';
import { addToCorpus } from './corpus.ts';

/** No input of 1 MB takes a parser longer than this. */
export const BUDGET_MS = 50;

/** What a parser gives back is not longer than this many times its input. */
const MAX_GROWTH = 8;
const ROOM_BYTES = 64 * 1024;

/** The CPU time that one call takes, ms: the smallest of some, as the garbage of earlier calls is collected in some of them. */
function cpuMs(call: () => void, budgetMs: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 4 && least > budgetMs; attempt++) {
    const before = process.cpuUsage();
    call();
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / 1000);
  }
  return least;
}

/** Throws if the parser throws, takes too long, or gives back far more than it got. */
export function checkParse(parse: (input: Buffer) => unknown, input: Buffer, budgetMs = BUDGET_MS): void {
  let result: unknown;
  const took = cpuMs(() => {
    result = parse(input);
  }, budgetMs);
  if (took > budgetMs) throw new Error(`took ${Math.round(took)} ms for ${input.length} bytes`);
  const kept = serialize(result).length;
  if (kept > MAX_GROWTH * input.length + ROOM_BYTES)
    throw new Error(`gave back ${kept} bytes for an input of ${input.length} bytes`);
}

/** Throws for a failed run of one parser, with its seed and the beginning of the input; the input is kept in the corpus. */
export function reportFailure(name: string, run: fc.RunDetailsCommon<[Buffer]>): void {
  const [input = Buffer.alloc(0)] = run.counterexample ?? [];
  const shown = JSON.stringify(input.toString('latin1', 0, 300));
  throw new Error(`${describeFailure(run)}; kept as ${addToCorpus(name, input)}, which begins ${shown}`);
}

/** Why a run failed, and what makes fast-check find it again. */
export const describeFailure = ({
  seed,
  counterexamplePath,
  errorInstance,
}: Pick<fc.RunDetailsCommon<unknown>, 'seed' | 'counterexamplePath' | 'errorInstance'>): string =>
  `${errorInstance}; seed ${seed}, path ${JSON.stringify(counterexamplePath)}`;

const { CLAY_REAPER_FUZZ_SEED: SEED } = process.env;

/** For `fc.check`: as many runs as fit into the time, ms; the same ones again if a seed is given. */
export const forTime = (ms: number) => ({
  ...(SEED === undefined ? {} : { seed: Number(SEED) }),
  numRuns: Number.MAX_SAFE_INTEGER,
  interruptAfterTimeLimit: ms,
  markInterruptAsFailure: false,
});
