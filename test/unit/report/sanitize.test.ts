import { describe, expect, it } from 'vitest';
import { escapeJson, sanitize } from '../../../src/report/sanitize.ts';

const ESCAPE = '\u001b';
const REPLACEMENT = '\ufffd';
const unsafe: readonly (readonly [string, string])[] = [
  ['an escape sequence', `${ESCAPE}[2J`],
  ['a title', `${ESCAPE}]0;x\u0007`],
  ['a C1 control', '\u009b2J'],
  ['a newline', '\n'],
  ['a carriage return', '\r'],
  ['a tab', '\t'],
  ['NUL', '\0'],
  ['DEL', '\u007f'],
  ['a mark that turns the direction', '\u202e'],
  ['an isolate', '\u2066'],
  ['a zero-width space', '\u200b'],
  ['a byte order mark', '\ufeff'],
  ['a soft hyphen', '\u00ad'],
  ['a line separator', '\u2028'],
  ['a paragraph separator', '\u2029'],
  ['a language tag beyond the first plane', '\u{e0041}'],
];
/** Everything that a terminal or a person could be fooled by. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

describe('sanitize', () => {
  it.each(unsafe)('replaces %s', (_, text) => {
    const safe = sanitize(`a${text}b`);
    expect(safe).not.toMatch(HIDDEN);
    expect(safe.startsWith(`a${REPLACEMENT}`)).toBe(true);
    expect(safe.endsWith('b')).toBe(true);
  });
  it('keeps ordinary text', () => {
    const text = 'Größe – “Ω” 日本語 שלום 👩 %d "x" \\n';
    expect(sanitize(text)).toBe(text);
  });
  it('truncates long text', () => {
    expect(sanitize('x'.repeat(400))).toBe('x'.repeat(400));
    expect(sanitize('x'.repeat(401))).toBe(`${'x'.repeat(400)}…`);
    expect(sanitize('x'.repeat(10), 4)).toBe('xxxx…');
  });
});

describe('escapeJson', () => {
  it.each(unsafe)('escapes %s, and its value stays the same', (_, text) => {
    const value = { [`key${text}`]: [`a${text}b`] };
    const safe = escapeJson(JSON.stringify(value));
    expect(safe).not.toMatch(HIDDEN);
    expect(JSON.parse(safe)).toEqual(value);
  });
  it('leaves the rest of JSON as it is, newlines between its values too', () => {
    const json = JSON.stringify({ a: ['Größe 👩', 1.5, null, true] }, null, 2);
    expect(escapeJson(json)).toBe(json);
    expect(escapeJson(`${json}\n`)).toBe(`${json}\n`);
  });
});
