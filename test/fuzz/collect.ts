import { Session } from 'node:inspector';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { forTime, reportFailure } from './check.ts';
import { addToCorpus, corpusOf } from './corpus.ts';
import { mutatedFrom } from './mutate.ts';
import { PARSERS, removeFiles } from './parsers.ts';

// npx tsx test/fuzz/collect.ts SECONDS: adds to the corpus what runs code of src/ that nothing in it has run yet.

/** A corpus is small enough to be replayed at each run, and to be kept in the repository. */
const MAX_INPUTS = 32;
const MAX_INPUT_BYTES = 4096;

type Range = { readonly startOffset: number; readonly endOffset: number; readonly count: number };
type Coverage = {
  readonly result: readonly {
    readonly url: string;
    readonly functions: readonly { readonly ranges: readonly Range[] }[];
  }[];
};

const inspector = new Session();
inspector.connect();

/** The methods of the inspector used here answer before `post` returns. */
function post<T>(method: string, parameters: object = {}): T {
  let answer: unknown;
  inspector.post(method, parameters, (error, result) => {
    if (error) throw error;
    answer = result;
  });
  return answer as T;
}

/** The pieces of code of src/ that `call` runs. */
function coveredBy(call: () => unknown): string[] {
  post('Profiler.takePreciseCoverage');
  call();
  const { result } = post<Coverage>('Profiler.takePreciseCoverage');
  return result
    .filter(({ url }) => url.includes('/src/'))
    .flatMap(({ url, functions }) =>
      functions.flatMap(({ ranges }) =>
        ranges
          .filter(({ count }) => count > 0)
          .map(({ startOffset, endOffset }) => `${url}:${startOffset}-${endOffset}`),
      ),
    );
}

const seconds = Number(process.argv[2] ?? 600);
post('Profiler.enable');
post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
for (const { name, parse, seeds } of PARSERS) {
  const covered = new Set(seeds.flatMap((seed) => coveredBy(() => parse(seed))));
  let kept = corpusOf(name).length;
  const before = kept;
  const begunMs = performance.now();
  let lastNewMs = begunMs;
  const run = fc.check(
    fc.property(mutatedFrom(seeds), (input) => {
      if (kept >= MAX_INPUTS || gzipSync(input).length > MAX_INPUT_BYTES) return;
      const pieces = coveredBy(() => parse(input));
      if (pieces.every((piece) => covered.has(piece))) return;
      for (const piece of pieces) covered.add(piece);
      addToCorpus(name, input);
      kept += 1;
      lastNewMs = performance.now();
    }),
    forTime((seconds * 1000) / PARSERS.length),
  );
  if (run.failed) reportFailure(name, run);
  const inSeconds = (ms: number): number => Math.round((ms - begunMs) / 1000);
  const last = kept > before ? ` (the last after ${inSeconds(lastNewMs)} s of ${inSeconds(performance.now())})` : '';
  const inputs = `${run.numRuns} inputs, ${kept - before} new${last}, ${kept} kept`;
  process.stdout.write(`${name}: ${inputs}, ${covered.size} pieces of code\n`);
}
removeFiles();
