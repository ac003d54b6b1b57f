import fc from 'fast-check';

/** What /proc and the readers of files let through to a parser. */
const MAX_BYTES = 1024 * 1024;

/** One change of an input. Positions are fractions, so that they fit an input of any length. */
type Mutation =
  | { readonly kind: 'replace'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'insert'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'remove'; readonly at: number; readonly length: number }
  | { readonly kind: 'repeat'; readonly at: number; readonly length: number; readonly times: number }
  | { readonly kind: 'swap'; readonly at: number; readonly text: string }
  | { readonly kind: 'word'; readonly at: number; readonly text: string };

/** What grammars hinge on: delimiters, numbers at their limits, and words that the parsers look for. */
const TOKENS = [
  ...['\0', '\n', '\r', '\t', ' ', '"', '\\', '{', '}', '[', ']', ',', ':', '(', ')', '-', '+', '.', '/', '\u001b'],
  ...['0', '-1', '1e308', '-1e308', '1e999', '9007199254740993', 'NaN', 'null', 'true', '""', '{}', '[]'],
  ...[
    '"type":"',
    '"done"',
    '"user_message"',
    '"CronCreate"',
    '"tool_use_id":"',
    '"cron":"0 0 30 2 *"',
    '__proto__',
    '\\u001b[2J',
    '\\u202e',
  ],
  ...[
    'pwd -P >| ',
    'claude-',
    '-cwd',
    '/shell-snapshots/snapshot-',
    'claude) S',
    'Uid:\t0\t0\t0\t0\n',
    'NSpid:\t1\t2\n',
  ],
];

/** Where a word or a string begins: a change in there leaves the rest of the grammar as it is. */
const WORD_START = /(?<=["/ =(])[A-Za-z0-9]/g;

const at = fc.double({ min: 0, max: 1, noNaN: true });
const length = fc.integer({ min: 1, max: 4096 });

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constant('replace' as const), at, bytes: fc.uint8Array({ minLength: 1, maxLength: 16 }) }),
  fc.record({ kind: fc.constant('insert' as const), at, bytes: fc.uint8Array({ minLength: 1, maxLength: 64 }) }),
  fc.record({ kind: fc.constant('remove' as const), at, length }),
  fc.record({ kind: fc.constant('repeat' as const), at, length, times: fc.constantFrom(2, 100, 10_000, 1_000_000) }),
  fc.record({ kind: fc.constant('swap' as const), at, text: fc.constantFrom(...TOKENS) }),
  fc.record({ kind: fc.constant('word' as const), at, text: fc.constantFrom(...TOKENS) }),
);

/** Inputs made from one of `seeds` by some mutations. */
export const mutatedFrom = (seeds: readonly Buffer[], maxBytes = MAX_BYTES): fc.Arbitrary<Buffer> =>
  fc
    .tuple(fc.constantFrom(...seeds), fc.array(mutation, { minLength: 1, maxLength: 8 }))
    .map(([seed, mutations]) =>
      mutations.reduce((input, change) => mutate(input, change, maxBytes).subarray(0, maxBytes), seed),
    );

/** Applies one mutation. What is repeated does not make more of it than `maxBytes`. */
function mutate(input: Buffer, change: Mutation, maxBytes: number): Buffer {
  const start = change.kind === 'word' ? wordStart(input, change.at) : Math.floor(change.at * input.length);
  const before = input.subarray(0, start);
  const after = (skipped: number): Buffer => input.subarray(start + skipped);
  if (change.kind === 'replace') return joined(before, Buffer.from(change.bytes), after(change.bytes.length));
  if (change.kind === 'insert') return joined(before, Buffer.from(change.bytes), after(0));
  if (change.kind === 'remove') return joined(before, after(change.length));
  if (change.kind === 'swap' || change.kind === 'word')
    return joined(before, Buffer.from(change.text), after(change.text.length));
  const part = input.subarray(start, start + change.length);
  const times = Math.min(change.times, Math.floor(maxBytes / Math.max(1, part.length)));
  return joined(before, Buffer.alloc(part.length * times, part.length > 0 ? part : undefined), after(part.length));
}

/** Only the beginning of a long input is searched. */
function wordStart(input: Buffer, at: number): number {
  const starts = [...input.toString('latin1', 0, 64 * 1024).matchAll(WORD_START)];
  return starts[Math.floor(at * starts.length)]?.index ?? 0;
}

const joined = (...parts: readonly Buffer[]): Buffer => Buffer.concat(parts);
