import ms, { type StringValue } from 'ms';

const DURATION = /^\d+(\.\d+)?\s*(ms|s|m|h|d)$/;

/** What durations look like, in words. */
export const DURATION_FORM = 'a duration such as 500ms, 30s, 5m, 1h or 7d';

/** A duration in ms, or null if the text is none. A bare number is none: seconds and milliseconds are too easily mixed up. */
export function parseDuration(text: string): number | null {
  const trimmed = text.trim();
  if (trimmed === '0') return 0;
  const value = DURATION.test(trimmed) ? ms(trimmed as StringValue) : null;
  return value !== null && Number.isFinite(value) ? value : null;
}
