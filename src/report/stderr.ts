import { sanitize } from './sanitize.ts';

/** Messages that name many homes are long. */
const MAX_LENGTH = 2000;

/** Prints one line for the user on stderr. */
export const printError = (line: string): void => {
  process.stderr.write(`clay-reaper: ${sanitize(line, MAX_LENGTH)}\n`);
};
