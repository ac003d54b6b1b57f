import Table from 'cli-table3';

const NO_LINES = Object.fromEntries(
  [
    ...['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right'],
    ...['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid', 'middle'],
  ].map((each) => [each, '']),
);

/**
 * Rows below a head, in columns without lines. With `widths`, what is wider is cut; without, each column is as wide as
 * what is in it, and two spaces stand behind it.
 */
export function columns(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  widths?: readonly number[],
): string {
  const table = new Table({
    head: [...head],
    ...(widths ? { colWidths: widths.map((width) => width + 1) } : {}),
    chars: NO_LINES,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': widths ? 1 : 2 },
  });
  for (const row of rows) table.push([...row]);
  return table.toString().replace(/[ \t]+$/gm, '');
}
