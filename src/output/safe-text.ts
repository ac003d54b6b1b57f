// C0 and C1 controls, DEL, and the marks that turn the direction of text or hide it: what others wrote must neither
// steer a terminal nor look like something else.
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const UNSAFE_IN_JSON = new RegExp(UNSAFE.source.replace('\\u0000-\\u001f', ''), 'g');

/** The longest text of somebody else's that a person is shown. */
const MAX_LENGTH = 400;

/** Text from others as it may be shown on a terminal: without control characters, and not endless. */
export function safeText(text: string): string {
  const short = text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text;
  return short.replace(UNSAFE, '\ufffd');
}

/** JSON text with the same characters escaped; it stays the same value. */
export const safeJson = (json: string): string =>
  json.replace(UNSAFE_IN_JSON, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
