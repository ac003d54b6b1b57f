// Control characters, invisible marks (text direction) and Unicode line breaks: text from other users must neither control
// a terminal nor look like something else.
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
/** The same, without those that JSON itself escapes or that stand between its values. */
const UNSAFE_IN_JSON = /[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu;

/** The longest text from another user that is shown. */
const MAX_LENGTH = 400;

/** Log messages that name many homes are longer. */
const MAX_LENGTH_IN_LOG = 2000;

/** Text that is safe to show on a terminal: without control characters, and truncated. */
export function sanitize(text: string, maxLength = MAX_LENGTH): string {
  const truncated = text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
  return truncated.replace(UNSAFE, '\ufffd');
}

/** JSON text with such characters escaped; its value stays the same. */
export const escapeJson = (json: string): string =>
  json.replace(UNSAFE_IN_JSON, (character) =>
    Array.from({ length: character.length }, (_, at) => {
      const unit = character.charCodeAt(at).toString(16).padStart(4, '0');
      return `\\u${unit}`;
    }).join(''),
  );

/** A value with all its strings and property names sanitized. */
export function sanitizeDeep(value: unknown): unknown {
  if (typeof value === 'string') return sanitize(value, MAX_LENGTH_IN_LOG);
  if (Array.isArray(value)) return value.map(sanitizeDeep);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, property]) => [sanitize(name), sanitizeDeep(property)]));
}
