import { bytesOf, type HistoryRecord } from '../history/store.ts';
import { summarizeTrial } from '../history/trial.ts';
import { formatDuration } from '../judge/duration.ts';
import { columns } from './columns.ts';
import { formatBytes, type TerminalStyle } from './format.ts';
import { sanitize } from './sanitize.ts';

/** What was asked for, and what was found beside the records. */
type HistoryQuery = {
  readonly atMs: number;
  /** The begin of the period, ms since the epoch. */
  readonly sinceMs: number;
  readonly directory: string;
  /** Why some of it could not be read. */
  readonly problem: string | null;
  readonly unreadableLines: number;
};

type Sum = { readonly processes: number; readonly reclaimedBytes: number };

/** What both reports begin with. */
const headOf = ({ atMs, sinceMs, directory, problem, unreadableLines }: HistoryQuery) => ({
  schema: 1,
  at: new Date(atMs).toISOString(),
  since: new Date(sinceMs).toISOString(),
  directory,
  problem,
  unreadableLines,
});

const since = (records: readonly HistoryRecord[], { sinceMs }: HistoryQuery): HistoryRecord[] =>
  records.filter((record) => Date.parse(record.at) >= sinceMs);

/** `history --json`, schema 1: fields may be added, none is ever changed or dropped. */
export function historyReport(records: readonly HistoryRecord[], query: HistoryQuery) {
  const processes = since(records, query);
  return {
    ...headOf(query),
    processes,
    byProject: sumsBy(processes, (record) => record.project).map(([project, sum]) => ({ project, ...sum })),
    byOrphan: sumsBy(processes, (record) => record.orphan).map(([orphan, sum]) => ({ orphan, ...sum })),
    byDay: sumsBy(processes, (record) => dayOf(record.at)).map(([day, sum]) => ({ day, ...sum })),
    totals: { ...sumOf(processes), earlier: records.length - processes.length },
    /** When the oldest recorded process was reaped. */
    oldestAt: records[0]?.at ?? null,
  };
}

type HistoryReport = ReturnType<typeof historyReport>;

const sumOf = (records: readonly HistoryRecord[]): Sum => ({
  processes: records.length,
  reclaimedBytes: records.reduce((total, record) => total + bytesOf(record), 0),
});

/** A sum for each name, in the order in which the names first appear. */
function sumsBy<T>(records: readonly HistoryRecord[], nameOf: (record: HistoryRecord) => T): [T, Sum][] {
  const groups = new Map<T, HistoryRecord[]>();
  for (const record of records) {
    const name = nameOf(record);
    groups.set(name, [...(groups.get(name) ?? []), record]);
  }
  return [...groups].map(([name, group]) => [name, sumOf(group)]);
}

const twoDigits = (number: number): string => String(number).padStart(2, '0');

/** The day in this machine's time zone, 2026-11-22. */
function dayOf(at: string): string {
  const date = new Date(at);
  return `${date.getFullYear()}-${twoDigits(date.getMonth() + 1)}-${twoDigits(date.getDate())}`;
}

const minuteOf = (at: string): string => {
  const date = new Date(at);
  return `${dayOf(at)} ${twoDigits(date.getHours())}:${twoDigits(date.getMinutes())}`;
};

/** The history as a person reads it, no wider than the terminal; `period`: "in the last 7d". */
export function historyText(report: HistoryReport, period: string, style: TerminalStyle): string {
  const { totals } = report;
  const earlier = totals.earlier > 0 ? `; ${totals.earlier} earlier (--since ${daysKept(report)}d)` : '';
  const unreadable = unreadableNote(report);
  if (totals.processes === 0) return `nothing was reaped ${period}${earlier}${unreadable}`;
  const reaped = `reaped ${totals.processes} ${totals.processes === 1 ? 'process' : 'processes'}`;
  return [
    processesTable(report.processes, style),
    sumsTable(
      'DAY',
      report.byDay.map((row) => [row.day, row]),
    ),
    sumsTable(
      'PROJECT',
      report.byProject.map((row) => [row.project ?? '-', row]),
    ),
    sumsTable(
      'ORPHAN',
      report.byOrphan.map((row) => [row.orphan, row]),
    ),
    `${reaped} ${period}, ${formatBytes(totals.reclaimedBytes)} back${earlier}${unreadable}`,
  ].join('\n\n');
}

/** `history --trial --json`, schema 1: fields may be added, none is ever changed or dropped. */
export function trialReport(records: readonly HistoryRecord[], query: HistoryQuery) {
  const { processes, ...totals } = summarizeTrial(since(records, query));
  return {
    ...headOf(query),
    processes,
    totals: { processes: processes.length, ...totals },
  };
}

