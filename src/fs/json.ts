import * as v from 'valibot';
import { fail, ok, type Result } from '../result.ts';

/**
 * What V8 makes of JSON takes up to 30 times the memory of the text (`[[[[…`, measured), and a heap that is full ends the
 * program: nobody can catch that. This many values take at most some 6 MB; a Clay with 1,000 projects says 15,000.
 */
const MAX_VALUES = 50_000;

const QUOTE = '"'.charCodeAt(0);
const BACKSLASH = '\\'.charCodeAt(0);
/** Each begins a value, or parts it from the one before: `[`, `{` and `,`. */
const VALUE_STARTS = new Set([...'[{,'].map((mark) => mark.charCodeAt(0)));

/** Parses JSON that somebody else wrote; fails if it is none, or has more values than any honest one. */
export function parseJson(text: string): Result<unknown> {
  if (hasTooManyValues(text)) return fail('invalid', `has more than ${MAX_VALUES} values`);
  try {
    return ok(JSON.parse(text));
  } catch {
    return fail('invalid', 'is not JSON');
  }
}

/** Parses JSON that somebody else wrote, and checks it; the failure says what is wrong with it, in words that follow its name. */
export function parseJsonAs<T>(schema: v.GenericSchema<unknown, T>, text: string): Result<T> {
  const json = parseJson(text);
  if (!json.ok) return json;
  // The first issue is enough: a list of 50,000 wrong things would make as many of them.
  const parsed = v.safeParse(schema, json.value, { abortEarly: true });
  if (parsed.success) return ok(parsed.output);
  return fail('invalid', `is not as expected (${v.getDotPath(parsed.issues[0]) ?? 'not an object'})`);
}

/** Counts the values outside of strings, as far as it needs to. */
function hasTooManyValues(text: string): boolean {
  // Each takes a character.
  if (text.length <= MAX_VALUES) return false;
  let marks = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at);
    else if (VALUE_STARTS.has(code) && ++marks > MAX_VALUES) return true;
  }
  return false;
}

/** Where the string that begins at `start` ends: the next quote that no backslash makes part of it. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return end;
  }
  return text.length;
}
