import { describe, expect, it } from 'vitest';
import type { IdleOrphan } from '../../../src/judge/judge.ts';
import { keyOf } from '../../../src/proc/process-id.ts';
import { notEndedAfter, orphansToReap, selectOrphans } from '../../../src/reap/select.ts';
import { lookWith, orphan, protectedBy, reapedAs } from '../../helpers/assessment.ts';
import { HOUR, MINUTE } from '../../helpers/evidence.ts';

let nextPid = 100;
const orphanOf = (uid: number, idleMs: number): IdleOrphan =>
  orphan({ idleMs }, { uid, id: { pid: nextPid++, startTicks: 7 } });
const keysOf = (...orphans: readonly IdleOrphan[]): Set<string> =>
  new Set(orphans.map(({ evidence }) => keyOf(evidence.id)));

describe('orphansToReap', () => {
  it('returns the processes judged reap, the longest idle first, and leaves the judgements in their order', () => {
    const [short, long, middle] = [orphanOf(1, 10 * MINUTE), orphanOf(1, 3 * HOUR), orphanOf(1, HOUR)];
    const judgements = [short, protectedBy(['cpu']), long, orphan({ verdict: 'grace', idleMs: 9 * HOUR }), middle];
    expect(orphansToReap({ judgements })).toEqual([long, middle, short]);
    expect(judgements[0]).toBe(short);
  });

  it('returns nothing if nothing is to be reaped', () => expect(orphansToReap(lookWith())).toEqual([]));
});

describe('selectOrphans', () => {
  it('selects all, in their order, if there are not too many', () => {
    const orphans = [orphanOf(1, 2 * HOUR), orphanOf(1, HOUR)];
    expect(selectOrphans(orphans, 2, keysOf(...orphans))).toEqual({ selected: orphans, deferred: [] });
  });

  it('gives each user a share, however many processes another user has and however long they are idle', () => {
    const many = Array.from({ length: 120 }, () => orphanOf(1001, 1e12));
    const alice = orphanOf(1000, HOUR);
    const { selected, deferred } = selectOrphans([...many, alice], 100, new Set());
    expect(selected).toHaveLength(100);
    expect(selected).toContain(alice);
    expect(deferred).toHaveLength(21);
  });

  it('takes the longest idle of each user first', () => {
    const [a1, a2, a3, b1, b2] = [orphanOf(1, 9), orphanOf(1, 8), orphanOf(1, 7), orphanOf(2, 6), orphanOf(2, 5)];
    const { selected, deferred } = selectOrphans([a1, a2, a3, b1, b2], 4, new Set());
    expect(selected).toEqual([a1, b1, a2, b2]);
    expect(deferred).toEqual([a3]);
  });

  it('takes processes that an earlier sweep did not end after all others, of their own user and of any other', () => {
    const [tried, alsoTried, other, stranger] = [orphanOf(1, 9), orphanOf(2, 8), orphanOf(1, 7), orphanOf(3, 6)];
    const { selected, deferred } = selectOrphans([tried, alsoTried, other, stranger], 3, keysOf(tried, alsoTried));
    expect(selected).toEqual([other, stranger, tried]);
    expect(deferred).toEqual([alsoTried]);
  });
});

describe('notEndedAfter', () => {
  const [a, b, c] = [orphanOf(1, 9), orphanOf(1, 8), orphanOf(1, 7)];

  it('remembers what was spared or survived, and not what ended', () => {
    const results = [reapedAs('spared', a), reapedAs('survived', b), reapedAs('terminated', c)];
    expect(notEndedAfter(new Set(), [a, b, c], results)).toEqual(keysOf(a, b));
  });

  it('does not count a process that was only deferred', () => {
    const deferred = { outcome: 'spared', why: 'later', because: 'deferred' } as const;
    expect(notEndedAfter(new Set(), [a], [{ judgement: a, result: deferred }])).toEqual(new Set());
  });

  it('remembers a process while it is a candidate, also if it was not tried again, and forgets it then', () => {
    expect(notEndedAfter(keysOf(a), [a, b], [])).toEqual(keysOf(a));
    expect(notEndedAfter(keysOf(a), [b], [])).toEqual(new Set());
  });
});
