import { describe, expect, it } from 'vitest';
import {
  futureActivity,
  idleTime,
  isSettled,
  recordedActivity,
  recordedIdleMs,
  trackFutureActivity,
} from '../../../src/judge/idle.ts';
import { DAY, HOUR, idleEvidence, idleSince, later, MINUTE, NOW, SECOND } from '../../helpers/evidence.ts';

const silent = { transcriptChangedAtMs: null, journal: { state: 'unknown' } } as const;

describe('recordedActivity and futureActivity', () => {
  it('return the times that the files show', () => {
    const evidence = idleEvidence({ statusUpdatedAtMs: 3, transcriptChangedAtMs: 2 });
    expect(recordedActivity(evidence).map(({ atMs }) => atMs)).toEqual([3, NOW.wallMs - HOUR, 2]);
    expect(recordedActivity(idleEvidence(silent))).toEqual([]);
    expect(recordedActivity(idleEvidence({ ...silent, journal: { state: 'missing' } }))).toEqual([]);
  });
  it('count times more than 2 s ahead as future', () => {
    const evidence = idleEvidence({ statusUpdatedAtMs: NOW.wallMs + 3 * SECOND });
    expect(futureActivity(evidence, NOW)).toEqual([
      { what: expect.stringContaining('session file'), atMs: NOW.wallMs + 3 * SECOND },
    ]);
    expect(futureActivity(evidence, later(SECOND))).toEqual([]);
  });
});

describe('recordedIdleMs', () => {
  it('counts from the latest activity', () => {
    expect(recordedIdleMs(idleEvidence(), NOW)).toBe(HOUR);
    expect(recordedIdleMs(idleEvidence({ statusUpdatedAtMs: NOW.wallMs - MINUTE }), NOW)).toBe(MINUTE);
  });
  it('is 0 for a time that is less than 2 s ahead', () => {
    expect(recordedIdleMs(idleEvidence({ statusUpdatedAtMs: NOW.wallMs + SECOND }), NOW)).toBe(0);
  });
  it('is 0 without a conversation or without any record', () => {
    expect(recordedIdleMs(idleEvidence({ sessionId: null }), NOW)).toBe(0);
    expect(recordedIdleMs(idleEvidence({ ...silent, sessionId: null }), NOW)).toBe(0);
    expect(recordedIdleMs(idleEvidence(silent), NOW)).toBe(0);
  });
  it('is the age of a process whose deleted conversation left no record', () => {
    expect(recordedIdleMs(idleEvidence({ ...silent, journal: { state: 'missing' } }), NOW)).toBe(DAY);
  });
});

describe('recorded activity after the wall clock was set', () => {
  it('makes no process idle for longer than it exists', () => {
    const startedAtMs = NOW.wallMs - 10 * MINUTE;
    const evidence = idleEvidence({ ageMs: 10 * MINUTE, startedAtMs });
    expect(recordedIdleMs(evidence, NOW)).toBe(HOUR);
    expect(recordedIdleMs(evidence, later(365 * DAY))).toBe(10 * MINUTE);
  });
  it('is ignored in the future once it is settled, and what is past still counts', () => {
    const evidence = idleEvidence({ transcriptChangedAtMs: NOW.wallMs + DAY });
    expect(recordedIdleMs(evidence, NOW)).toBe(0);
    expect(recordedIdleMs(evidence, NOW, true)).toBe(HOUR);
  });
  it('allows the observed idle time, and at most the age, if all of it is in the future', () => {
    const evidence = idleEvidence(idleSince(NOW.wallMs + DAY));
    const last = { atMs: NOW.monotonicMs - MINUTE, idleMs: HOUR, wasProtected: false };
    expect(idleTime(last, evidence, NOW, true)).toBe(HOUR + MINUTE);
    expect(idleTime({ ...last, idleMs: 2 * DAY }, evidence, NOW, true)).toBe(DAY);
  });
});

describe('trackFutureActivity', () => {
  const ahead = idleEvidence({ statusUpdatedAtMs: NOW.wallMs + DAY });
  it('settles after 10 minutes without a change', () => {
    const first = trackFutureActivity(null, ahead, NOW);
    const same = (ms: number) => trackFutureActivity(first, ahead, later(ms));
    expect(isSettled(same(10 * MINUTE - 1), later(10 * MINUTE - 1))).toBe(false);
    expect(isSettled(same(10 * MINUTE), later(10 * MINUTE))).toBe(true);
  });
  it('starts again when a time in the future changes', () => {
    const first = trackFutureActivity(null, ahead, NOW);
    const changed = idleEvidence({ statusUpdatedAtMs: NOW.wallMs + DAY + 1 });
    const now = later(10 * MINUTE);
    expect(isSettled(trackFutureActivity(first, changed, now), now)).toBe(false);
  });
  it('tracks nothing if no activity is in the future', () => {
    expect(trackFutureActivity(null, idleEvidence(), NOW)).toBeNull();
    expect(isSettled(null, NOW)).toBe(false);
  });
});

describe('idleTime', () => {
  it('is the recorded idle time in the first sweep', () => {
    expect(idleTime(null, idleEvidence(), NOW)).toBe(HOUR);
    expect(idleTime(null, idleEvidence({ ...silent, sessionId: null }), NOW)).toBe(0);
  });
  it('grows by the time between two sweeps on the monotonic clock', () => {
    const last = { atMs: NOW.monotonicMs - 30 * SECOND, idleMs: 10 * SECOND, wasProtected: false };
    expect(idleTime(last, idleEvidence(), NOW)).toBe(40 * SECOND);
    expect(idleTime({ ...last, atMs: NOW.monotonicMs + HOUR }, idleEvidence(), NOW)).toBe(10 * SECOND);
  });
  it('starts from zero when a protected process is first seen idle', () => {
    const last = { atMs: NOW.monotonicMs - 30 * SECOND, idleMs: 0, wasProtected: true };
    expect(idleTime(last, idleEvidence(), NOW)).toBe(0);
    expect(idleTime(last, idleEvidence({ ...silent, sessionId: null }), NOW)).toBe(0);
  });
  it('is never longer than the recorded idle time', () => {
    const last = { atMs: NOW.monotonicMs - 30 * SECOND, idleMs: DAY, wasProtected: false };
    expect(idleTime(last, idleEvidence(), NOW)).toBe(HOUR);
    expect(idleTime(last, idleEvidence(idleSince(NOW.wallMs)), NOW)).toBe(0);
    expect(idleTime(last, idleEvidence(silent), NOW)).toBe(0);
  });
  it('is the observed time for a process without a conversation', () => {
    const last = { atMs: NOW.monotonicMs - 30 * SECOND, idleMs: 10 * SECOND, wasProtected: false };
    expect(idleTime(last, idleEvidence({ ...silent, sessionId: null }), NOW)).toBe(40 * SECOND);
  });
});
