import { describe, expect, it } from 'vitest';
import type { HistoryRecord } from '../../../src/history/store.ts';
import { summarizeTrial, type TrialState, trialRecordsFor } from '../../../src/history/trial.ts';
import type { Judgement } from '../../../src/judge/judge.ts';
import { orphan, protectedBy } from '../../helpers/assessment.ts';
import { HOUR, MINUTE, NOW } from '../../helpers/evidence.ts';

/** Sweeps of a dry run with one process, each a given time after the first. */
function trial(): (afterMs: number, judgement: Judgement) => string[] {
  let state: TrialState = new Map();
  return (afterMs, judgement) => {
    const due = judgement.verdict === 'reap' ? [judgement] : [];
    const context = { atMs: NOW.wallMs + afterMs, userNames: new Map(), titles: new Map() };
    const next = trialRecordsFor(state, [judgement], due, context);
    state = next.state;
    all.push(...next.records);
    return next.records.map(({ outcome }) => outcome);
  };
}
const all: HistoryRecord[] = [];

describe('trialRecordsFor', () => {
  it('records a process once that it would end', () => {
    const sweep = trial();
    expect(sweep(0, orphan({ verdict: 'grace' }))).toEqual([]);
    expect(sweep(MINUTE, orphan())).toEqual(['would-reap']);
    expect(sweep(2 * MINUTE, orphan())).toEqual([]);
  });
  it('records that the process is used again, and a later end', () => {
    const sweep = trial();
    sweep(0, orphan());
    expect(sweep(MINUTE, protectedBy(['turn']))).toEqual(['used-again']);
    expect(sweep(2 * MINUTE, protectedBy(['turn']))).toEqual([]);
    expect(sweep(HOUR, orphan())).toEqual(['would-reap']);
  });
  it.each(['cpu', 'connection', 'api', 'unverified', 'configured'] as const)('does not take %s for use', (code) => {
    const sweep = trial();
    sweep(0, orphan());
    expect(sweep(MINUTE, protectedBy([code]))).toEqual([]);
  });
  it('forgets a process that is gone', () => {
    const first = trialRecordsFor(new Map(), [orphan()], [orphan()], {
      atMs: 0,
      userNames: new Map(),
      titles: new Map(),
    });
    const context = { atMs: 1, userNames: new Map(), titles: new Map() };
    expect(trialRecordsFor(first.state, [], [], context).state.size).toBe(0);
  });
});

describe('summarizeTrial', () => {
  it('counts each process once and those that were used again within the hour', () => {
    all.length = 0;
    const sweep = trial();
    sweep(0, orphan());
    sweep(30 * MINUTE, protectedBy(['busy']));
    sweep(5 * HOUR, orphan());
    const other = { id: { pid: 7, startTicks: 1 }, rssBytes: 1000 };
    const late = trial();
    late(0, orphan({}, other));
    late(3 * HOUR, protectedBy(['turn'], other));
    expect(summarizeTrial(all)).toMatchObject({
      processes: [{ pid: 16_246 }, { pid: 7 }],
      reclaimedBytes: orphan().evidence.rssBytes + 1000,
      usedAgain: 2,
      usedAgainWithinHour: 1,
    });
  });
});
