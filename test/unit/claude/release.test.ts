import { describe, expect, it } from 'vitest';
import { compareReleases, hooksLeadSessions } from '../../../src/claude/release.ts';

describe('compareReleases', () => {
  it.each([
    ['2.1.92', '2.1.330', -1],
    ['2.1.330', '2.1.330', 0],
    ['2.1.331', '2.1.330', 1],
    ['2.2.0', '2.1.330', 1],
    ['10.0.0', '9.9.9', 1],
    ['2.1.330-beta.1', '2.1.330', 0],
    ['2.1.330 (Claude Code)', '2.1.330', 0],
  ])('compares %s with %s', (a, b, sign) => {
    expect(Math.sign(compareReleases(a, b) ?? Number.NaN)).toBe(sign);
    expect(Math.sign(compareReleases(b, a) ?? Number.NaN)).toBe(sign === 0 ? 0 : -sign);
  });
  it.each(['', '2.1', 'next', '2.1.x', '2.1.3300000000', '2.1.330.5x', 'v2.1.330'])('returns null for %j', (text) => {
    expect(compareReleases(text, '2.1.330')).toBeNull();
  });
});

describe('hooksLeadSessions', () => {
  it.each([
    ['2.1.141', true],
    ['2.1.330', true],
    ['2.1.133', false],
    ['next', false],
    [null, false],
  ])('returns for release %s: %s', (release, expected) => expect(hooksLeadSessions(release)).toBe(expected));
});
