import type { Assessment } from '../assess.ts';
import type { Titles } from '../observe/titles.ts';
import type { UsageByPid } from '../observe/usage.ts';
import type { TerminalStyle } from './format.ts';
import { legendLine, nextStepLine } from './next-steps.ts';
import { wrapped } from './sections.ts';
import { clayLines, processTable, totalsLine } from './table.ts';

/** What `status` shows beside the assessment; `forPerson`: also what the verdicts mean, and what comes next. */
type Details = {
  readonly usage: UsageByPid;
  readonly titles: Titles;
  readonly userNames: ReadonlyMap<number, string>;
  readonly forPerson: boolean;
};

/** What `status` prints, no wider than the terminal. */
export function statusText(assessment: Assessment, details: Details, style: TerminalStyle): string {
  const { judgements } = assessment;
  const { usage, userNames, forPerson } = details;
  const help = forPerson ? [legendLine(assessment), nextStepLine(assessment)] : [];
  const footer = [totalsLine(assessment, usage), ...help].filter((line) => line !== null);
  return [
    ...clayLines(assessment, userNames).map((line) => wrapped(line, style)),
    ...(judgements.length > 0 ? [processTable(judgements, details, style)] : []),
    ...footer.map((line) => wrapped(line, style)),
  ].join('\n');
}
