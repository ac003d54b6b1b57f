import type { Reaped } from '../sweep.ts';
import { appendHistory, type HistoryRecord, historyDirectory } from './history.ts';

/** Keeps what was ended in the history; gives the reason if that failed, which must never stop the reaping. */
export function recordReaped(reaped: readonly Reaped[], atMs: number): string | undefined {
  const records = reaped.flatMap((each) => historyRecord(each, atMs) ?? []);
  return appendHistory(historyDirectory(process.env, process.geteuid?.() ?? -1), records);
}

/** The line of the history for a process that was ended; null for one that was not. */
export function historyRecord({ judgement, ending }: Reaped, atMs: number): HistoryRecord | null {
  if (ending.outcome !== 'terminated' && ending.outcome !== 'killed') return null;
  const { evidence, orphan, idleMs } = judgement;
  return {
    at: new Date(atMs).toISOString(),
    pid: evidence.id.pid,
    startTicks: evidence.id.startTicks,
    uid: evidence.uid,
    clayPid: evidence.clay.state === 'dead' ? null : evidence.clay.pid,
    orphan,
    signal: ending.signal,
    outcome: ending.outcome,
    rssBytes: evidence.rssBytes,
    idleSeconds: Math.round(idleMs / 1000),
    project: evidence.project?.slug ?? null,
    sessionId: evidence.sessionId,
  };
}
