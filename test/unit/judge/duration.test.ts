import { describe, expect, it } from 'vitest';
import { formatDuration, formatLimit } from '../../../src/judge/duration.ts';
import { DAY, HOUR, MINUTE, SECOND } from '../../helpers/evidence.ts';

describe('formatDuration', () => {
  it.each([
    [0, '0s'],
    [999, '0s'],
    [1000, '1s'],
    [40_400, '40s'],
    [5 * MINUTE, '5m'],
    [3 * HOUR, '3h'],
    [2 * DAY, '2d'],
    [-5 * SECOND, '0s'],
  ])('formats %d ms as %s', (milliseconds, expected) => expect(formatDuration(milliseconds)).toBe(expected));
});

describe('formatLimit', () => {
  it('formats a setting as a duration or never', () => {
    expect(formatLimit(5 * MINUTE)).toBe('5m');
    expect(formatLimit(Number.POSITIVE_INFINITY)).toBe('never');
  });
});
