import { isInTurn } from '../clay/api.ts';
import type { Judgement } from '../judge/judge.ts';
import type { ClayLook } from '../observe/candidates.ts';
import type { Look, Reaped } from '../sweep.ts';
import { safeJson } from './safe-text.ts';

/** CPU and memory as a person reads them, by pid; see usage.ts. */
export type UsageByPid = ReadonlyMap<number, { readonly cpuPercent: number; readonly rssBytes: number }>;

/** What became of a process in `cleanup --json`. */
export type Outcome = 'would-reap' | 'terminated' | 'killed' | 'survived' | 'vanished' | 'spared';

const oneDecimal = (value: number): number => Math.round(value * 10) / 10;
const seconds = (ms: number): number => oneDecimal(ms / 1000);

/** `status --json`, schema 1: fields may be added, none is ever changed or dropped. */
export function statusReport(look: Look, usage: UsageByPid = new Map()) {
  const processes = look.judgements.map((judgement) => processReport(judgement, usage));
  return {
    schema: 1,
    at: new Date(look.at.wallMs).toISOString(),
    clay: look.clays.map(clayReport),
    processes,
    totals: totalsOf(processes),
  };
}

/** How many processes of each verdict, and their resident memory. */
export function totalsOf(rows: readonly { readonly verdict: Judgement['verdict']; readonly rssBytes: number }[]) {
  const totals = { processes: rows.length, protected: 0, grace: 0, reap: 0, rssBytes: 0, reapBytes: 0 };
  for (const { verdict, rssBytes } of rows) {
    totals[verdict] += 1;
    totals.rssBytes += rssBytes;
    if (verdict === 'reap') totals.reapBytes += rssBytes;
  }
  return totals;
}

/** What {@link statusReport} gives. */
export type StatusReport = ReturnType<typeof statusReport>;

function clayReport({ daemon, answer, blind }: ClayLook) {
  return {
    pid: daemon.pid,
    uid: daemon.uid,
    home: daemon.home,
    api: answer.ok ? ('ok' as const) : ('unreachable' as const),
    apiError: answer.ok ? null : answer.failure.detail,
    blind,
    projects: answer.ok ? answer.value.projects.length : 0,
    processing: answer.ok ? answer.value.projects.filter(isInTurn).length : 0,
  };
}

function processReport(judgement: Judgement, usage: UsageByPid) {
  const { evidence, cpu } = judgement;
  const used = usage.get(evidence.id.pid);
  const idle = judgement.verdict === 'protected' ? null : judgement;
  const waitSeconds = idle && Number.isFinite(idle.waitMs) ? seconds(idle.waitMs) : null;
  return {
    pid: evidence.id.pid,
    startTicks: evidence.id.startTicks,
    ppid: evidence.ppid,
    uid: evidence.uid,
    clayPid: evidence.clay.state === 'dead' ? null : evidence.clay.pid,
    ageSeconds: seconds(evidence.ageMs),
    rssBytes: used?.rssBytes ?? evidence.rssBytes,
    cpuPercent: oneDecimal(used?.cpuPercent ?? cpu?.percent ?? 0),
    cwd: evidence.cwd,
    project: evidence.project?.slug ?? null,
    sessionId: evidence.sessionId,
    sdkVersion: evidence.sdkVersion,
    socketFds: evidence.socketFds,
    connections: evidence.connections.length,
    children: evidence.children,
    verdict: judgement.verdict,
    orphan: idle?.orphan ?? null,
    reasons: judgement.reasons.map(({ code, detail }) => ({ code, detail })),
    idleSeconds: idle ? seconds(idle.idleMs) : null,
    graceSeconds: waitSeconds,
    reapInSeconds: idle && waitSeconds !== null ? seconds(Math.max(0, idle.waitMs - idle.idleMs)) : null,
  };
}

/** `cleanup --json`: the same, with what became of each process that was judged `reap`. */
export function cleanupReport(look: Look, reaped: readonly Reaped[], dryRun: boolean, usage: UsageByPid = new Map()) {
  const status = statusReport(look, usage);
  const endings = new Map(reaped.map(({ judgement, ending }) => [judgement.evidence.id.pid, ending]));
  const processes = status.processes.map((row) => {
    if (row.verdict !== 'reap') return row;
    const ending = endings.get(row.pid);
    const outcome: Outcome = dryRun || !ending ? 'would-reap' : ending.outcome;
    return { ...row, outcome, outcomeDetail: ending && 'why' in ending ? ending.why : null };
  });
  return {
    ...status,
    processes,
    totals: { ...status.totals, reclaimedBytes: reclaimedBytes(reaped), failed: failedCount(reaped) },
  };
}

/** Resident bytes of the processes that were ended. */
export const reclaimedBytes = (reaped: readonly Reaped[]): number =>
  reaped.filter(isEnded).reduce((total, { judgement }) => total + judgement.evidence.rssBytes, 0);

/** Whether a process was ended by a signal of ours. */
export const isEnded = ({ ending }: Reaped): boolean => ending.outcome === 'terminated' || ending.outcome === 'killed';

/** How many should be gone and are not. */
export const failedCount = (reaped: readonly Reaped[]): number =>
  reaped.filter(({ ending }) => ending.outcome === 'survived').length;

/** Prints a report as JSON on stdout. */
export const printJson = (report: unknown): void => {
  process.stdout.write(`${safeJson(JSON.stringify(report, null, 2))}\n`);
};
