import { describe, expect, it } from 'vitest';
import { beginCpuWatch, type CpuWatch, watchCpu } from '../../src/judge/cpu.ts';
import type { Evidence } from '../../src/judge/evidence.ts';
import { codesOf, idleEvidence, later, MINUTE, SECOND, watcher } from './evidence.ts';

/** A family's CPU time as the kernel counts it: what each living process used itself, and what the waited-for dead did. */
const family = (living: Readonly<Record<string, number>>, waitedFor = 0): Evidence =>
  idleEvidence({
    cpuMs: waitedFor + Object.values(living).reduce((sum, each) => sum + each, 0),
    cpuMsByProcess: new Map(Object.entries(living)),
  });

/** Watches what was used between two looks `overMs` apart, with no allowance gathered. */
const used = (before: Evidence, after: Evidence, overMs = 3 * SECOND, percent = 1) =>
  watchCpu(beginCpuWatch(before, later(0)), after, later(overMs), percent);

describe('watchCpu', () => {
  it('measures in percent of one core', () => {
    expect(used(family({ a: 100 }), family({ a: 250 })).use).toEqual({ percent: 5, overMs: 3000, busy: true });
    expect(used(family({ a: 100 }), family({ a: 6100 })).use.percent).toBe(200);
  });
  it.each([
    [30, false],
    [31, true],
    // The kernel counts in ticks of 10 ms.
    [40, true],
  ])('over 3 s, %d ms are more than 1 %%: %s', (ms, busy) => {
    expect(used(family({ a: 100 }), family({ a: 100 + ms })).use.busy).toBe(busy);
  });
  it('counts any use as busy with cpu_idle_below = 0, and none otherwise', () => {
    expect(used(family({ a: 100 }), family({ a: 110 }), 3000, 0).use.busy).toBe(true);
    expect(used(family({ a: 100 }), family({ a: 100 }), 3000, 0).use.busy).toBe(false);
  });
  it('never counts one process as busy with cpu_idle_below = 100', () => {
    expect(used(family({ a: 0 }), family({ a: 3000 }), 3000, 100).use.busy).toBe(false);
  });
  it('measures nothing between two looks at one moment, and counts any use then', () => {
    expect(used(family({ a: 0 }), family({ a: 0 }), 0).use).toEqual({ percent: 0, overMs: 0, busy: false });
    expect(used(family({ a: 0 }), family({ a: 10 }), 0).use.busy).toBe(true);
  });
  it('does not mind a clock that runs backwards', () => {
    expect(used(family({ a: 0 }), family({ a: 0 }), -5000).use).toEqual({ percent: 0, overMs: 0, busy: false });
  });

  describe('of a family', () => {
    it('adds up all processes', () => {
      const { use } = used(family({ a: 100, b: 50, c: 7 }), family({ a: 110, b: 60, c: 107 }));
      expect(use.percent).toBe(4);
    });
    it('counts a child that began since', () => {
      expect(used(family({ a: 100 }), family({ a: 100, b: 150 })).use.percent).toBe(5);
    });
    it('counts a child that died and was waited for', () => {
      // All that it ever used passes to its parent, what it used since the last look among it.
      expect(used(family({ a: 100, b: 500 }), family({ a: 100 }, 650)).use.percent).toBe(5);
    });
    it('counts a child that began, died and was waited for since', () => {
      expect(used(family({ a: 100 }), family({ a: 100 }, 150)).use.percent).toBe(5);
    });
    it('is not deceived by a child that died without being waited for', () => {
      // The sum falls by the 100 s of the dead, while the living used 150 ms.
      expect(used(family({ a: 100, b: 100_000 }), family({ a: 250 })).use.percent).toBe(5);
    });
    it('is not deceived by a pid that is another process by now', () => {
      expect(used(family({ a: 100, '7:1': 100_000 }), family({ a: 100, '7:2': 150 })).use.percent).toBe(5);
    });
    it('finds nothing where a child just died', () => {
      expect(used(family({ a: 100, b: 500 }), family({ a: 100 }, 500)).use).toMatchObject({ percent: 0, busy: false });
      expect(used(family({ a: 100, b: 500 }), family({ a: 100 })).use).toMatchObject({ percent: 0, busy: false });
    });
  });
});

