import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { parseJson, parseJsonAs } from '../../../src/fs/json.ts';

const list = (count: number): string => JSON.stringify(Array.from({ length: count }, () => 1));

describe('parseJson', () => {
  it.each(['{}', '[]', '5', 'null', '"x"', ' {"a":[1,2,{"b":"c"}]}\n'])('parses %j', (text) => {
    expect(parseJson(text)).toEqual({ ok: true, value: JSON.parse(text) });
  });
  it.each(['', '{', '{"a":}', 'undefined', '{a:1}', "{'a':1}", '{} {}', '"x'])('refuses %j', (text) => {
    expect(parseJson(text)).toEqual({ ok: false, failure: { code: 'invalid', detail: 'is not JSON' } });
  });
  it('refuses more values than the limit', () => {
    expect(parseJson(list(50_000)).ok).toBe(true);
    expect(parseJson(list(50_001))).toMatchObject({ ok: false, failure: { code: 'invalid' } });
    expect(parseJson('['.repeat(60_000))).toMatchObject({ ok: false, failure: { code: 'invalid' } });
    expect(parseJson('{"a":'.repeat(60_000))).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
  it.each(['[,{'.repeat(60_000), '",[{'.repeat(60_000), '\\",'.repeat(60_000), `${'\\'.repeat(3)}",[`.repeat(30_000)])(
    'does not count punctuation in strings as values (%#)',
    (text) => {
      expect(parseJson(JSON.stringify({ text, [text]: 1 }))).toEqual({ ok: true, value: { text, [text]: 1 } });
    },
  );
  it('takes linear time for text of quotes or backslashes', () => {
    const begun = performance.now();
    parseJson(`"${'\\'.repeat(1_000_000)}`);
    parseJson('"'.repeat(1_000_001));
    parseJson(`"${'\\"'.repeat(500_000)}`);
    expect(performance.now() - begun).toBeLessThan(5000);
  });
});

describe('parseJsonAs', () => {
  const schema = v.object({ projects: v.array(v.object({ slug: v.string() })) });
  it('returns the value', () => {
    expect(parseJsonAs(schema, '{"projects":[{"slug":"a","more":1}],"x":2}')).toEqual({
      ok: true,
      value: { projects: [{ slug: 'a' }] },
    });
  });
  it('names what is wrong', () => {
    const detail = (text: string): string => {
      const parsed = parseJsonAs(schema, text);
      return parsed.ok ? '' : parsed.failure.detail;
    };
    expect(detail('{"projects":[{"slug":"a"},{"slug":5}]}')).toBe('is not as expected (projects.1.slug)');
    expect(detail('[')).toBe('is not JSON');
    expect(detail('5')).toBe('is not as expected (not an object)');
    expect(detail(`{"projects":${list(60_000)}}`)).toContain('values');
  });
});
