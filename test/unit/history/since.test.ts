import { describe, expect, it } from 'vitest';
import { parseSince } from '../../../src/history/since.ts';

const NOW_MS = Date.parse('2026-11-22T12:00:00Z');
const HOUR_MS = 3_600_000;

describe('parseSince', () => {
  it.each([
    ['12h', 12 * HOUR_MS],
    ['7d', 7 * 24 * HOUR_MS],
    ['2w', 14 * 24 * HOUR_MS],
  ])('goes back %s from now', (text, durationMs) => {
    expect(parseSince(text, NOW_MS)).toEqual({ sinceMs: NOW_MS - durationMs, period: `in the last ${text}` });
  });
  it('begins a date at midnight of this machine', () => {
    expect(parseSince('2026-11-20', NOW_MS)).toEqual({
      sinceMs: new Date(2026, 10, 20).getTime(),
      period: 'since 2026-11-20',
    });
  });
  it('takes a date with a time, in the local zone or in a given one', () => {
    expect(parseSince('2026-11-20 14:30', NOW_MS)?.sinceMs).toBe(new Date(2026, 10, 20, 14, 30).getTime());
    expect(parseSince('2026-11-20T14:30Z', NOW_MS)?.sinceMs).toBe(Date.UTC(2026, 10, 20, 14, 30));
  });
  it.each(['lately', '7', '7 years', '2026-13-01', '2026-02-30', '20-11-2026', ''])('rejects %j', (text) => {
    expect(parseSince(text, NOW_MS)).toBeNull();
  });
  it('does not go back before the epoch', () => {
    expect(parseSince('9999w', NOW_MS)?.sinceMs).toBe(0);
  });
});
