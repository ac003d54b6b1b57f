import { describe, expect, it } from 'vitest';
import { type ConfigInput, loadConfig } from '../../../src/config/load.ts';
import { policyFrom, pressurePolicyFrom } from '../../../src/config/policy.ts';
import { applyPressure } from '../../../src/judge/policy.ts';
import { HOUR, LIMITS, MINUTE, SECOND } from '../../helpers/evidence.ts';

const load = (environment: ConfigInput['environment'] = {}) =>
  loadConfig({ file: null, environment, options: {}, asRoot: false, home: '/nonexistent' });

describe('policyFrom', () => {
  it('returns the default policy for the default configuration', () =>
    expect(policyFrom(load().config)).toEqual(LIMITS));
  it('takes every value from the configuration', () => {
    const { config } = load({
      CLAY_REAPER_GRACE_PERIOD: '1m',
      CLAY_REAPER_PARKED_AFTER: '2h',
      CLAY_REAPER_MAX_PARKED: '3',
      CLAY_REAPER_MIN_AGE: '4s',
      CLAY_REAPER_CPU_IDLE_BELOW: '7',
      CLAY_REAPER_STALE_CONNECTION_AFTER: 'never',
      CLAY_REAPER_PROTECT_PROJECTS: 'shop',
      CLAY_REAPER_PROTECT_SESSIONS: 'CD7ECE16-29E6-474A-94B5-BD0998C39C7C',
    });
    expect(policyFrom(config)).toEqual({
      gracePeriodMs: MINUTE,
      parkedAfterMs: 2 * HOUR,
      maxParked: 3,
      minAgeMs: 4 * SECOND,
      cpuIdleBelow: 7,
      staleConnectionAfterMs: Number.POSITIVE_INFINITY,
      protectedProjects: ['shop'],
      // As session files have them.
      protectedSessions: ['cd7ece16-29e6-474a-94b5-bd0998c39c7c'],
    });
  });
  it('sets only the waits to zero with --now', () => {
    const { config } = load({ CLAY_REAPER_PARKED_AFTER: 'never', CLAY_REAPER_PROTECT_PROJECTS: 'shop' });
    expect(policyFrom(config, true)).toEqual({
      ...LIMITS,
      gracePeriodMs: 0,
      parkedAfterMs: 0,
      protectedProjects: ['shop'],
    });
  });
});

describe('pressurePolicyFrom and applyPressure', () => {
  it('change nothing unless a key of [pressure] is set', () => expect(pressurePolicyFrom(load())).toBeNull());
  it.each([
    [{ CLAY_REAPER_PRESSURE_SOME_AVG10: '20' }, 20, 30 * SECOND, 2 * MINUTE],
    [{ CLAY_REAPER_PRESSURE_GRACE_PERIOD: '10s' }, 20, 10 * SECOND, 2 * MINUTE],
    [{ CLAY_REAPER_PRESSURE_PARKED_AFTER: '1m', CLAY_REAPER_PRESSURE_SOME_AVG10: '5.5' }, 5.5, 30 * SECOND, MINUTE],
    // What is given counts, be it the default.
    [{ CLAY_REAPER_PRESSURE_GRACE_PERIOD: '30s' }, 20, 30 * SECOND, 2 * MINUTE],
  ])('other waits hold with %j', (environment, someAvg10, gracePeriodMs, parkedAfterMs) => {
    expect(pressurePolicyFrom(load(environment))).toEqual({ someAvg10, gracePeriodMs, parkedAfterMs });
  });
  it('shorten the waits and change nothing else', () => {
    const pressure = { someAvg10: 20, gracePeriodMs: 30 * SECOND, parkedAfterMs: 2 * MINUTE };
    expect(applyPressure({ ...LIMITS, minAgeMs: 7 }, pressure)).toEqual({
      ...LIMITS,
      minAgeMs: 7,
      gracePeriodMs: 30 * SECOND,
      parkedAfterMs: 2 * MINUTE,
    });
  });
  it('never make a wait longer', () => {
    const pressure = { someAvg10: 20, gracePeriodMs: HOUR, parkedAfterMs: Number.POSITIVE_INFINITY };
    expect(applyPressure(LIMITS, pressure)).toEqual(LIMITS);
    expect(applyPressure({ ...LIMITS, gracePeriodMs: 0, parkedAfterMs: 0 }, pressure)).toMatchObject({
      gracePeriodMs: 0,
      parkedAfterMs: 0,
    });
  });
});
