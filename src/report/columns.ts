import Table from 'cli-table3';

/** cli-table3 draws nothing between cells. */
const NO_LINES = Object.fromEntries(
  [
    ...['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right'],
    ...['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid', 'middle'],
  ].map((edge) => [edge, '']),
);

/**
 * Rows below a head, in columns without lines. With `widths`, longer text is cut; without, each column is as wide as its
 * longest text, followed by two spaces.
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
