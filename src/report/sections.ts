import { styleText } from 'node:util';
import { Help } from 'commander';
import type { TerminalStyle } from './format.ts';

/** A term and its description. */
export type Item = { readonly term: string; readonly text: string };

/** Text in lines no wider than the style. */
export const wrapped = (text: string, style: TerminalStyle): string => new Help().boxWrap(text, style.columns);

/** A heading and indented items below it, each text in a block of its own behind the terms, no wider than the style. */
export function section(heading: string, items: readonly Item[], style: TerminalStyle): string {
  // The same layout that --help has.
  const help = new Help();
  help.helpWidth = style.columns;
  const width = Math.max(...items.map(({ term }) => help.displayWidth(term)));
  const head = style.colour ? styleText('bold', heading) : heading;
  return [head, ...items.map(({ term, text }) => help.formatItem(term, width, text, help))].join('\n');
}

/** A section that has not been laid out yet. */
type Part = { readonly heading: string; readonly items: readonly Item[] };

/**
 * Sections in at most `maxLines` lines, blank ones between them included. Where that is too little, each text is cut to one line,
 * and then the longest sections lose their last items.
 */
export function fittedSections(parts: readonly Part[], maxLines: number, style: TerminalStyle): string {
  const layOut = (shown: readonly Part[]): string =>
    shown.map(({ heading, items }) => section(heading, items, style)).join('\n\n');
  const fits = (text: string): boolean => text.split('\n').length <= maxLines;
  const whole = layOut(parts);
  if (fits(whole)) return whole;
  let cut = parts.map(({ heading, items }) => ({ heading, items: cutToOneLine(items, style) }));
  while (!fits(layOut(cut)) && cut.some(({ items }) => items.length > 2)) {
    const longest = cut.reduce((a, b) => (b.items.length > a.items.length ? b : a));
    cut = cut.map((part) => (part === longest ? { ...part, items: withoutLast(part.items) } : part));
  }
  return layOut(cut);
}

const MORE = /^… (\d+) more$/;

/** Replaces the last two items by the number of those that are left out. */
function withoutLast(items: readonly Item[]): Item[] {
  const already = Number(MORE.exec(items.at(-1)?.text ?? '')?.[1] ?? 0);
  const kept = items.slice(0, already > 0 ? -2 : -1);
  return [...kept, { term: '', text: `… ${already + 1} more` }];
}

/** commander's layout: two spaces before a term, two behind the longest. */
const GAPS = 4;

function cutToOneLine(items: readonly Item[], style: TerminalStyle): Item[] {
  const room = style.columns - GAPS - Math.max(...items.map(({ term }) => term.length));
  return items.map(({ term, text }) => {
    const [first = '', ...more] = text.split('\n');
    if (more.length === 0 && first.length <= room) return { term, text };
    return { term, text: `${first.slice(0, Math.max(1, room - 2)).trimEnd()} …` };
  });
}
