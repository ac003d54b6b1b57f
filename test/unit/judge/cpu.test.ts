import { describe, expect, it } from 'vitest';
import { type CpuSample, type CpuUse, firstCpuSample, measureCpu } from '../../../src/judge/cpu.ts';
import type { CpuPart, Evidence } from '../../../src/judge/evidence.ts';
import { keyOf } from '../../../src/proc/process-id.ts';
import {
  codesOf,
  cpuPart,
  cpuTime,
  idleEvidence,
  idleSince,
  later,
  MINUTE,
  NOW,
  newSweeps,
  SECOND,
} from '../../helpers/evidence.ts';

const ID = { pid: 16_246, startTicks: 135_996 };
const SELF = keyOf(ID);
const MCP = '7:70';

/** Evidence with `claude` itself and, if given, one child. */
const withParts = (self: CpuPart, child?: CpuPart, loadPerCore = 0.5): Evidence =>
  idleEvidence({ id: ID, loadPerCore, cpuParts: new Map([[SELF, self], ...(child ? [[MCP, child] as const] : [])]) });
const self = (ms: number, reapedMs = 0): CpuPart => cpuPart(ID.pid, { [SELF]: ms }, reapedMs);
const child = (living: Readonly<Record<string, number>>, reapedMs = 0): CpuPart => cpuPart(7, living, reapedMs);

/** What was used between two sweeps `overMs` apart, without an allowance. */
const used = (before: Evidence, after: Evidence, overMs = 3 * SECOND, cpuIdleBelow = 5): CpuUse =>
  measureCpu(firstCpuSample(before, later(0)), after, later(overMs), cpuIdleBelow).use;

describe('measureCpu: claude itself', () => {
  const usedMs = (ms: number, ...rest: [number?, number?]): CpuUse =>
    used(withParts(self(100)), withParts(self(100 + ms)), ...rest);
  it('measures in percent of one core', () => {
    expect(usedMs(300)).toEqual({
      percent: 10,
      overMs: 3000,
      busy: { pid: ID.pid, percent: 10, limit: 5, isDoubtful: false },
    });
    expect(usedMs(6000).percent).toBe(200);
  });
  it.each([
    [150, false],
    [160, true],
  ])('is busy with more than 5 % of 3 s: %d ms, %s', (ms, busy) => expect(usedMs(ms).busy !== null).toBe(busy));
  it('is busy with any use if cpu_idle_below is 0, and idle without', () => {
    expect(usedMs(10, 3000, 0).busy).not.toBeNull();
    expect(usedMs(0, 3000, 0).busy).toBeNull();
  });
  it('is never busy if cpu_idle_below is 100 and it has one thread', () => {
    expect(usedMs(3000, 3000, 100).busy).toBeNull();
  });
  it('is busy with any use between two sweeps at one moment', () => {
    expect(usedMs(0, 0)).toEqual({ percent: 0, overMs: 0, busy: null });
    expect(usedMs(10, 0).busy).not.toBeNull();
  });
  it('is measured over no time if the monotonic clock seems to run backwards', () => {
    expect(usedMs(0, -5000)).toEqual({ percent: 0, overMs: 0, busy: null });
  });
  it('does not get more for its children', () => {
    const before = withParts(self(100), child({ [MCP]: 100 }));
    expect(used(before, withParts(self(260), child({ [MCP]: 100 }))).busy?.pid).toBe(ID.pid);
  });
});