/** A trial as a person reads it: "would have ended 41 processes, 8.9 GB; 3 of them were used again within the hour". */
export function trialText(report: ReturnType<typeof trialReport>, period: string, style: TerminalStyle): string {
  const { processes, totals } = report;
  const unreadable = unreadableNote(report);
  if (processes.length === 0) return `a trial would have ended nothing ${period}${unreadable}`;
  const count = `${processes.length} ${processes.length === 1 ? 'process' : 'processes'}`;
  const used =
    totals.usedAgain === 0
      ? 'none of them was used again'
      : `${totals.usedAgainWithinHour} of them ${totals.usedAgainWithinHour === 1 ? 'was' : 'were'} used again within the hour, ${totals.usedAgain} in all`;
  return [
    processesTable(processes, style),
    `would have ended ${count} ${period}, ${formatBytes(totals.reclaimedBytes)}; ${used}${unreadable}`,
    'A conversation whose process was ended resumes with its next message. To end processes from now on: clay-reaper install --live',
  ].join('\n\n');
}

const unreadableNote = ({
  unreadableLines,
  directory,
}: Pick<HistoryReport, 'unreadableLines' | 'directory'>): string =>
  unreadableLines === 0
    ? ''
    : `; ${unreadableLines} ${unreadableLines === 1 ? 'line' : 'lines'} of the history in ${sanitize(directory)} could not be read`;

const DAY_MS = 24 * 3600 * 1000;

/** How many days ago the oldest record was made, rounded up. */
const daysKept = ({ at, oldestAt }: HistoryReport): number =>
  Math.ceil((Date.parse(at) - Date.parse(oldestAt ?? at)) / DAY_MS);

/** Columns of a fixed width, in characters; project and conversation share the rest of the terminal. */
const WIDTHS = { when: 16, pid: 7, user: 8, orphan: 10, idle: 4, memory: 6, signal: 7 };
/** Narrower than this, text is unreadable. */
const MIN_FLEXIBLE = 8;

type HistoryColumn = { readonly head: string; readonly width: number; readonly cell: (row: HistoryRecord) => string };

function processesTable(processes: readonly HistoryRecord[], style: TerminalStyle): string {
  const hasUsers = new Set(processes.map(({ uid }) => uid)).size > 1;
  const hasTitles = processes.some(({ title }) => title !== null);
  // A narrow terminal has no room for titles and for a signal that was always the same.
  const hasSignal = !hasTitles || style.columns >= 100 || processes.some(({ signal }) => signal === 'SIGKILL');
  const absent = [...(hasUsers ? [] : ['user']), ...(hasSignal ? [] : ['signal'])];
  const fixed = Object.entries(WIDTHS).filter(([name]) => !absent.includes(name));
  const free = style.columns - fixed.reduce((sum, [, width]) => sum + width + 1, 1);
  const title = hasTitles ? Math.min(60, Math.max(MIN_FLEXIBLE, Math.ceil(free * 0.6) - 1)) : 0;
  const project = Math.min(40, Math.max(MIN_FLEXIBLE, free - (hasTitles ? title + 1 : 0)));
  const shown: HistoryColumn[] = [
    { head: 'WHEN', width: WIDTHS.when, cell: (row) => minuteOf(row.at) },
    { head: 'PID', width: WIDTHS.pid, cell: (row) => String(row.pid) },
    ...(hasUsers ? [{ head: 'USER', width: WIDTHS.user, cell: userOf }] : []),
    { head: 'PROJECT', width: project, cell: (row) => sanitize(row.project ?? '-') },
    ...(hasTitles ? [{ head: 'TITLE', width: title, cell: (row: HistoryRecord) => sanitize(row.title ?? '-') }] : []),
    { head: 'ORPHAN', width: WIDTHS.orphan, cell: (row) => sanitize(row.orphan) },
    { head: 'IDLE', width: WIDTHS.idle, cell: (row) => formatDuration(row.idleSeconds * 1000) },
    { head: 'MEMORY', width: WIDTHS.memory, cell: (row) => formatBytes(bytesOf(row)) },
    ...(hasSignal ? [{ head: 'SIGNAL', width: WIDTHS.signal, cell: (row: HistoryRecord) => row.signal ?? '-' }] : []),
  ];
  return columns(
    shown.map(({ head }) => head),
    processes.map((row) => shown.map(({ cell }) => cell(row))),
    shown.map(({ width }) => width),
  );
}

const userOf = ({ user, uid }: HistoryRecord): string => sanitize(user ?? String(uid));

function sumsTable(name: string, sums: readonly (readonly [string, Sum])[]): string {
  const rows = sums.map(([label, { processes, reclaimedBytes }]) => [
    sanitize(label, 60),
    String(processes),
    formatBytes(reclaimedBytes),
  ]);
  return columns([name, 'REAPED', 'MEMORY'], rows);
}
