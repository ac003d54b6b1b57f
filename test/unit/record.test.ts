import { describe, expect, it } from 'vitest';
import { historyRecord } from '../../src/service/record.ts';
import { CLAY_HOME, CLAY_PID, NOW, SESSION } from './evidence.ts';
import { orphan, reapedAs } from './look.ts';

describe('historyRecord', () => {
  it('is what is kept of a process that was ended', () => {
    expect(historyRecord(reapedAs('terminated'), NOW.wallMs)).toEqual({
      ...{ at: '2026-11-22T12:00:00.000Z', pid: 16_246, startTicks: 135_996, uid: 1000, clayPid: CLAY_PID },
      ...{ orphan: 'parked', signal: 'SIGTERM', outcome: 'terminated', rssBytes: 194_424_832, idleSeconds: 3600 },
      ...{ project: 'alpha', sessionId: SESSION },
    });
    expect(historyRecord(reapedAs('killed'), NOW.wallMs)).toMatchObject({ signal: 'SIGKILL', outcome: 'killed' });
  });
  it('is none of one that was not', () => {
    for (const outcome of ['survived', 'vanished', 'spared'] as const) {
      expect(historyRecord(reapedAs(outcome), NOW.wallMs), outcome).toBeNull();
    }
  });
  it('has no number for what is unknown', () => {
    const judgement = orphan({ orphan: 'abandoned' }, { clay: { state: 'dead', home: CLAY_HOME }, project: null });
    expect(historyRecord(reapedAs('terminated', judgement), NOW.wallMs)).toMatchObject({
      clayPid: null,
      project: null,
    });
  });
});
