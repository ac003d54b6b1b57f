import { describe, expect, it } from 'vitest';
import type { Evidence } from '../../../src/judge/evidence.ts';
import { type ConnectionTracking, isStale, trackConnections } from '../../../src/judge/stale-connections.ts';
import { HOUR, idleEvidence, idleSince, JOURNAL, later, MINUTE, NOW } from '../../helpers/evidence.ts';

const ENDED = { state: 'found', path: JOURNAL, turn: 'ended', decidedBy: 'done', changedAtMs: NOW.wallMs } as const;

const one = { inode: 1, local: '0100007F:B630', remote: '0100007F:0FAA' };
const other = { inode: 2, local: '0100007F:B632', remote: '0100007F:0FAA' };

describe('trackConnections', () => {
  const first = trackConnections(null, [one, other], false, NOW);
  it('begins in the first sweep', () => expect(first.sinceMs).toBe(NOW.monotonicMs));
  it('continues while they are unchanged, in any order', () => {
    expect(trackConnections(first, [other, one], false, later(MINUTE))).toMatchObject(first);
  });
  it.each([
    ['another socket', [one, { ...other, inode: 3 }]],
    ['another address', [one, { ...other, remote: '0100007F:1F90' }]],
    ['one more', [one, other, { ...one, inode: 3 }]],
    ['one less', [one]],
    ['none', []],
  ])('starts again with %s', (_, connections) => {
    expect(trackConnections(first, connections, false, later(MINUTE)).sinceMs).toBe(later(MINUTE).monotonicMs);
  });
  it('starts again if another rule holds', () => {
    expect(trackConnections(first, [one, other], true, later(MINUTE)).sinceMs).toBe(later(MINUTE).monotonicMs);
  });
  it('does not count the time without connections', () => {
    const none = trackConnections(null, [], false, NOW);
    expect(trackConnections(none, [one], false, later(HOUR)).sinceMs).toBe(later(HOUR).monotonicMs);
  });
});

describe('isStale: the same sockets', () => {
  const watch = trackConnections(null, [one], false, NOW);
  const evidence = idleEvidence({ connections: [one], journal: { state: 'unknown' }, sessionId: null });
  it('are stale at the very end of the wait', () => {
    expect(isStale(watch, evidence, HOUR, later(HOUR - 1))).toBe(false);
    expect(isStale(watch, evidence, HOUR, later(HOUR))).toBe(true);
  });
  it('are never stale without an end of the wait', () =>
    expect(isStale(watch, evidence, Number.POSITIVE_INFINITY, later(1e15))).toBe(false));
});

describe('isStale: a stream that is made anew each minute', () => {
  const remotes = ['0100007F:0FAA'];
  /** Looks once a minute, each time at another socket; returns after how many minutes it was stale first, or null. */
  function staleAfter(
    minutes: number,
    overrides: (minute: number) => Partial<Evidence> = () => ({}),
    addresses = remotes,
    heldAt: number | null = null,
  ): number | null {
    let tracked: ConnectionTracking | null = null;
    for (let minute = 0; minute <= minutes; minute++) {
      const now = later(minute * MINUTE);
      const remote = addresses[minute % addresses.length] as string;
      // Sometimes none is open.
      const connections = minute % 7 === 3 ? [] : [{ inode: minute, local: `0100007F:${minute}`, remote }];
      tracked = trackConnections(tracked, connections, minute === heldAt, now);
      const evidence = idleEvidence({ ...idleSince(NOW.wallMs), connections, ...overrides(minute) });
      if (connections.length > 0 && isStale(tracked, evidence, HOUR, now)) return minute;
    }
    return null;
  }
  it('is stale after the wait', () => expect(staleAfter(90)).toBe(60));
  it('is stale later if it goes to several addresses', () =>
    expect(staleAfter(90, undefined, ['a', 'b', 'c', 'd', 'e'])).toBe(60));
  it('starts again if anything else holds', () => expect(staleAfter(90, undefined, remotes, 22)).toBe(82));
  it('is not stale if something happened in the conversation', () => {
    const busy = (minute: number) => idleSince(later((minute - 30) * MINUTE).wallMs);
    expect(staleAfter(180, busy)).toBeNull();
    expect(staleAfter(180, (minute) => ({ transcriptChangedAtMs: later((minute - 30) * MINUTE).wallMs }))).toBeNull();
  });
  it.each<[string, Partial<Evidence>]>([
    ['which conversation it is', { sessionId: null }],
    ['the journal', { journal: { state: 'unknown' } }],
    ['whether the turn has ended', { journal: { ...ENDED, turn: 'unclear' } }],
    ['the transcript', { transcriptChangedAtMs: null }],
  ])('is not stale if it is not known: %s', (_, unknown) => expect(staleAfter(180, () => unknown)).toBeNull());
  it('is not stale with an address that is new', () => {
    const tracked = trackConnections(
      trackConnections(null, [one], false, NOW),
      [one, { ...other, remote: 'new' }],
      false,
      later(HOUR),
    );
    const evidence = idleEvidence({ ...idleSince(NOW.wallMs), connections: [one, { ...other, remote: 'new' }] });
    expect(isStale(tracked, evidence, HOUR, later(HOUR))).toBe(false);
    expect(isStale(tracked, { ...evidence, connections: [{ ...one, inode: 9 }] }, HOUR, later(HOUR))).toBe(true);
  });
  it('is never stale with more addresses than are kept', () => {
    const many = Array.from({ length: 33 }, (_, number) => ({ inode: number, local: 'x', remote: `r${number}` }));
    const tracked = trackConnections(trackConnections(null, many, false, NOW), many.slice(1), false, later(HOUR));
    const evidence = idleEvidence({ ...idleSince(NOW.wallMs), connections: many.slice(1) });
    expect(tracked.remotes.size).toBe(32);
    expect(isStale(tracked, evidence, HOUR, later(HOUR))).toBe(false);
  });
});
