import ms, { type StringValue } from 'ms';

const DURATION = /^\d+(\.\d+)?\s*(ms|s|m|h|d)$/;

/** What a duration looks like, for messages. */
export const DURATION_HELP = 'a duration such as 500ms, 30s, 5m, 1h or 7d';

/** Parses a duration into ms; null if it is none. A number without a unit is refused: it could be seconds or milliseconds. */
export function parseDuration(text: string): number | null {
  const trimmed = text.trim();
  if (trimmed === '0') return 0;
  const value = DURATION.test(trimmed) ? ms(trimmed as StringValue) : null;
  return value !== null && Number.isFinite(value) ? value : null;
}
