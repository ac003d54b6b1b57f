import { describe, expect, it } from 'vitest';
import { limitsOf, pressureLimitsOf, underPressure } from '../../src/config/limits.ts';
import { type ConfigInput, loadConfig } from '../../src/config/load.ts';
import { HOUR, LIMITS, MINUTE, SECOND } from './evidence.ts';

const load = (environment: ConfigInput['environment'] = {}) =>
  loadConfig({ file: null, environment, options: {}, asRoot: false, home: '/nonexistent' });

describe('limitsOf', () => {
  it('are the defaults', () => expect(limitsOf(load().config)).toEqual(LIMITS));
  it('are what is configured', () => {
    const { config } = load({
      CLAY_REAPER_GRACE_PERIOD: '1m',
      CLAY_REAPER_PARKED_AFTER: '2h',
      CLAY_REAPER_MAX_PARKED: '3',
      CLAY_REAPER_MIN_AGE: '4s',
      CLAY_REAPER_CPU_IDLE_BELOW: '5',
      CLAY_REAPER_STALE_CONNECTION_AFTER: 'never',
      CLAY_REAPER_PROTECT_PROJECTS: 'shop',
      CLAY_REAPER_PROTECT_SESSIONS: 'CD7ECE16-29E6-474A-94B5-BD0998C39C7C',
    });
    expect(limitsOf(config)).toEqual({
      gracePeriodMs: MINUTE,
      parkedAfterMs: 2 * HOUR,
      maxParked: 3,
      minAgeMs: 4 * SECOND,
      cpuIdleBelow: 5,
      staleConnectionAfterMs: Number.POSITIVE_INFINITY,
      protectedProjects: ['shop'],
      // As session files have them.
      protectedSessions: ['cd7ece16-29e6-474a-94b5-bd0998c39c7c'],
    });
  });
  it('with --now have no waits, and everything else holds', () => {
    const { config } = load({ CLAY_REAPER_PARKED_AFTER: 'never', CLAY_REAPER_PROTECT_PROJECTS: 'shop' });
    expect(limitsOf(config, true)).toEqual({
      ...LIMITS,
      gracePeriodMs: 0,
      parkedAfterMs: 0,
      protectedProjects: ['shop'],
    });
  });
});

describe('under memory pressure', () => {
  it('nothing changes unless it is configured', () => expect(pressureLimitsOf(load())).toBeNull());
  it.each([
    [{ CLAY_REAPER_PRESSURE_SOME_AVG10: '20' }, 20, 30 * SECOND, 2 * MINUTE],
    [{ CLAY_REAPER_PRESSURE_GRACE_PERIOD: '10s' }, 20, 10 * SECOND, 2 * MINUTE],
    [{ CLAY_REAPER_PRESSURE_PARKED_AFTER: '1m', CLAY_REAPER_PRESSURE_SOME_AVG10: '5.5' }, 5.5, 30 * SECOND, MINUTE],
    // What is given counts, be it the default.
    [{ CLAY_REAPER_PRESSURE_GRACE_PERIOD: '30s' }, 20, 30 * SECOND, 2 * MINUTE],
  ])('other waits hold with %j', (environment, someAvg10, gracePeriodMs, parkedAfterMs) => {
    expect(pressureLimitsOf(load(environment))).toEqual({ someAvg10, gracePeriodMs, parkedAfterMs });
  });
  it('the waits become shorter, and nothing else', () => {
    const pressure = { someAvg10: 20, gracePeriodMs: 30 * SECOND, parkedAfterMs: 2 * MINUTE };
    expect(underPressure({ ...LIMITS, minAgeMs: 7 }, pressure)).toEqual({
      ...LIMITS,
      minAgeMs: 7,
      gracePeriodMs: 30 * SECOND,
      parkedAfterMs: 2 * MINUTE,
    });
  });
  it('the waits never become longer', () => {
    const pressure = { someAvg10: 20, gracePeriodMs: HOUR, parkedAfterMs: Number.POSITIVE_INFINITY };
    expect(underPressure(LIMITS, pressure)).toEqual(LIMITS);
    expect(underPressure({ ...LIMITS, gracePeriodMs: 0, parkedAfterMs: 0 }, pressure)).toMatchObject({
      gracePeriodMs: 0,
      parkedAfterMs: 0,
    });
  });
});
