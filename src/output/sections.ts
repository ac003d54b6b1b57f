import { styleText } from 'node:util';
import { Help } from 'commander';
import type { Screen } from './table.ts';

/** A word or two, and what there is to say about it. */
export type Item = { readonly term: string; readonly text: string };

/** Text in lines no wider than the screen. */
export const wrapped = (text: string, screen: Screen): string => new Help().boxWrap(text, screen.columns);

/** A heading and indented items below it, each text in a block of its own behind the terms, no wider than the screen. */
export function section(heading: string, items: readonly Item[], screen: Screen): string {
  // The same layout that --help has.
  const help = new Help();
  help.helpWidth = screen.columns;
  const width = Math.max(...items.map(({ term }) => help.displayWidth(term)));
  const head = screen.colour ? styleText('bold', heading) : heading;
  return [head, ...items.map(({ term, text }) => help.formatItem(term, width, text, help))].join('\n');
}
