/** A run of characters in one style. */
type Run = { readonly text: string; readonly column: number; readonly colour: string | null };

/** The colours of the verdicts, by their SGR number (ECMA-48), readable on the dark ground below. */
const COLOURS: Readonly<Record<number, string>> = { 31: '#ff7b72', 32: '#7ee787', 33: '#e3b341' };
const GROUND = '#0d1117';
const INK = '#c9d1d9';

const CHARACTER = 8.4;
const LINE = 19;
const MARGIN = 14;

/** A picture of what was written to a terminal of so many columns: text with colours, and no other control sequences. */
export function terminalSvg(title: string, text: string, columns: number): string {
  const lines = text.split('\n');
  const width = Math.ceil(columns * CHARACTER + 2 * MARGIN);
  const height = lines.length * LINE + 2 * MARGIN;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="14" fill="${INK}">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="100%" height="100%" rx="8" fill="${GROUND}"/>`,
    ...lines.flatMap((line, at) => runsOf(line).map((run) => textElement(run, MARGIN + (at + 0.75) * LINE))),
    '</svg>',
    '',
  ].join('\n');
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal is sent
const SGR = /\u001b\[([\d;]*)m/;

/** Splits a line where its colour changes. */
function runsOf(line: string): Run[] {
  const runs: Run[] = [];
  let colour: string | null = null;
  let column = 0;
  // With its group, the numbers stand between the texts.
  for (const [at, part] of line.split(SGR).entries()) {
    if (at % 2 === 1) colour = COLOURS[Number(part)] ?? null;
    else if (part !== '') runs.push({ text: part, column, colour });
    if (at % 2 === 0) column += [...part].length;
  }
  return runs.filter(({ text }) => text.trim() !== '');
}

/** Each run says how wide it is: columns stay in line in any font. */
function textElement({ text, column, colour }: Run, y: number): string {
  const indent = text.length - text.trimStart().length;
  const shown = text.trim();
  const x = MARGIN + (column + indent) * CHARACTER;
  const fill = colour === null ? '' : ` fill="${colour}"`;
  const width = ([...shown].length * CHARACTER).toFixed(1);
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" textLength="${width}" xml:space="preserve"${fill}>${escaped(shown)}</text>`;
}

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
