import type { Assessment } from '../assess.ts';
import { readUserNames } from '../fs/passwd.ts';
import type { IdleOrphan } from '../judge/judge.ts';
import { PROTECTION_RULES } from '../judge/rules.ts';
import { readTitles, type Titles } from '../observe/titles.ts';
import { keyOf } from '../proc/process-id.ts';
import { type ReapResult, wasTerminated } from '../reap/result.ts';
import { appendHistory, type HistoryRecord, historyDirectory, readHistory } from './store.ts';

/** What a record contains beside the judgement. */
export type RecordContext = {
  /** ms since the epoch. */
  readonly atMs: number;
  /** By uid. */
  readonly userNames: ReadonlyMap<number, string>;
  readonly titles: Titles;
};

/** Reads what the records of these orphans contain beside the judgements. */
export const readRecordContext = (
  { candidates, budgets }: Pick<Assessment, 'candidates' | 'budgets'>,
  orphans: readonly IdleOrphan[],
  atMs: number,
): RecordContext => ({
  atMs,
  userNames: readUserNames(),
  titles: readTitles({ evidence: orphans.map(({ evidence }) => evidence), candidates, budgets }),
});

/** The directory of this user's history. */
export const ownHistoryDirectory = (): string => historyDirectory(process.env, process.geteuid?.() ?? -1);

/**
 * Appends the processes that were ended to this user's history. Returns the records; `problem`: the reason why they could not
 * be kept, because a full disk must not stop the reaping.
 */
export function appendReaped(
  assessment: Pick<Assessment, 'candidates' | 'budgets'>,
  results: readonly ReapResult[],
  atMs: number,
): { problem: string | undefined; records: readonly HistoryRecord[] } {
  if (results.length === 0) return { problem: undefined, records: [] };
  const orphans = results.map(({ judgement }) => judgement);
  const context = readRecordContext(assessment, orphans, atMs);
  const records = results.flatMap((result) => historyRecord(result, context) ?? []);
  return { problem: appendHistory(ownHistoryDirectory(), records), records };
}

/**
 * The results without the processes that another clay-reaper recorded first. If two signal a process at the same time, both
 * see it end; it counts once, and for the other one it has vanished. Call it after {@link appendReaped}.
 */
export function withoutOthersClaims(results: readonly ReapResult[], directory = ownHistoryDirectory()): ReapResult[] {
  if (results.length === 0) return [];
  const claimedBy = new Map(readHistory(directory).records.map((record) => [keyOf(record), record.reaperPid]));
  return results.map((reapResult) => {
    const reaperPid = claimedBy.get(keyOf(reapResult.judgement.evidence.id)) ?? process.pid;
    return reaperPid === process.pid || !wasTerminated(reapResult)
      ? reapResult
      : { ...reapResult, result: { outcome: 'vanished' } };
  });
}

/** The history record of a process that was ended; null for one that was not. */
export function historyRecord({ judgement, result }: ReapResult, context: RecordContext): HistoryRecord | null {
  if (result.outcome !== 'terminated' && result.outcome !== 'killed') return null;
  return recordOf(judgement, result.outcome, result.signal, context);
}

/** Characters. What users write (titles, statuses) is not kept at any length. */
const MAX_TEXT = 300;

/** A record of an idle orphan; `outcome` and `signal`: what became of it. */
export function recordOf(
  judgement: IdleOrphan,
  outcome: string,
  signal: HistoryRecord['signal'],
  context: RecordContext,
): HistoryRecord {
  const { evidence, orphan, idleMs, waitMs } = judgement;
  return {
    at: new Date(context.atMs).toISOString(),
    pid: evidence.id.pid,
    startTicks: evidence.id.startTicks,
    uid: evidence.uid,
    clayPid: evidence.clay.state === 'dead' ? null : evidence.clay.pid,
    orphan,
    signal,
    outcome,
    rssBytes: evidence.rssBytes,
    reclaimableBytes: evidence.reclaimableBytes,
    idleSeconds: Math.round(idleMs / 1000),
    project: evidence.project?.slug ?? null,
    sessionId: evidence.sessionId,
    reaperPid: process.pid,
    user: context.userNames.get(evidence.uid) ?? null,
    title: context.titles.get(keyOf(evidence.id))?.slice(0, MAX_TEXT) ?? null,
    cwd: evidence.cwd?.slice(0, MAX_TEXT) ?? null,
    graceSeconds: Number.isFinite(waitMs) ? Math.round(waitMs / 1000) : null,
    evidence: PROTECTION_RULES.map(({ code, whyNot }) => ({ code, whyNot: whyNot(judgement).slice(0, MAX_TEXT) })),
  };
}
