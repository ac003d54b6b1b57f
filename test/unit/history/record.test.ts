import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { historyRecord, type RecordContext, withoutOthersClaims } from '../../../src/history/record.ts';
import { appendHistory } from '../../../src/history/store.ts';
import { PROTECTION_RULES } from '../../../src/judge/rules.ts';
import { keyOf } from '../../../src/proc/process-id.ts';
import { orphan, reapedAs } from '../../helpers/assessment.ts';
import { CLAY_HOME, CLAY_PID, NOW, SESSION } from '../../helpers/evidence.ts';

const context: RecordContext = {
  atMs: NOW.wallMs,
  userNames: new Map([[1000, 'ada']]),
  titles: new Map([[keyOf(orphan().evidence.id), 'Fix the shop']]),
};

describe('historyRecord', () => {
  it('records a process that was terminated or killed', () => {
    expect(historyRecord(reapedAs('terminated'), context)).toEqual({
      at: '2026-11-22T12:00:00.000Z',
      pid: 16_246,
      startTicks: 135_996,
      uid: 1000,
      clayPid: CLAY_PID,
      orphan: 'parked',
      signal: 'SIGTERM',
      outcome: 'terminated',
      rssBytes: 194_424_832,
      reclaimableBytes: 194_424_832,
      idleSeconds: 3600,
      project: 'alpha',
      sessionId: SESSION,
      reaperPid: process.pid,
      user: 'ada',
      title: 'Fix the shop',
      cwd: '/srv/projects/alpha',
      graceSeconds: 1800,
      evidence: PROTECTION_RULES.map(({ code }) => ({ code, whyNot: expect.stringMatching(/\w/) })),
    });
    expect(historyRecord(reapedAs('killed'), context)).toMatchObject({ signal: 'SIGKILL', outcome: 'killed' });
  });
  it('returns null for a process that was not ended', () => {
    for (const outcome of ['survived', 'vanished', 'spared'] as const) {
      expect(historyRecord(reapedAs(outcome), context), outcome).toBeNull();
    }
  });
  it('uses null for an unknown Clay and project', () => {
    const judgement = orphan({ orphan: 'abandoned' }, { clay: { state: 'dead', home: CLAY_HOME }, project: null });
    expect(historyRecord(reapedAs('terminated', judgement), context)).toMatchObject({
      clayPid: null,
      project: null,
    });
  });
});

describe('withoutOthersClaims', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'clay-reaper-claims-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const claim = (reaperPid: number): void => {
    const record = historyRecord(reapedAs('terminated'), context);
    if (record !== null) appendHistory(dir, [{ ...record, reaperPid }]);
  };
  const outcomes = (): string[] =>
    withoutOthersClaims([reapedAs('terminated')], dir).map(({ result }) => result.outcome);

  it('leaves a process to the reaper that recorded it first', () => {
    claim(process.pid + 1);
    claim(process.pid);
    expect(outcomes()).toEqual(['vanished']);
  });
  it('keeps a process that this reaper recorded first', () => {
    claim(process.pid);
    claim(process.pid + 1);
    expect(outcomes()).toEqual(['terminated']);
  });
  it('keeps a process that could not be recorded', () => {
    expect(outcomes()).toEqual(['terminated']);
  });
});