describe('measureCpu: a child', () => {
  const before = withParts(self(100), child({ [MCP]: 100 }));
  const later3s = (ms: number, loadPerCore?: number): Evidence =>
    withParts(self(100), child({ [MCP]: 100 + ms }), loadPerCore);
  it.each([
    [300, null],
    [310, { pid: 7, limit: 10 }],
  ])('may use twice as much as claude: %d ms of 3 s', (ms, busy) => {
    expect(used(before, later3s(ms)).busy).toEqual(busy && expect.objectContaining(busy));
  });
  it.each([
    [0.2, 10],
    [1, 10],
    [2, 5],
    [10, 1],
    [Number.POSITIVE_INFINITY, 0],
  ])('may use less the more processes want each core: at a load of %d per core, %d %%', (load, limit) => {
    const ms = limit * 30;
    expect(used(before, later3s(ms, load)).busy).toBeNull();
    expect(used(before, later3s(ms + 10, load)).busy).toMatchObject({ pid: 7, limit });
  });
  it('is in doubt if only the load makes it busy, and without doubt if it uses more than an idle one does', () => {
    expect(used(before, later3s(200, 4)).busy).toMatchObject({ pid: 7, limit: 2.5, isDoubtful: true });
    expect(used(before, later3s(310, 4)).busy).toMatchObject({ pid: 7, limit: 2.5, isDoubtful: false });
  });
  it('is reported instead of one in doubt if it is without doubt', () => {
    const servers = (first: number, second: number): Evidence =>
      idleEvidence({
        id: ID,
        loadPerCore: 10,
        cpuParts: new Map([
          [SELF, self(0)],
          ['7:70', cpuPart(7, { '7:70': first })],
          ['8:80', cpuPart(8, { '8:80': second })],
        ]),
      });
    expect(used(servers(0, 0), servers(310, 290)).busy).toMatchObject({ pid: 7, isDoubtful: false });
    expect(used(servers(0, 0), servers(290, 310)).busy).toMatchObject({ pid: 8, isDoubtful: false });
  });
  it('is judged by itself: six servers may use what six may use', () => {
    const servers = (ms: number): Evidence =>
      idleEvidence({
        id: ID,
        cpuParts: new Map([
          [SELF, self(100)],
          ...[1, 2, 3, 4, 5, 6].map((pid) => [`${pid}:1`, cpuPart(pid, { [`${pid}:1`]: ms })] as const),
        ]),
      });
    expect(used(servers(0), servers(300))).toEqual({ percent: 60, overMs: 3000, busy: null });
  });
  it('is reported by its pid and use if it is the part that is furthest above its limit', () => {
    const both = withParts(self(260), child({ [MCP]: 1100 }));
    expect(used(before, both).busy).toMatchObject({ pid: 7, percent: expect.closeTo(33.3, 1), limit: 10 });
  });
  it('counts everything below it', () => {
    const busy = withParts(self(100), child({ [MCP]: 200, '8:80': 250 }));
    expect(used(before, busy).busy).toMatchObject({ pid: 7, percent: expect.closeTo(11.7, 1) });
  });
  it('counts with everything that it used if it began since', () => {
    expect(used(withParts(self(100)), withParts(self(100), child({ [MCP]: 310 }))).busy?.pid).toBe(7);
  });
});

describe('measureCpu: processes that died', () => {
  it('counts a child that died and was waited for, without what was measured before', () => {
    const before = withParts(self(100), child({ [MCP]: 500 }));
    expect(used(before, withParts(self(100, 660))).busy).toMatchObject({
      pid: ID.pid,
      percent: expect.closeTo(5.3, 1),
    });
    expect(used(before, withParts(self(100, 500)))).toEqual({ percent: 0, overMs: 3000, busy: null });
  });
  it('counts a child that began, died and was waited for since', () => {
    expect(used(withParts(self(100)), withParts(self(100, 160))).busy?.pid).toBe(ID.pid);
  });
  it("does not hide claude's own use behind a child that died without being waited for", () => {
    const before = withParts(self(100), child({ [MCP]: 100_000 }));
    expect(used(before, withParts(self(260))).busy?.pid).toBe(ID.pid);
  });
  it('does not hide the use of a server behind one of its processes that died without being waited for', () => {
    const before = withParts(self(100), child({ [MCP]: 100, '8:80': 100_000 }));
    expect(used(before, withParts(self(100), child({ [MCP]: 410 }))).busy?.pid).toBe(7);
  });
  it('does not take a new process for an earlier one with the same pid', () => {
    const before = withParts(self(100), child({ [MCP]: 100, '8:1': 100_000 }));
    expect(used(before, withParts(self(100), child({ [MCP]: 100, '8:2': 310 }))).busy?.pid).toBe(7);
  });
});

