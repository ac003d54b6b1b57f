// Controls, invisible marks such as those that turn the direction of text, and Unicode's own line breaks: what others
// wrote must neither steer a terminal nor look like something else.
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
/** The same but for those that JSON itself escapes or that stand between its values. */
const UNSAFE_IN_JSON = /[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu;

/** The longest text of somebody else's that a person is shown. */
const MAX_LENGTH = 400;

/** A line about many homes is longer, but names them itself. */
const MAX_LENGTH_IN_LOG = 2000;

/** Text from others as it may be shown on a terminal: without control characters, and not endless. */
export function safeText(text: string, maxLength = MAX_LENGTH): string {
  const short = text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
  return short.replace(UNSAFE, '\ufffd');
}

/** JSON text with such characters escaped; its value stays the same. */
export const safeJson = (json: string): string =>
  json.replace(UNSAFE_IN_JSON, (character) =>
    Array.from({ length: character.length }, (_, at) => {
      const unit = character.charCodeAt(at).toString(16).padStart(4, '0');
      return `\\u${unit}`;
    }).join(''),
  );

/** A value with all its strings, and the names in it, as they may be shown on a terminal. */
export function safeStrings(value: unknown): unknown {
  if (typeof value === 'string') return safeText(value, MAX_LENGTH_IN_LOG);
  if (Array.isArray(value)) return value.map(safeStrings);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [safeText(name), safeStrings(each)]));
}
