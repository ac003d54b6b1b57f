import type { Assessment } from '../assess.ts';
import { isInTurn } from '../clay/status-socket.ts';
import type { Judgement } from '../judge/judge.ts';
import type { ObservedClay } from '../observe/candidates.ts';
import type { UsageByPid } from '../observe/usage.ts';
import { failedCount, type ReapResult, reclaimedBytes } from '../reap/result.ts';
import { escapeJson } from './sanitize.ts';
import { NEWEST_TESTED, unknownShapes } from './unknown-shapes.ts';

/** What became of a process in `cleanup --json`. */
export type ReportedOutcome = 'would-reap' | 'terminated' | 'killed' | 'survived' | 'vanished' | 'spared';

const oneDecimal = (value: number): number => Math.round(value * 10) / 10;
const seconds = (ms: number): number => oneDecimal(ms / 1000);

/** `status --json`, schema 1: fields may be added, none is ever changed or dropped. */
export function statusReport(assessment: Assessment, usage: UsageByPid = new Map()) {
  const processes = assessment.judgements.map((judgement) => processReport(judgement, usage));
  return {
    schema: 1,
    at: new Date(assessment.at.wallMs).toISOString(),
    clay: assessment.clays.map(clayReport),
    processes,
    totals: totalsOf(processes),
    newestTestedClaude: NEWEST_TESTED,
  };
}

/** How many processes of each verdict, and their resident memory. */
export function totalsOf(
  rows: readonly {
    readonly verdict: Judgement['verdict'];
    readonly rssBytes: number;
    readonly reclaimableBytes: number;
  }[],
) {
  const totals = {
    processes: rows.length,
    protected: 0,
    grace: 0,
    reap: 0,
    rssBytes: 0,
    reapBytes: 0,
    reclaimableBytes: 0,
    reapReclaimableBytes: 0,
  };
  for (const { verdict, rssBytes, reclaimableBytes } of rows) {
    totals[verdict] += 1;
    totals.rssBytes += rssBytes;
    if (verdict === 'reap') totals.reapBytes += rssBytes;
    totals.reclaimableBytes += reclaimableBytes;
    if (verdict === 'reap') totals.reapReclaimableBytes += reclaimableBytes;
  }
  return totals;
}

/** What {@link statusReport} gives. */
export type StatusReport = ReturnType<typeof statusReport>;

function clayReport({ daemon, status, permissionProblem, children }: ObservedClay) {
  return {
    pid: daemon.pid,
    uid: daemon.uid,
    home: daemon.home,
    api: status.ok ? ('ok' as const) : ('unreachable' as const),
    apiError: status.ok ? null : status.failure.detail,
    blind: permissionProblem,
    projects: status.ok ? status.value.projects.length : 0,
    processing: status.ok ? status.value.projects.filter(isInTurn).length : 0,
    release: daemon.installation.release,
    terminals: children.terminals,
    unplaced: children.unplaced,
    otherChildren: children.others,
    unknownShape: children.unknownShape,
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
    reclaimableBytes: evidence.reclaimableBytes,
    cpuPercent: oneDecimal(used?.cpuPercent ?? cpu?.percent ?? 0),
    cwd: evidence.cwd,
    project: evidence.project?.slug ?? null,
    sessionId: evidence.sessionId,
    sdkVersion: evidence.sdkVersion,
    claudeRelease: evidence.claudeRelease,
    unknownShapes: unknownShapes(judgement),
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
export function cleanupReport(
  assessment: Assessment,
  reaped: readonly ReapResult[],
  dryRun: boolean,
  usage: UsageByPid = new Map(),
) {
  const status = statusReport(assessment, usage);
  const endings = new Map(reaped.map(({ judgement, result }) => [judgement.evidence.id.pid, result]));
  const processes = status.processes.map((row) => {
    if (row.verdict !== 'reap') return row;
    const result = endings.get(row.pid);
    const outcome: ReportedOutcome = dryRun || !result ? 'would-reap' : result.outcome;
    return { ...row, outcome, outcomeDetail: result && 'why' in result ? result.why : null };
  });
  return {
    ...status,
    processes,
    totals: { ...status.totals, reclaimedBytes: reclaimedBytes(reaped), failed: failedCount(reaped) },
  };
}

/** Prints a report as JSON on stdout. */
export const printJson = (report: unknown): void => {
  process.stdout.write(`${escapeJson(JSON.stringify(report, null, 2))}\n`);
};