/** Measures every `poll` ms for `total` ms what `at(ms)` was used by then; returns the sweeps in which it was busy. */
function busySweeps(poll: number, total: number, at: (ms: number) => Evidence): number[] {
  let tracked: CpuSample = firstCpuSample(at(0), later(0));
  const sweeps: number[] = [];
  for (let now = poll; now <= total; now += poll) {
    const measured = measureCpu(tracked, at(now), later(now), 5);
    if (measured.use.busy) sweeps.push(now);
    tracked = measured.tracked;
  }
  return sweeps;
}
const POLLS = [200, SECOND, 30 * SECOND];

describe('the allowance of claude', () => {
  /** An idle 0.2.92 on a board that is five times slower: 1 s at once each minute, the first time after 45 s. */
  const bursts = (ms: number): Evidence => withParts(self(Math.floor((ms + 15 * SECOND) / MINUTE) * 1000));
  it.each(POLLS)('covers the bursts of an idle 0.2.92 on a slow board, measured every %d ms', (poll) => {
    expect(busySweeps(poll, 30 * MINUTE, bursts)).toEqual([]);
  });
  it('has to accumulate first', () => {
    const early = (ms: number): Evidence => withParts(self(ms >= 5 * SECOND ? 500 : 0));
    expect(busySweeps(SECOND, MINUTE, early)).toEqual([5 * SECOND]);
  });
  it.each(POLLS)('does not cover steady use of 10 %%, measured every %d ms', (poll) => {
    const sweeps = busySweeps(poll, 10 * MINUTE, (ms) => withParts(self(Math.floor(ms / 100) * 10)));
    expect(sweeps.length).toBeGreaterThan((10 * MINUTE) / poll / 6);
    expect(Math.max(...sweeps)).toBeGreaterThan(9 * MINUTE);
  });
  it.each(POLLS)('does not cover work that begins after a long rest, measured every %d ms', (poll) => {
    const began = 20 * MINUTE;
    const [first = 0] = busySweeps(poll, 30 * MINUTE, (ms) =>
      withParts(self(ms < began ? 0 : Math.floor((ms - began) / 20) * 10)),
    );
    // At half a core, the 3 s of a minute last for some seconds.
    expect(first).toBeGreaterThan(began);
    expect(first).toBeLessThanOrEqual(began + Math.max(poll, 7 * SECOND));
  });
  it('is at most that of a minute, however long the rest was', () => {
    const busyAfter = (restMs: number, ms: number): boolean => {
      const rested = measureCpu(firstCpuSample(withParts(self(0)), later(0)), withParts(self(0)), later(restMs), 5);
      return measureCpu(rested.tracked, withParts(self(ms)), later(restMs), 5).use.busy !== null;
    };
    expect([busyAfter(MINUTE, 3000), busyAfter(MINUTE, 3010)]).toEqual([false, true]);
  });
  it('is lost once it is exceeded', () => {
    const rested = measureCpu(firstCpuSample(withParts(self(0)), later(0)), withParts(self(0)), later(MINUTE), 5);
    const exceeded = measureCpu(rested.tracked, withParts(self(4000)), later(MINUTE + SECOND), 5);
    expect(exceeded.use.busy).not.toBeNull();
    expect(measureCpu(exceeded.tracked, withParts(self(4060)), later(MINUTE + 2 * SECOND), 5).use.busy).not.toBeNull();
    expect(measureCpu(exceeded.tracked, withParts(self(4050)), later(MINUTE + 2 * SECOND), 5).use.busy).toBeNull();
  });
});

