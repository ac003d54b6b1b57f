import { describe, expect, it } from 'vitest';
import { areStale, watchConnections } from '../../src/judge/connections.ts';
import { HOUR, later, MINUTE, NOW } from './evidence.ts';

const one = { inode: 1, local: '0100007F:B630', remote: '0100007F:0FAA' };
const other = { inode: 2, local: '0100007F:B632', remote: '0100007F:0FAA' };

describe('watchConnections', () => {
  const first = watchConnections(null, [one, other], false, NOW);
  it('begins at the first look', () => expect(first.sinceMs).toBe(NOW.monotonicMs));
  it('goes on while they are the very same, in any order', () => {
    expect(watchConnections(first, [other, one], false, later(MINUTE))).toEqual(first);
  });
  it.each([
    ['another socket', [one, { ...other, inode: 3 }]],
    ['another address', [one, { ...other, remote: '0100007F:1F90' }]],
    ['one more', [one, other, { ...one, inode: 3 }]],
    ['one less', [one]],
    ['none', []],
  ])('starts again with %s', (_, connections) => {
    expect(watchConnections(first, connections, false, later(MINUTE)).sinceMs).toBe(later(MINUTE).monotonicMs);
  });
  it('starts again if anything else holds', () => {
    expect(watchConnections(first, [one, other], true, later(MINUTE)).sinceMs).toBe(later(MINUTE).monotonicMs);
  });
  it('does not carry the time without any over to a new one', () => {
    const none = watchConnections(null, [], false, NOW);
    expect(watchConnections(none, [one], false, later(HOUR)).sinceMs).toBe(later(HOUR).monotonicMs);
  });
});

describe('areStale', () => {
  const watch = watchConnections(null, [one], false, NOW);
  it('at the very end of the wait', () => {
    expect(areStale(watch, HOUR, later(HOUR - 1))).toBe(false);
    expect(areStale(watch, HOUR, later(HOUR))).toBe(true);
  });
  it('never, with no end', () => expect(areStale(watch, Number.POSITIVE_INFINITY, later(1e15))).toBe(false));
});
