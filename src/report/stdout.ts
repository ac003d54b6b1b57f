import { sanitize } from './sanitize.ts';

/** Characters; long enough for a command line in a unit file. */
const MAX_LINE_LENGTH = 4000;

/** Prints lines of text on stdout, without the control characters that a path or a file can contain. */
export const printText = (text: string): void => {
  const lines = text.split('\n').map((line) => sanitize(line, MAX_LINE_LENGTH));
  process.stdout.write(`${lines.join('\n')}\n`);
};
