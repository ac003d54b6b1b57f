import ms, { type StringValue } from 'ms';

/** What `--since` accepts. */
export const SINCE_HELP = 'a duration such as 12h, 7d or 2w, or a date such as 2026-11-20 or "2026-11-20 14:00"';

/** The begin of a period (ms since the epoch), and how to name the period after "reaped 3 processes". */
export type Since = { readonly sinceMs: number; readonly period: string };

const DURATION = /^\d+(\.\d+)?\s*(ms|s|m|h|d|w)$/;
const DATE = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)?$/;

/** The period that `text` names, seen from `nowMs`; null if it is none. A date without a zone is one of this machine's. */
export function parseSince(text: string, nowMs: number): Since | null {
  const trimmed = text.trim();
  if (DURATION.test(trimmed)) {
    const durationMs = ms(trimmed as StringValue);
    return Number.isFinite(durationMs)
      ? { sinceMs: Math.max(0, nowMs - durationMs), period: `in the last ${trimmed}` }
      : null;
  }
  if (!DATE.test(trimmed)) return null;
  // ECMA-262: a date alone would be UTC, a date with a time is local.
  const local = trimmed.length === 10 ? `${trimmed}T00:00` : trimmed.replace(' ', 'T');
  const sinceMs = Date.parse(local);
  return Number.isNaN(sinceMs) || isOverflow(trimmed) ? null : { sinceMs, period: `since ${trimmed}` };
}

/** V8 takes February 30 for March 2. */
function isOverflow(text: string): boolean {
  const date = text.slice(0, 10);
  return !new Date(`${date}T00:00Z`).toISOString().startsWith(date);
}
