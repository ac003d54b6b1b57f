import { describe, expect, it } from 'vitest';
import { futureHappenings, happenings, idleTime, writtenIdleMs } from '../../src/judge/idle.ts';
import { DAY, HOUR, idleEvidence, idleSince, later, MINUTE, NOW, SECOND } from './evidence.ts';

const silent = { transcriptChangedAtMs: null, journal: { state: 'unknown' } } as const;

describe('happenings', () => {
  it('are all that is written down', () => {
    const evidence = idleEvidence({ statusUpdatedAtMs: 3, transcriptChangedAtMs: 2 });
    expect(happenings(evidence).map(({ atMs }) => atMs)).toEqual([3, NOW.wallMs - HOUR, 2]);
    expect(happenings(idleEvidence(silent))).toEqual([]);
    expect(happenings(idleEvidence({ ...silent, journal: { state: 'missing' } }))).toEqual([]);
  });
  it('in the future are named', () => {
    const evidence = idleEvidence({ statusUpdatedAtMs: NOW.wallMs + 3 * SECOND });
    expect(futureHappenings(evidence, NOW)).toEqual([
      { what: expect.stringContaining('session file'), atMs: NOW.wallMs + 3 * SECOND },
    ]);
    expect(futureHappenings(evidence, later(SECOND))).toEqual([]);
  });
});

describe('writtenIdleMs', () => {
  it('counts from the latest', () => {
    expect(writtenIdleMs(idleEvidence(), NOW)).toBe(HOUR);
    expect(writtenIdleMs(idleEvidence({ statusUpdatedAtMs: NOW.wallMs - MINUTE }), NOW)).toBe(MINUTE);
  });
  it('is nothing for a time that lies a little ahead', () => {
    expect(writtenIdleMs(idleEvidence({ statusUpdatedAtMs: NOW.wallMs + SECOND }), NOW)).toBe(0);
  });
  it('is nothing where nothing can be told', () => {
    expect(writtenIdleMs(idleEvidence({ sessionId: null }), NOW)).toBe(0);
    expect(writtenIdleMs(idleEvidence({ ...silent, sessionId: null }), NOW)).toBe(0);
    expect(writtenIdleMs(idleEvidence(silent), NOW)).toBe(0);
  });
  it('is the age of a process whose conversation has left nothing behind', () => {
    expect(writtenIdleMs(idleEvidence({ ...silent, journal: { state: 'missing' } }), NOW)).toBe(DAY);
  });
});

describe('idleTime', () => {
  it('is what is written down, at the first look', () => {
    expect(idleTime(null, idleEvidence(), NOW)).toBe(HOUR);
    expect(idleTime(null, idleEvidence({ ...silent, sessionId: null }), NOW)).toBe(0);
  });
  it('grows by what passes between two looks, and by no more', () => {
    const last = { atMs: NOW.monotonicMs - 30 * SECOND, idleMs: 10 * SECOND, wasAtWork: false };
    expect(idleTime(last, idleEvidence(), NOW)).toBe(40 * SECOND);
    expect(idleTime({ ...last, atMs: NOW.monotonicMs + HOUR }, idleEvidence(), NOW)).toBe(10 * SECOND);
  });
  it('begins when a process that was at work is first seen at rest', () => {
    const last = { atMs: NOW.monotonicMs - 30 * SECOND, idleMs: 0, wasAtWork: true };
    expect(idleTime(last, idleEvidence(), NOW)).toBe(0);
    expect(idleTime(last, idleEvidence({ ...silent, sessionId: null }), NOW)).toBe(0);
  });
  it('is never more than what is written down', () => {
    const last = { atMs: NOW.monotonicMs - 30 * SECOND, idleMs: DAY, wasAtWork: false };
    expect(idleTime(last, idleEvidence(), NOW)).toBe(HOUR);
    expect(idleTime(last, idleEvidence(idleSince(NOW.wallMs)), NOW)).toBe(0);
    expect(idleTime(last, idleEvidence(silent), NOW)).toBe(0);
  });
  it('of a process without a conversation is what was seen', () => {
    const last = { atMs: NOW.monotonicMs - 30 * SECOND, idleMs: 10 * SECOND, wasAtWork: false };
    expect(idleTime(last, idleEvidence({ ...silent, sessionId: null }), NOW)).toBe(40 * SECOND);
  });
});
