import { describe, expect, it } from 'vitest';
import { parseDuration } from '../../../src/config/duration.ts';
import { DAY, HOUR, MINUTE, SECOND } from '../../helpers/evidence.ts';

describe('parseDuration', () => {
  it.each([
    ['500ms', 500],
    ['30s', 30 * SECOND],
    ['5m', 5 * MINUTE],
    ['1h', HOUR],
    ['7d', 7 * DAY],
    ['1.5h', 1.5 * HOUR],
    ['30 s', 30 * SECOND],
    [' 30s ', 30 * SECOND],
    ['0', 0],
    ['0s', 0],
    ['90m', 90 * MINUTE],
  ])('parses %j', (text, expected) => expect(parseDuration(text)).toBe(expected));
  it.each([
    // Seconds and milliseconds are too easily mixed up.
    ...['30', '1000', '1e3'],
    ...[
      '',
      ' ',
      's',
      'never',
      'soon',
      '-5m',
      '+5m',
      '5M',
      '5 minutes',
      '5m30s',
      '1w',
      '1y',
      '.5h',
      '1.h',
      '0x10s',
      '１s',
    ],
    ...['5m\n30s', `${'9'.repeat(120)}s`, 'Infinitys', 'NaNs'],
  ])('returns null for %j', (text) => expect(parseDuration(text)).toBeNull());
});
