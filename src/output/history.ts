import type { HistoryRecord } from '../service/history.ts';
import { columns } from './columns.ts';
import { safeText } from './safe-text.ts';
import { memory, type Screen, shortTime } from './table.ts';

/** What a report is made of, beside the records. */
type Question = {
  readonly atMs: number;
  /** How far it goes back. */
  readonly backMs: number;
  readonly directory: string;
  /** Why some of it could not be read. */
  readonly problem: string | null;
};

type Sum = { readonly processes: number; readonly reclaimedBytes: number };

/** `history --json`, schema 1: fields may be added, none is ever changed or dropped. */
export function historyReport(records: readonly HistoryRecord[], { atMs, backMs, directory, problem }: Question) {
  const sinceMs = Math.max(0, atMs - backMs);
  const processes = records.filter((each) => Date.parse(each.at) >= sinceMs);
  return {
    schema: 1,
    at: new Date(atMs).toISOString(),
    since: new Date(sinceMs).toISOString(),
    directory,
    problem,
    processes,
    byProject: sumsBy(processes, (each) => each.project).map(([project, sum]) => ({ project, ...sum })),
    byOrphan: sumsBy(processes, (each) => each.orphan).map(([orphan, sum]) => ({ orphan, ...sum })),
    byDay: sumsBy(processes, (each) => dayOf(each.at)).map(([day, sum]) => ({ day, ...sum })),
    totals: { ...sumOf(processes), earlier: records.length - processes.length },
    /** When the oldest that is kept was reaped. */
    oldestAt: records[0]?.at ?? null,
  };
}

type HistoryReport = ReturnType<typeof historyReport>;

const sumOf = (records: readonly HistoryRecord[]): Sum => ({
  processes: records.length,
  reclaimedBytes: records.reduce((total, each) => total + each.rssBytes, 0),
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

/** The history as a person reads it, no wider than the screen; `since` is what they asked for. */
export function historyText(report: HistoryReport, since: string, screen: Screen): string {
  const { totals } = report;
  const earlier = totals.earlier > 0 ? `; ${totals.earlier} earlier (--since ${daysKept(report)}d)` : '';
  if (totals.processes === 0) return `nothing was reaped in the last ${since}${earlier}`;
  const words = `reaped ${totals.processes} ${totals.processes === 1 ? 'process' : 'processes'}`;
  return [
    processesTable(report, screen),
    sumsTable(
      'DAY',
      report.byDay.map((each) => [each.day, each]),
    ),
    sumsTable(
      'PROJECT',
      report.byProject.map((each) => [each.project ?? '-', each]),
    ),
    sumsTable(
      'ORPHAN',
      report.byOrphan.map((each) => [each.orphan, each]),
    ),
    `${words} in the last ${since}, ${memory(totals.reclaimedBytes)} back${earlier}`,
  ].join('\n\n');
}

const DAY_MS = 24 * 3600 * 1000;

/** How many days go back to the oldest record. */
const daysKept = ({ at, oldestAt }: HistoryReport): number =>
  Math.ceil((Date.parse(at) - Date.parse(oldestAt ?? at)) / DAY_MS);

const WIDTHS = { when: 16, pid: 7, orphan: 10, idle: 4, memory: 6, signal: 7 };
const FIXED_WIDTH = Object.values(WIDTHS).reduce((sum, width) => sum + width + 1, 1);

function processesTable({ processes }: HistoryReport, screen: Screen): string {
  const project = Math.min(40, Math.max(8, screen.columns - FIXED_WIDTH));
  const rows = processes.map((each) => [
    minuteOf(each.at),
    String(each.pid),
    safeText(each.project ?? '-'),
    safeText(each.orphan),
    shortTime(each.idleSeconds * 1000),
    memory(each.rssBytes),
    each.signal,
  ]);
  const { when, pid, orphan, idle, memory: bytes, signal } = WIDTHS;
  const head = ['WHEN', 'PID', 'PROJECT', 'ORPHAN', 'IDLE', 'MEMORY', 'SIGNAL'];
  return columns(head, rows, [when, pid, project, orphan, idle, bytes, signal]);
}

function sumsTable(name: string, sums: readonly (readonly [string, Sum])[]): string {
  const rows = sums.map(([each, { processes, reclaimedBytes }]) => [
    safeText(each, 60),
    String(processes),
    memory(reclaimedBytes),
  ]);
  return columns([name, 'REAPED', 'MEMORY'], rows);
}
