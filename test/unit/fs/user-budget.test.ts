import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BUDGET_EXHAUSTED, newUserBudgets, type UserBudgets } from '../../../src/fs/user-budget.ts';
import { fail, ok } from '../../../src/result.ts';

const LIMITS = { ms: 20, bytes: 1000, items: 10 };
const budgets = (limits: Partial<typeof LIMITS> = {}): UserBudgets =>
  newUserBudgets({ ...LIMITS, ...limits }, () => ok([]));

/** CPU time of this process, ms. */
const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

const burn = (ms: number): void => {
  const endMs = cpuMs() + ms;
  while (cpuMs() <= endMs);
};

describe('a budget of one sweep', () => {
  // As on a machine that has nothing else to do: elsewhere the wall clock alone may exhaust a budget.
  beforeEach(() => void vi.spyOn(process, 'uptime').mockImplementation(() => cpuMs() / 1000));
  afterEach(() => void vi.restoreAllMocks());

  it('is exhausted by bytes beyond the limit', () => {
    const budget = budgets().of(1000);
    budget.charge(1000);
    expect(budget.exhausted()).toBe(false);
    budget.charge(1);
    expect(budget.exhausted()).toBe(true);
  });

  it('is exhausted by items beyond the limit, which must not be kept', () => {
    const budget = budgets().of(1000);
    expect(budget.reserve(10)).toBe(true);
    expect(budget.exhausted()).toBe(false);
    expect(budget.reserve(1)).toBe(false);
    expect(budget.exhausted()).toBe(true);
  });

  it('is exhausted by CPU time while reading runs, and only then', () => {
    const budget = budgets().of(1000);
    burn(30);
    expect(budget.exhausted()).toBe(false);
    const seen = budget.run(() => {
      burn(5);
      const before = budget.exhausted();
      burn(30);
      return [before, budget.exhausted()];
    });
    expect(seen).toEqual([false, true]);
    expect(budget.exhausted()).toBe(true);
  });

  it('counts several runs together, and nested ones once', () => {
    const budget = budgets().of(1000);
    // On a busy machine it may take several times as long: until a tenth of the budget is used, all time counts.
    const nested = (depth: number): void => budget.run(() => (depth === 0 ? burn(3) : nested(depth - 1)));
    nested(8);
    expect(budget.exhausted()).toBe(false);
    budget.run(() => burn(21));
    expect(budget.exhausted()).toBe(true);
  });

  it('stops reading ahead at half', () => {
    const budget = budgets().of(1000);
    budget.charge(501);
    expect(budget.readAheadExhausted()).toBe(true);
    expect(budget.exhausted()).toBe(false);
  });

  it('lets no path be touched when it is exhausted, or when the mounts are not known', () => {
    const budget = budgets().of(1000);
    expect(budget.checkPath('/home/alice/file')).toMatchObject({ ok: true });
    budget.charge(2000);
    expect(budget.checkPath('/home/alice/file')).toMatchObject({ failure: { detail: BUDGET_EXHAUSTED } });
    const blind = newUserBudgets(LIMITS, () => fail('denied', 'no mounts'));
    expect(blind.of(1000).checkPath('/home/alice/file')).toMatchObject({ failure: { detail: 'no mounts' } });
  });
});

describe('the table of mounts', () => {
  it('is read again after a wait for a user, for other namespaces too', () => {
    const mounts = [{ id: 1, mountPoint: '/', fsType: 'ext4' }];
    const all = newUserBudgets(LIMITS, () => ok([...mounts]));
    const budget = all.of(1000);
    const other = () => budget.guardOf('mnt:[1]', () => ok([...mounts]));
    expect(budget.checkPath('/home/mallory/file')).toMatchObject({ ok: true });
    expect(other().checkMountId(2)).toMatchObject({ ok: false });
    mounts.push({ id: 2, mountPoint: '/home/mallory', fsType: 'fuse' }, { id: 3, mountPoint: '/', fsType: 'ext4' });
    expect(budget.checkPath('/home/mallory')).toMatchObject({ ok: true });
    all.forgetMounts();
    expect(budget.checkPath('/home/mallory')).toMatchObject({ failure: { code: 'io' } });
    expect(other().checkMountId(3)).toMatchObject({ ok: true });
  });
});

describe('the budget of a reaper that a user runs for themselves', () => {
  it('lets every path be touched: whatever that user has mounted, their own service may wait for it', () => {
    const own = newUserBudgets(LIMITS, null).of(1000);
    expect(own.checkPath('/proc/self/mountinfo')).toMatchObject({ ok: true });
    expect(own.guard().checkMountId(-1)).toMatchObject({ ok: true });
  });
});

describe('budgets over many sweeps', () => {
  it('are one for each user', () => {
    const all = budgets();
    all.of(1000).charge(2000);
    expect(all.of(1000).exhausted()).toBe(true);
    expect(all.of(1001).exhausted()).toBe(false);
    expect(all.whyLeftAlone(1000)).toMatch(/^reading for uid 1000 takes more than 20 ms, /);
    expect(all.whyLeftAlone(1001)).toBeNull();
  });

  it('leave a user alone for 2, 4, 8 and then up to 64 sweeps, as long as the budget does not suffice', () => {
    const all = budgets();
    const tried: number[] = [];
    for (let sweep = 0; sweep < 270; sweep++) {
      all.beginSweep();
      const budget = all.of(1000);
      if (!budget.exhausted()) tried.push(sweep);
      budget.charge(2000);
      expect(all.whyLeftAlone(1000)).not.toBeNull();
    }
    expect(tried.map((sweep, index) => sweep - (tried[index - 1] ?? 0))).toEqual([0, 3, 5, 9, 17, 33, 65, 65, 65]);
  });

  it('let a user read on with half of the time once, and then with a small part of that a sweep', () => {
    const all = budgets();
    const stepsOf2Ms = (): number => {
      all.beginSweep();
      const budget = all.of(1000);
      let steps = 0;
      for (; !budget.readAheadExhausted(); steps++) budget.readAhead(() => burn(2));
      return steps;
    };
    expect(stepsOf2Ms()).toBeGreaterThan(0);
    expect(Array.from({ length: 19 }, stepsOf2Ms).reduce((sum, steps) => sum + steps)).toBeLessThanOrEqual(1);
    expect(all.whyLeftAlone(1000)).toBeNull();
  });

  it('forget the misses of a user whose budget sufficed once', () => {
    const all = budgets();
    const triedIn = (sweeps: number, bytes: number): number => {
      let tries = 0;
      for (let sweep = 0; sweep < sweeps; sweep++) {
        all.beginSweep();
        if (!all.of(1000).exhausted()) tries += 1;
        all.of(1000).charge(bytes);
      }
      return tries;
    };
    expect(triedIn(9, 2000)).toBe(3);
    expect(triedIn(10, 10)).toBe(2);
    expect(triedIn(10, 10)).toBe(10);
    expect(all.whyLeftAlone(1000)).toBeNull();
    expect(triedIn(3, 2000)).toBe(1);
  });
});
