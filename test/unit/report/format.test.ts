import { describe, expect, it } from 'vitest';
import { formatBytes } from '../../../src/report/format.ts';

describe('formatBytes', () => {
  it.each([
    [0, '0 B'],
    [194_424_832, '194 MB'],
    [1_540_000_000, '1.5 GB'],
  ])('formats %d bytes as %s', (bytes, expected) => expect(formatBytes(bytes)).toBe(expected));
});
