import type { Assessment } from '../assess.ts';
import type { IdleOrphan, Judgement } from '../judge/judge.ts';
import type { ReasonCode } from '../judge/rules.ts';
import { keyOf } from '../proc/process-id.ts';
import { orphansToReap } from '../reap/select.ts';
import { ownHistoryDirectory, type RecordContext, readRecordContext, recordOf } from './record.ts';
import { appendHistory, bytesOf, type HistoryRecord } from './store.ts';

/** The processes that a dry run would have ended and that have not been used since, by keyOf them. */
export type TrialState = ReadonlyMap<string, HistoryRecord>;

/** Reasons that show a person at work. CPU bursts and connections also come from an idle process. */
const SIGNS_OF_USE: readonly ReasonCode[] = ['turn', 'busy', 'waiting', 'tool'];

/** The records of one sweep of a dry run, and the state for the next one: what would be ended, and what is used again. Pure. */
export function trialRecordsFor(
  state: TrialState,
  judgements: readonly Judgement[],
  due: readonly IdleOrphan[],
  context: RecordContext,
): { records: HistoryRecord[]; state: TrialState } {
  const next = new Map(state);
  const records: HistoryRecord[] = [];
  for (const judgement of judgements) {
    const key = keyOf(judgement.evidence.id);
    const record = next.get(key);
    if (record === undefined || !isUsed(judgement)) continue;
    next.delete(key);
    records.push({ ...record, at: new Date(context.atMs).toISOString(), outcome: 'used-again', evidence: null });
  }
  for (const orphan of due) {
    const key = keyOf(orphan.evidence.id);
    if (next.has(key)) continue;
    const record = recordOf(orphan, 'would-reap', null, context);
    next.set(key, record);
    records.push(record);
  }
  const present = new Set(judgements.map(({ evidence }) => keyOf(evidence.id)));
  return { records, state: new Map([...next].filter(([key]) => present.has(key))) };
}

const isUsed = (judgement: Judgement): boolean =>
  judgement.verdict === 'protected' && judgement.reasons.some(({ code }) => SIGNS_OF_USE.includes(code));

/** {@link trialRecordsFor} with the records appended to this user's trial history; `problem`: why that failed. */
export function recordTrial(
  state: TrialState,
  assessment: Assessment,
  atMs: number,
): { state: TrialState; problem: string | undefined } {
  const due = orphansToReap(assessment);
  const unrecorded = due.filter(({ evidence }) => !state.has(keyOf(evidence.id)));
  const context = readRecordContext(assessment, unrecorded, atMs);
  const { records, state: next } = trialRecordsFor(state, assessment.judgements, due, context);
  return { state: next, problem: appendHistory(ownHistoryDirectory(), records, 'trial') };
}

const HOUR_MS = 3600 * 1000;

/** What a trial says in total. A process counts once, at the time when it would have been ended. */
export function summarizeTrial(records: readonly HistoryRecord[]) {
  const ended = new Map<string, HistoryRecord>();
  const usedAfterMs = new Map<string, number>();
  for (const record of records) {
    const key = keyOf(record);
    const first = ended.get(key);
    if (record.outcome === 'would-reap' && first === undefined) ended.set(key, record);
    if (record.outcome === 'used-again' && first !== undefined && !usedAfterMs.has(key))
      usedAfterMs.set(key, Date.parse(record.at) - Date.parse(first.at));
  }
  const processes = [...ended.values()];
  return {
    processes,
    reclaimedBytes: processes.reduce((sum, record) => sum + bytesOf(record), 0),
    usedAgain: usedAfterMs.size,
    usedAgainWithinHour: [...usedAfterMs.values()].filter((afterMs) => afterMs <= HOUR_MS).length,
  };
}
