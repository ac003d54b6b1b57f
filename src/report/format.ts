import prettyBytes from 'pretty-bytes';

/** How text is to look on a terminal: how wide, and whether in colour. */
export type TerminalStyle = { readonly columns: number; readonly colour: boolean };

/** Whether the terminal knows no control sequences: Emacs's shell, for one. */
export const isDumbTerminal = (): boolean => process.env.TERM === 'dumb';

/** The style for a stream; a pipe has 80 columns and no colour, and NO_COLOR is respected. */
export function terminalStyle(stream: NodeJS.WriteStream): TerminalStyle {
  const colour = stream.isTTY === true && !process.env.NO_COLOR && !isDumbTerminal();
  return { columns: stream.columns || 80, colour };
}

/** The colour of each verdict. */
export const VERDICT_COLOURS = { protected: 'green', grace: 'yellow', reap: 'red' } as const;

/** Memory as a person reads it: 194 MB, 1.5 GB. */
export const formatBytes = (bytes: number): string =>
  prettyBytes(bytes, { maximumFractionDigits: bytes < 1e9 ? 0 : 1 });
