import { styleText } from 'node:util';
import type { Assessment } from '../assess.ts';
import { isInTurn } from '../clay/status-socket.ts';
import { formatDuration } from '../judge/duration.ts';
import type { Evidence } from '../judge/evidence.ts';
import type { Judgement } from '../judge/judge.ts';
import { PROTECTION_RULES, type ReasonCode } from '../judge/rules.ts';
import type { Titles } from '../observe/titles.ts';
import type { UsageByPid } from '../observe/usage.ts';
import { keyOf } from '../proc/process-id.ts';
import { columns } from './columns.ts';
import { formatBytes, type TerminalStyle, VERDICT_COLOURS } from './format.ts';
import { statusReport } from './json.ts';
import { sanitize } from './sanitize.ts';

type Column = { readonly head: string; readonly width: number; readonly cell: (row: Row) => string };
type Row = {
  readonly judgement: Judgement;
  readonly title: string;
  readonly user: string;
  readonly style: TerminalStyle;
};

/** Least widths, in characters. Narrower than 8, text is unreadable. */
const WIDTHS = {
  pid: 7,
  user: 8,
  clay: 7,
  project: 8,
  title: 8,
  age: 4,
  release: 11,
  memory: 6,
  idle: 4,
  verdict: 9,
  why: 16,
};
type ColumnName = keyof typeof WIDTHS;

/** Shown on every terminal, and then as many as fit, in this order. */
const ALWAYS: readonly ColumnName[] = ['pid', 'verdict', 'why'];
const OPTIONAL: readonly ColumnName[] = ['project', 'memory', 'idle', 'user', 'clay', 'title', 'age', 'release'];
const ORDER: readonly ColumnName[] = [
  'pid',
  'user',
  'clay',
  'project',
  'title',
  'age',
  'release',
  'memory',
  'idle',
  'verdict',
  'why',
];

/** The columns that fit, with one space behind each; `project`, `title` and `why` share what is left. */
function columnsFor(style: TerminalStyle, unneeded: readonly ColumnName[]): Column[] {
  const shown = new Set(ALWAYS);
  let free = style.columns - ALWAYS.reduce((sum, name) => sum + WIDTHS[name] + 1, 0);
  for (const name of OPTIONAL.filter((column) => !unneeded.includes(column))) {
    if (free < WIDTHS[name] + 1) continue;
    shown.add(name);
    free -= WIDTHS[name] + 1;
  }
  free = Math.max(0, free);
  // `superseded, in 30m` has 18 characters.
  const leastWhy = Math.min(free, 2);
  const why = Math.max(leastWhy, Math.min(44, Math.floor(free * (shown.has('title') ? 0.4 : 0.78))));
  const project = shown.has('project') ? Math.min(16, free - why, Math.floor(free * 0.22)) : 0;
  const title = shown.has('title') ? free - project - why : 0;
  const columnOf: Readonly<Record<ColumnName, Column>> = {
    pid: { head: 'PID', width: WIDTHS.pid, cell: ({ judgement }) => String(judgement.evidence.id.pid) },
    user: { head: 'USER', width: WIDTHS.user, cell: ({ user }) => user },
    clay: { head: 'CLAY', width: WIDTHS.clay, cell: ({ judgement }) => clayOf(judgement.evidence) },
    project: {
      head: 'PROJECT',
      width: WIDTHS.project + project,
      cell: ({ judgement }) => projectName(judgement.evidence),
    },
    title: { head: 'CONVERSATION', width: WIDTHS.title + title, cell: (row) => row.title },
    age: { head: 'AGE', width: WIDTHS.age, cell: ({ judgement }) => formatDuration(judgement.evidence.ageMs) },
    release: { head: 'CLAUDE', width: WIDTHS.release, cell: ({ judgement }) => releaseOf(judgement.evidence) },
    memory: {
      head: 'MEMORY',
      width: WIDTHS.memory,
      cell: ({ judgement }) => formatBytes(judgement.evidence.reclaimableBytes),
    },
    idle: { head: 'IDLE', width: WIDTHS.idle, cell: ({ judgement }) => idleTime(judgement) },
    verdict: {
      head: 'VERDICT',
      width: WIDTHS.verdict,
      cell: ({ judgement, style: { colour } }) => formatVerdict(judgement, colour),
    },
    why: { head: 'WHY', width: WIDTHS.why + why, cell: ({ judgement }) => formatReason(judgement, WIDTHS.why + why) },
  };
  return ORDER.filter((name) => shown.has(name)).map((name) => columnOf[name]);
}

/** What a table shows beside the judgements: titles, and login names by uid. */
type Details = { readonly titles?: Titles; readonly userNames?: ReadonlyMap<number, string> };

/**
 * A table of processes, their verdicts and why, as wide as the terminal: on a narrow one, the least important columns are left
 * out. Users and Clays are shown where there are several. Memory is what comes back when a process ends.
 */
