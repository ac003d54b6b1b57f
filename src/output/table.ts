import { styleText } from 'node:util';
import ms from 'ms';
import prettyBytes from 'pretty-bytes';
import { readTitle } from '../clay/journal.ts';
import type { Evidence } from '../judge/evidence.ts';
import type { Judgement } from '../judge/judge.ts';
import type { ReasonCode } from '../judge/rules.ts';
import type { Look } from '../sweep.ts';
import { columns } from './columns.ts';
import { statusReport, type UsageByPid } from './report.ts';
import { safeText } from './safe-text.ts';

/** How a table is to look: how wide, and whether in colour. */
export type Screen = { readonly columns: number; readonly colour: boolean };

/** The screen behind a stream; a pipe has 80 columns and no colour, and NO_COLOR is respected. */
export function screenOf(stream: NodeJS.WriteStream): Screen {
  const colour = stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
  return { columns: stream.columns || 80, colour };
}

type Column = { readonly head: string; readonly width: number; readonly cell: (row: Row) => string };
type Row = {
  readonly judgement: Judgement;
  readonly title: string;
  readonly rssBytes: number;
  readonly screen: Screen;
};

/** Columns whose width does not depend on the screen; the others share what is left. */
const FIXED = { pid: 7, age: 4, memory: 6, idle: 4, verdict: 9 };
const FIXED_WIDTH = Object.values(FIXED).reduce((sum, width) => sum + width, 0);
const COLUMNS = 8;
/** The narrowest in which words can still be told. */
const MIN_FLEXIBLE = 8;

function columnsFor(screen: Screen): Column[] {
  // One space behind every column.
  const free = Math.max(4 * MIN_FLEXIBLE, screen.columns - FIXED_WIDTH - COLUMNS);
  const project = Math.min(24, Math.max(MIN_FLEXIBLE, Math.floor(free * 0.22)));
  const why = Math.min(60, Math.max(2 * MIN_FLEXIBLE, Math.floor(free * 0.48)));
  return [
    { head: 'PID', width: FIXED.pid, cell: ({ judgement }) => String(judgement.evidence.id.pid) },
    { head: 'PROJECT', width: project, cell: ({ judgement }) => projectName(judgement.evidence) },
    { head: 'CONVERSATION', width: free - project - why, cell: ({ title }) => title },
    { head: 'AGE', width: FIXED.age, cell: ({ judgement }) => shortTime(judgement.evidence.ageMs) },
    { head: 'MEMORY', width: FIXED.memory, cell: ({ rssBytes }) => memory(rssBytes) },
    { head: 'IDLE', width: FIXED.idle, cell: ({ judgement }) => idleTime(judgement) },
    { head: 'VERDICT', width: FIXED.verdict, cell: ({ judgement, screen: { colour } }) => verdict(judgement, colour) },
    { head: 'WHY', width: why, cell: ({ judgement }) => reasonInWords(judgement, why) },
  ];
}

/** A table of processes, their verdicts and why, as wide as the screen. */
export function processTable(judgements: readonly Judgement[], usage: UsageByPid, screen: Screen): string {
  const shown = columnsFor(screen);
  const rows = judgements.map((judgement) => {
    const { evidence } = judgement;
    const rssBytes = usage.get(evidence.id.pid)?.rssBytes ?? evidence.rssBytes;
    const row = { judgement, title: titleOf(evidence), rssBytes, screen };
    return shown.map(({ cell }) => cell(row));
  });
  return columns(
    shown.map(({ head }) => head),
    rows,
    shown.map(({ width }) => width),
  );
}

const projectName = ({ project, cwd }: Evidence): string => safeText(project?.slug ?? cwd ?? '?');

function titleOf({ journal }: Evidence): string {
  const title = journal.state === 'found' ? readTitle(journal.path) : null;
  return title === null ? '-' : safeText(title);
}

const idleTime = (judgement: Judgement): string =>
  judgement.verdict === 'protected' ? '-' : shortTime(judgement.idleMs);

/** What a verdict looks like. */
export const COLOURS = { protected: 'green', grace: 'yellow', reap: 'red' } as const;

const verdict = ({ verdict: word }: Judgement, colour: boolean): string =>
  colour ? styleText(COLOURS[word], word) : word;

/** What each reason means, short enough for a table. */
const IN_WORDS: Readonly<Record<ReasonCode, string>> = {
  unverified: 'not verified',
  young: 'just started',
  terminal: 'has a terminal',
  connection: 'open connection',
  cpu: 'uses CPU',
  tool: 'runs a tool',
  busy: 'says it is busy',
  waiting: 'waits for you',
  scheduled: 'waits for its alarm',
  turn: 'in a turn',
  processing: 'project in a turn',
  api: 'Clay is silent',
  configured: 'you protect it',
};

/** A verdict's reason in a few words; of several reasons as many as fit, and how many more there are. */
function reasonInWords(judgement: Judgement, width: number): string {
  if (judgement.verdict === 'reap') return judgement.orphan;
  if (judgement.verdict === 'grace') {
    const left = judgement.waitMs - judgement.idleMs;
    return `${judgement.orphan}, ${Number.isFinite(left) ? `in ${shortTime(left)}` : 'kept for ever'}`;
  }
  const words = judgement.reasons.map(({ code }) => wordsFor(code, judgement.evidence));
  for (let shown = words.length; shown > 1; shown--) {
    const text = `${words.slice(0, shown).join(', ')}${shown < words.length ? ` +${words.length - shown}` : ''}`;
    if (text.length <= width) return text;
  }
  return `${words[0]}${words.length > 1 ? ` +${words.length - 1}` : ''}`;
}

function wordsFor(code: ReasonCode, { journal }: Evidence): string {
  const asks = code === 'turn' && journal.state === 'found' && journal.decidedBy === 'permission_request';
  return asks ? IN_WORDS.waiting : IN_WORDS[code];
}

/** A time as a person reads it: 40s, 5m, 3h, 2d. */
export const shortTime = (milliseconds: number): string =>
  milliseconds < 1000 ? '0s' : ms(Math.round(milliseconds / 1000) * 1000);

/** Memory as a person reads it. */
export const memory = (bytes: number): string => prettyBytes(bytes, { maximumFractionDigits: bytes < 1e9 ? 0 : 1 });

/** The last line under a table: how many of each verdict, and their memory. */
export function totalsLine(look: Look, usage: UsageByPid): string {
  const { totals } = statusReport(look, usage);
  const toReap = totals.reap > 0 ? ` (${memory(totals.reapBytes)})` : '';
  return `${totals.processes} claude processes, ${memory(totals.rssBytes)}: ${totals.protected} protected, ${totals.grace} in grace, ${totals.reap} to reap${toReap}`;
}
