import { safeText } from './safe-text.ts';

/** Long enough for a line of our own that names many homes. */
const MAX_LENGTH = 2000;

/** One line for the person, on stderr. */
export const tell = (line: string): void => {
  process.stderr.write(`clay-reaper: ${safeText(line, MAX_LENGTH)}\n`);
};