export function processTable(
  judgements: readonly Judgement[],
  { titles, userNames }: Details,
  style: TerminalStyle,
): string {
  const isOne = (values: readonly unknown[]): boolean => new Set(values).size <= 1;
  const unneeded: ColumnName[] = [
    ...(isOne(judgements.map(({ evidence }) => evidence.uid)) ? (['user'] as const) : []),
    // That the Clay of a process is dead, `abandoned` says.
    ...(isOne(judgements.flatMap(({ evidence: { clay } }) => (clay.state === 'dead' ? [] : [clay.pid])))
      ? (['clay'] as const)
      : []),
  ];
  const shown = columnsFor(style, unneeded);
  const rows = judgements.map((judgement) => {
    const { id, uid } = judgement.evidence;
    const title = sanitize(titles?.get(keyOf(id)) ?? '-');
    const row = { judgement, title, user: sanitize(userNames?.get(uid) ?? String(uid)), style };
    return shown.map(({ cell }) => cell(row));
  });
  return columns(
    shown.map(({ head }) => head),
    rows,
    shown.map(({ width }) => width),
  );
}

const clayOf = ({ clay }: Evidence): string => (clay.state === 'dead' ? 'dead' : String(clay.pid));

/** A line for each Clay, where there are several: "Clay 142 of root in /root/.clay: 3 projects, 1 in a turn". */
export function clayLines({ clays }: Pick<Assessment, 'clays'>, userNames: ReadonlyMap<number, string>): string[] {
  if (clays.length < 2) return [];
  return clays.map(({ daemon, status }) => {
    const owner = `Clay ${daemon.pid} of ${userNames.get(daemon.uid) ?? `uid ${daemon.uid}`} in ${daemon.home}`;
    if (!status.ok) return sanitize(`${owner}: no usable answer`);
    const { projects } = status.value;
    const inTurn = projects.filter(isInTurn).length;
    return sanitize(
      `${owner}: ${projects.length} ${projects.length === 1 ? 'project' : 'projects'}, ${inTurn} in a turn`,
    );
  });
}

/** The release of Claude; where it is not known, that of the Agent SDK. */
const releaseOf = ({ claudeRelease, sdkVersion }: Evidence): string =>
  sanitize(claudeRelease ?? (sdkVersion === null ? '?' : `SDK ${sdkVersion}`));

const projectName = ({ project, cwd }: Evidence): string => sanitize(project?.slug ?? cwd ?? '?');

const idleTime = (judgement: Judgement): string =>
  judgement.verdict === 'protected' ? '-' : formatDuration(judgement.idleMs);

const formatVerdict = ({ verdict }: Judgement, colour: boolean): string =>
  colour ? styleText(VERDICT_COLOURS[verdict], verdict) : verdict;

const labelOf = (code: ReasonCode): string => PROTECTION_RULES.find((rule) => rule.code === code)?.label ?? code;

/** The reason for a verdict; of several as many as fit, and how many more there are. */
function formatReason(judgement: Judgement, width: number): string {
  if (judgement.verdict === 'reap') return judgement.orphan;
  if (judgement.verdict === 'grace') {
    const left = judgement.waitMs - judgement.idleMs;
    return `${judgement.orphan}, ${Number.isFinite(left) ? `in ${formatDuration(left)}` : 'kept'}`;
  }
  const labels = judgement.reasons.map(({ code }) => labelFor(code, judgement.evidence));
  for (let shown = labels.length; shown > 1; shown--) {
    const text = `${labels.slice(0, shown).join(', ')}${shown < labels.length ? ` +${labels.length - shown}` : ''}`;
    if (text.length <= width) return text;
  }
  return `${labels[0]}${labels.length > 1 ? ` +${labels.length - 1}` : ''}`;
}

/** The label of a reason; a turn that waits for a permission waits for the user. */
function labelFor(code: ReasonCode, { journal }: Evidence): string {
  const asksUser = code === 'turn' && journal.state === 'found' && journal.decidedBy === 'permission_request';
  return labelOf(asksUser ? 'waiting' : code);
}

/** The last line under a table: how many of each verdict, and their memory. */
export function totalsLine(assessment: Assessment, usage: UsageByPid): string {
  const { totals } = statusReport(assessment, usage);
  const toReap = totals.reap > 0 ? ` (${formatBytes(totals.reapReclaimableBytes)})` : '';
  return `${totals.processes} claude processes, ${formatBytes(totals.reclaimableBytes)}: ${totals.protected} protected, ${totals.grace} in grace, ${totals.reap} to reap${toReap}${besides(assessment)}`;
}

/** What else is below the Clays, so that no number stands for what was not understood. */
function besides({ clays }: Assessment): string {
  const count = (key: 'terminals' | 'others'): number => clays.reduce((sum, { children }) => sum + children[key], 0);
  const [terminals, others] = [count('terminals'), count('others')];
  const parts = [
    ...(terminals > 0 ? [`${terminals} terminal${terminals > 1 ? 's' : ''}`] : []),
    ...(others > 0 ? [`${others} other process${others > 1 ? 'es' : ''}`] : []),
  ];
  return parts.length === 0 ? '' : `; Clay also runs ${parts.join(' and ')}`;
}
