import { styleText } from 'node:util';
import Table from 'cli-table3';
import ms from 'ms';
import prettyBytes from 'pretty-bytes';
import type { Judgement } from '../judge/judge.ts';
import type { Look } from '../sweep.ts';
import { statusReport, type UsageByPid } from './report.ts';
import { safeText } from './safe-text.ts';

/** How a table is to look: how wide, and whether in colour. */
export type Screen = { readonly columns: number; readonly colour: boolean };

/** The screen behind a stream; a pipe has 80 columns and no colour, and NO_COLOR is respected. */
export function screenOf(stream: NodeJS.WriteStream): Screen {
  return {
    columns: stream.columns ?? 80,
    colour: stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb',
  };
}

const HEAD = ['PID', 'PROJECT', 'AGE', 'MEM', 'IDLE', 'VERDICT', 'WHY'] as const;
/** What the fixed columns and the gaps take; the rest is shared by project and reason. */
const FIXED = { pid: 7, age: 5, memory: 7, idle: 5, verdict: 9, gaps: 14 };

/** A table of processes, their verdicts and why, as wide as the screen. */
export function processTable(judgements: readonly Judgement[], usage: UsageByPid, screen: Screen): string {
  const free = Math.max(30, screen.columns - Object.values(FIXED).reduce((sum, each) => sum + each, 0));
  const project = Math.min(24, Math.max(9, Math.floor(free / 3)));
  const widths = [FIXED.pid, project, FIXED.age, FIXED.memory, FIXED.idle, FIXED.verdict, free - project];
  const table = new Table({
    head: [...HEAD],
    colWidths: widths.map((width) => width + 1),
    chars: Object.fromEntries(
      [
        'top',
        'top-mid',
        'top-left',
        'top-right',
        'bottom',
        'bottom-mid',
        'bottom-left',
        'bottom-right',
        'left',
        'left-mid',
        'mid',
        'mid-mid',
        'right',
        'right-mid',
        'middle',
      ].map((each) => [each, '']),
    ),
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 1 },
  });
  for (const judgement of judgements) table.push(row(judgement, usage, screen));
  return table.toString().replace(/[ \t]+$/gm, '');
}

function row(judgement: Judgement, usage: UsageByPid, screen: Screen): string[] {
  const { evidence } = judgement;
  const idle = judgement.verdict === 'protected' ? null : judgement;
  return [
    String(evidence.id.pid),
    safeText(evidence.project?.slug ?? evidence.cwd ?? '?'),
    shortTime(evidence.ageMs),
    memory(usage.get(evidence.id.pid)?.rssBytes ?? evidence.rssBytes),
    idle ? shortTime(idle.idleMs) : '-',
    coloured(judgement.verdict, screen),
    safeText(why(judgement)),
  ];
}

/** A verdict's reason in a few words. */
export function why(judgement: Judgement): string {
  if (judgement.verdict === 'protected') return judgement.reasons.map((reason) => reason.code).join(', ');
  const left = judgement.waitMs - judgement.idleMs;
  if (judgement.verdict === 'reap') return judgement.orphan;
  return Number.isFinite(left) ? `${judgement.orphan}, in ${shortTime(left)}` : `${judgement.orphan}, never`;
}

const COLOURS = { protected: 'green', grace: 'yellow', reap: 'red' } as const;

const coloured = (verdict: Judgement['verdict'], screen: Screen): string =>
  screen.colour ? styleText(COLOURS[verdict], verdict) : verdict;

/** A time as a person reads it: 40s, 5m, 3h, 2d. */
export const shortTime = (milliseconds: number): string =>
  ms(Math.max(0, Math.round(milliseconds / 1000) * 1000)).replace(/^0ms$/, '0s');

/** Memory as a person reads it. */
export const memory = (bytes: number): string => prettyBytes(bytes, { maximumFractionDigits: bytes < 1e9 ? 0 : 1 });

/** The last line under a table: how many of each verdict, and their memory. */
export function totalsLine(look: Look, usage: UsageByPid): string {
  const { totals } = statusReport(look, usage);
  const toReap = totals.reap > 0 ? ` (${memory(totals.reapBytes)})` : '';
  return `${totals.processes} claude processes, ${memory(totals.rssBytes)}: ${totals.protected} protected, ${totals.grace} in grace, ${totals.reap} to reap${toReap}`;
}