describe('the allowance of a child', () => {
  /** A server that polls: so many ms each second. */
  const server = (msPerSecond: number) => (ms: number) =>
    withParts(self(0), child({ [MCP]: Math.floor(ms / SECOND) * msPerSecond }));
  it.each([15, 50, 80])('covers a server that polls with %d ms each second', (ms) => {
    for (const poll of [3 * SECOND, 30 * SECOND]) expect(busySweeps(poll, 30 * MINUTE, server(ms))).toEqual([]);
  });
  it('does not cover a server that computes with 13 % of a core', () => {
    expect(busySweeps(30 * SECOND, 10 * MINUTE, server(130))).toHaveLength(20);
  });
  it('is owed after a burst, so that a quiet sample does not clear a server that computes now and then', () => {
    const on = (ms: number): Evidence => withParts(self(0), child({ [MCP]: ms < 3 * SECOND ? 0 : 3000 }));
    // 3 s of a core at once: at 10 % paid off after 30 s.
    expect(busySweeps(3 * SECOND, MINUTE, on)).toEqual([3, 6, 9, 12, 15, 18, 21, 24, 27].map((at) => at * SECOND));
  });
});

describe('a service that sweeps over an idle 0.2.92', () => {
  it.each(POLLS)('does not count its bursts as work at a poll interval of %d ms', (poll) => {
    const { judgeSingle } = newSweeps();
    for (let now = 0; now <= 10 * MINUTE; now += poll) {
      const cpuMs = 1380 + Math.floor((now + 15 * SECOND) / MINUTE) * 200;
      const judged = judgeSingle(idleEvidence(cpuTime(cpuMs)), later(now));
      expect(codesOf(judged), `after ${now} ms`).toEqual(now === 0 ? ['cpu'] : []);
    }
  });
});

describe('a service that sweeps over a server that polls at 5 %', () => {
  /** The verdict in each sweep of 30 s; `loadAt` and `percentAt`: from minute to minute. */
  function verdicts(minutes: number, loadAt: (minute: number) => number, percentAt: (minute: number) => number) {
    const { judgeSingle } = newSweeps();
    let usedMs = 0;
    const seen: [number, string][] = [];
    for (let now = 0; now <= minutes * MINUTE; now += 30 * SECOND) {
      const minute = now / MINUTE;
      usedMs += (percentAt(minute) / 100) * 30 * SECOND;
      const evidence = { ...withParts(self(1380), child({ [MCP]: usedMs }), loadAt(minute)), ...idleSince(NOW.wallMs) };
      seen.push([minute, judgeSingle(evidence, later(now)).verdict]);
    }
    return {
      at: (minute: number) => seen.find(([when]) => when === minute)?.[1],
      all: seen.map(([, verdict]) => verdict),
    };
  }
  it('protects it while the machine is loaded, and ends it after parked_after once the load has fallen', () => {
    const { at, all } = verdicts(
      40,
      (minute) => (minute >= 10 && minute < 35 ? 4 : 0.5),
      () => 5,
    );
    expect([at(9), at(12), at(34.5), at(35)]).toEqual(['grace', 'protected', 'protected', 'reap']);
    expect(all.slice(all.indexOf('reap'))).toEqual(Array(11).fill('reap'));
  });
  it('never ends a computation that got no more on the loaded machine, and waits anew once it gets more', () => {
    const percentAt = (minute: number): number => (minute < 10 || minute >= 35 ? 60 : 5);
    const loadAt = (minute: number): number => (minute >= 10 && minute < 36 ? 8 : 0.5);
    expect(new Set(verdicts(60, loadAt, percentAt).all)).toEqual(new Set(['protected']));
    const ended = verdicts(70, loadAt, (minute) => (minute < 40 ? percentAt(minute) : 0));
    expect([ended.at(66), ended.at(70)]).toEqual(['grace', 'grace']);
  });
});