describe('the allowance', () => {
  /** Looks each `poll` ms for `total` ms at a process that used `at(ms)` of CPU by then; gives the busy moments. */
  const busyMoments = (poll: number, total: number, at: (ms: number) => number): number[] => {
    let watch: CpuWatch = beginCpuWatch(family({ a: at(0) }), later(0));
    const moments: number[] = [];
    for (let now = poll; now <= total; now += poll) {
      const next = watchCpu(watch, family({ a: at(now) }), later(now), 1);
      if (next.use.busy) moments.push(now);
      watch = next.watch;
    }
    return moments;
  };
  const polls = [200, SECOND, 30 * SECOND];

  /** An idle 0.2.92: 0.2 s at once each minute, the first time after 45 s. */
  const bursts = (ms: number): number => Math.floor((ms + 15 * SECOND) / MINUTE) * 200;
  it.each(polls)('lets an idle 0.2.92 burst, looked at every %d ms', (poll) => {
    expect(busyMoments(poll, 30 * MINUTE, bursts)).toEqual([]);
  });
  /** An idle 0.3.330: 9 ticks in 30 s, one after the other. */
  const trickle = (ms: number): number => Math.floor((ms / (30 * SECOND)) * 9) * 10;
  it.each(polls)('lets an idle 0.3.330 trickle, looked at every %d ms', (poll) => {
    // Its very first tick may come before there is any allowance.
    expect(busyMoments(poll, 30 * MINUTE, trickle).filter((ms) => ms > 10 * SECOND)).toEqual([]);
  });
  it('has to be gathered first: a burst at once is busy', () => {
    expect(busyMoments(SECOND, MINUTE, (ms) => (ms >= 5 * SECOND ? 200 : 0))).toEqual([5 * SECOND]);
  });
  it.each(polls)('does not hide a process that uses 5 %%, looked at every %d ms', (poll) => {
    const moments = busyMoments(poll, 10 * MINUTE, (ms) => Math.floor(ms / 200) * 10);
    expect(moments.length).toBeGreaterThan((10 * MINUTE) / poll / 6);
    expect(Math.max(...moments)).toBeGreaterThan(9 * MINUTE);
  });
  it.each(polls)('does not hide work that begins after a long rest, looked at every %d ms', (poll) => {
    const began = 20 * MINUTE;
    const moments = busyMoments(poll, 30 * MINUTE, (ms) => (ms < began ? 0 : Math.floor((ms - began) / 20) * 10));
    // One core at 50 %: what has gathered is spent within a second.
    expect(moments[0]).toBeLessThanOrEqual(began + Math.max(poll, SECOND));
    expect(moments[0]).toBeGreaterThan(began);
  });
  it('holds no more than half a minute of it, however long a process was at rest', () => {
    const isBusyAfter = (ms: number, usedMs: number): boolean => {
      const rested = watchCpu(beginCpuWatch(family({ a: 0 }), later(0)), family({ a: 0 }), later(ms), 1).watch;
      return watchCpu(rested, family({ a: usedMs }), later(ms), 1).use.busy;
    };
    expect(isBusyAfter(30 * SECOND, 300)).toBe(false);
    expect(isBusyAfter(30 * SECOND, 301)).toBe(true);
    const rested = beginCpuWatch(family({ a: 0 }), later(0));
    let watch = rested;
    for (let now = SECOND; now <= 60 * MINUTE; now += SECOND) {
      watch = watchCpu(watch, family({ a: 0 }), later(now), 1).watch;
    }
    expect(watch.allowanceMs).toBeCloseTo(300);
  });
  it('is lost by being busy', () => {
    const rested = watchCpu(beginCpuWatch(family({ a: 0 }), later(0)), family({ a: 0 }), later(30_000), 1).watch;
    const { use, watch } = watchCpu(rested, family({ a: 500 }), later(31_000), 1);
    expect({ busy: use.busy, allowance: watch.allowanceMs }).toEqual({ busy: true, allowance: 0 });
  });
  it('is used up by what was used', () => {
    const rested = watchCpu(beginCpuWatch(family({ a: 0 }), later(0)), family({ a: 0 }), later(30_000), 1).watch;
    const { use, watch } = watchCpu(rested, family({ a: 200 }), later(31_000), 1);
    expect({ busy: use.busy, allowance: watch.allowanceMs }).toEqual({ busy: false, allowance: 100 });
  });
});

describe('a service that looks at an idle process', () => {
  it.each([200, SECOND, 30 * SECOND])('every %d ms never takes its bursts for work once it knows it', (poll) => {
    const { lookAt } = watcher();
    for (let now = 0; now <= 10 * MINUTE; now += poll) {
      const cpuMs = 1380 + Math.floor((now + 15 * SECOND) / MINUTE) * 200;
      const judged = lookAt(idleEvidence({ cpuMs, cpuMsByProcess: new Map([['16246:135996', cpuMs]]) }), later(now));
      expect(codesOf(judged), `after ${now} ms`).toEqual(now === 0 ? ['cpu'] : []);
    }
  });
});
