import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { sleep } from '../../src/sleep.ts';

describe('sleep', () => {
  it('resolves after the given time', async () => {
    const startedMs = performance.now();
    await sleep(20, null);
    expect(performance.now() - startedMs).toBeGreaterThan(18);
  });

  it('resolves at once for a negative time', async () => {
    const startedMs = performance.now();
    await sleep(-60_000, null);
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  });

  it('resolves when it is aborted, or was aborted before, and leaves no listener behind', async () => {
    const abort = new AbortController();
    const waiting = sleep(60_000, abort.signal);
    abort.abort();
    await waiting;
    await sleep(60_000, abort.signal);
    expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
  });
});
