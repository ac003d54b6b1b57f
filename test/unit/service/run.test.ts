import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { UsageError } from '../../../src/config/load.ts';
import type { Config } from '../../../src/config/settings.ts';
import type { Log } from '../../../src/service/log.ts';
import type { Notifier } from '../../../src/service/notify.ts';
import {
  createService,
  reload,
  requestStop,
  type Service,
  type ServiceConfig,
  type ServiceOptions,
  serve,
  sweepOnce,
  sweepUntilStopped,
} from '../../../src/service/run.ts';
import { sleep } from '../../../src/sleep.ts';
import type { SweepResult } from '../../../src/sweep.ts';
import { lookWith, reapedAs } from '../../helpers/assessment.ts';
import { waitFor } from '../../helpers/wait-for.ts';

let stateDirectory: string;
beforeEach(() => {
  stateDirectory = mkdtempSync(join(tmpdir(), 'clay-reaper-run-'));
  vi.stubEnv('STATE_DIRECTORY', stateDirectory);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(stateDirectory, { recursive: true, force: true });
});

const configWith = (config: Partial<Config> = {}, dryRun = false): ServiceConfig =>
  ({
    config: {
      poll_interval: 3_600_000,
      kill_after: 30_000,
      'metrics.textfile': '',
      'log.level': 'info',
      ...config,
    },
    given: { poll_interval: '30s', grace_period: '5m', parked_after: '30m' },
    file: null,
    settings: { dryRun },
  }) as unknown as ServiceConfig;

const quiet: SweepResult = { assessment: lookWith(), reaped: [] };

type LogLine = { readonly level: string; readonly event: string };

/** A service whose sweeps, log and messages to systemd are recorded; its history goes into a directory of its own. */
function serviceWith(overrides: Partial<ServiceOptions> = {}): {
  service: Service;
  lines: LogLine[];
  notified: string[];
  events: () => string[];
} {
  const lines: LogLine[] = [];
  const notified: string[] = [];
  const record = (level: string) => (fields: { event: string }) => void lines.push({ level, event: fields.event });
  const levels = ['debug', 'info', 'warn', 'error'].map((level) => [level, record(level)] as const);
  const notify = (name: string) => async (): Promise<undefined> => void notified.push(name);
  const notifier: Notifier = {
    ready: notify('ready'),
    sweepCompleted: notify('sweepCompleted'),
    status: notify('status'),
    reloading: notify('reloading'),
    stopping: notify('stopping'),
  };
  const log = { level: 'info', isLevelEnabled: (level: string) => level === log.level, ...Object.fromEntries(levels) };
  const service = createService({
    load: configWith,
    initial: configWith(),
    log: log as unknown as Log,
    notifier,
    version: '1.2.3',
    program: join(stateDirectory, 'clay-reaper.js'),
    sweep: async () => quiet,
    ...overrides,
  });
  return { service, lines, notified, events: () => lines.map(({ event }) => event) };
}

/** A sweep that lasts until it is finished by hand; `begun` resolves when it begins. */
function manualSweep(): { sweep: NonNullable<ServiceOptions['sweep']>; begun: Promise<void>; finish: () => void } {
  let begin = (): void => {};
  let finish = (): void => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const result = new Promise<SweepResult>((resolve) => {
    finish = () => resolve(quiet);
  });
  const sweep = () => {
    begin();
    return result;
  };
  return { sweep, begun, finish: () => finish() };
}

describe('sweepUntilStopped', () => {
  it('sweeps, waits for the poll interval, and sweeps again', async () => {
    const times: number[] = [];
    const { service } = serviceWith({
      initial: configWith({ poll_interval: 100 }),
      sweep: async () => {
        times.push(performance.now());
        if (times.length === 3) requestStop(service, 'SIGTERM');
        return quiet;
      },
    });
    await sweepUntilStopped(service);
    expect(times).toHaveLength(3);
    const [first = 0, second = 0] = times;
    expect(second - first).toBeGreaterThan(90);
  });

  it('logs a sweep that fails, and the next one follows', async () => {
    let sweeps = 0;
    const { service, lines } = serviceWith({
      initial: configWith({ poll_interval: 0 }),
      sweep: async () => {
        sweeps += 1;
        if (sweeps === 1) throw new Error('out of descriptors');
        requestStop(service, 'SIGTERM');
        return quiet;
      },
    });
    await sweepUntilStopped(service);
    expect(sweeps).toBe(2);
    expect(lines.filter(({ event }) => event === 'sweep-failed')).toEqual([{ level: 'error', event: 'sweep-failed' }]);
  });

  it('ends at once if it is stopped between two sweeps', async () => {
    const { service, notified } = serviceWith();
    const running = sweepUntilStopped(service);
    await waitFor('the first sweep is over', () => notified.length > 0);
    const startedMs = performance.now();
    requestStop(service, 'SIGTERM');
    await running;
    expect(performance.now() - startedMs).toBeLessThan(500);
  });

  it('gives a sweep that is under way a moment to finish, and no more, when it is stopped', async () => {
    const { sweep, begun } = manualSweep();
    const { service } = serviceWith({ sweep });
    const running = sweepUntilStopped(service);
    await begun;
    const startedMs = performance.now();
    requestStop(service, 'SIGTERM');
    await running;
    const elapsedMs = performance.now() - startedMs;
    expect(elapsedMs).toBeGreaterThan(600);
    expect(elapsedMs).toBeLessThan(5_000);
  });

  it('reports a sweep that finishes right after the stop order', async () => {
    const { sweep, begun, finish } = manualSweep();
    const { service, notified } = serviceWith({ sweep });
    const running = sweepUntilStopped(service);
    await begun;
    requestStop(service, 'SIGTERM');
    finish();
    await running;
    expect(notified).toEqual(['sweepCompleted']);
  });
});

describe('serve', () => {
  it('is ready before its first sweep ends', async () => {
    const { sweep, begun } = manualSweep();
    const { service, notified } = serviceWith({ sweep });
    const running = serve(service);
    await begun;
    expect(notified).toEqual(['ready']);
    requestStop(service, 'SIGTERM');
    await running;
  });

  it('logs its start and its end, and tells systemd that it stops', async () => {
    const { service, events, notified } = serviceWith({
      sweep: async () => {
        requestStop(service, 'SIGTERM');
        return quiet;
      },
    });
    await serve(service);
    expect(events().at(0)).toBe('started');
    expect(events().at(-1)).toBe('stopped');
    expect(notified).toEqual(['ready', 'sweepCompleted', 'stopping']);
  });
});

describe('requestStop', () => {
  it('aborts the sweep under way, and keeps the first signal', () => {
    const { service } = serviceWith();
    requestStop(service, 'SIGINT');
    requestStop(service, 'SIGTERM');
    expect(service.stop.signal.aborted).toBe(true);
    expect(service.stoppedBy).toBe('SIGINT');
  });
});

describe('sweepOnce', () => {
  it('tells systemd that the sweep is complete', async () => {
    const { service, notified } = serviceWith();
    await sweepOnce(service);
    expect(notified).toEqual(['sweepCompleted']);
  });

  it('does not feed the watchdog for a sweep that fails', async () => {
    const { service, notified } = serviceWith({ sweep: () => Promise.reject(new Error('broken')) });
    await expect(sweepOnce(service)).rejects.toThrow('broken');
    expect(notified).toEqual([]);
  });

  it('passes the settings in force and the stop signal to the sweep', async () => {
    const sweep = vi.fn(async () => quiet);
    const { service } = serviceWith({ sweep });
    await sweepOnce(service);
    expect(sweep).toHaveBeenCalledWith(service.stop.signal, service.current.settings);
  });

  it('logs a state once, not with each sweep', async () => {
    const { service, events } = serviceWith();
    await sweepOnce(service);
    await sweepOnce(service);
    expect(events().filter((event) => event === 'clay-found')).toHaveLength(1);
  });

  it('says what a sweep took at the level debug, and does not measure it otherwise', async () => {
    const { service, events } = serviceWith();
    const cpuUsage = vi.spyOn(process, 'cpuUsage');
    await sweepOnce(service);
    expect(events()).not.toContain('sweep');
    expect(cpuUsage).not.toHaveBeenCalled();
    service.log.level = 'debug';
    await sweepOnce(service);
    expect(events()).toContain('sweep');
    cpuUsage.mockRestore();
  });

  it('logs what was ended and adds its memory to the statistics', async () => {
    const result = reapedAs('terminated');
    const { service, events } = serviceWith({ sweep: async () => ({ ...quiet, reaped: [result] }) });
    await sweepOnce(service);
    expect(events()).toContain('reaped');
    expect(service.stats.reclaimedBytes).toBe(result.judgement.evidence.rssBytes);
  });

  it('logs a problem that comes back with every sweep only once', async () => {
    vi.stubEnv('STATE_DIRECTORY', '/dev/null/nothing');
    const { service, events } = serviceWith({ sweep: async () => ({ ...quiet, reaped: [reapedAs('terminated')] }) });
    await sweepOnce(service);
    await sweepOnce(service);
    expect(events().filter((event) => event === 'warning')).toHaveLength(1);
  });
});

describe('reload', () => {
  it('puts the new configuration and log level in force, and ends the wait for the next sweep', async () => {
    const next = configWith({ poll_interval: 1_000, 'log.level': 'debug' }, true);
    const { service, events } = serviceWith({ load: () => next });
    const { wake } = service;
    await reload(service);
    expect(service.current).toBe(next);
    expect(service.log.level).toBe('debug');
    expect(wake.signal.aborted).toBe(true);
    expect(events()).toEqual(['reloaded']);
  });

  it('keeps the old configuration and logs an error if the new one is invalid', async () => {
    const { service, lines } = serviceWith({
      load: () => {
        throw new UsageError('config.toml: bad value');
      },
    });
    const { current } = service;
    await reload(service);
    expect(service.current).toBe(current);
    expect(lines).toEqual([{ level: 'error', event: 'reload-refused' }]);
  });

  it('tells systemd that the reload begins and is over', async () => {
    const { service, notified } = serviceWith();
    await sweepOnce(service);
    await reload(service);
    expect(notified).toEqual(['sweepCompleted', 'reloading', 'ready']);
  });

  it('begins the next sweep at once, in the running loop, and waits again after it', async () => {
    let sweeps = 0;
    const { service, notified } = serviceWith({
      sweep: async () => {
        sweeps += 1;
        // Lets timers run even if the loop never waits.
        await setImmediate();
        return quiet;
      },
    });
    const running = sweepUntilStopped(service);
    await waitFor('it has swept and waits', () => notified.includes('sweepCompleted'));
    await reload(service);
    await waitFor('it has swept again', () => sweeps >= 2);
    await sleep(50, null);
    const sweepsAfterWait = sweeps;
    requestStop(service, 'SIGTERM');
    await running;
    expect(sweepsAfterWait).toBe(2);
  });
});

describe('an update of the program', () => {
  it('is logged once, because the service goes on with the old one', async () => {
    const program = join(stateDirectory, 'clay-reaper.js');
    writeFileSync(program, 'old');
    const { service, events } = serviceWith();
    await sweepOnce(service);
    expect(events()).not.toContain('warning');
    writeFileSync(`${program}.new`, 'new');
    renameSync(`${program}.new`, program);
    await sweepOnce(service);
    await sweepOnce(service);
    expect(events().filter((event) => event === 'warning')).toHaveLength(1);
  });
  it('is logged as well if the program was removed', async () => {
    const program = join(stateDirectory, 'clay-reaper.js');
    writeFileSync(program, 'old');
    const { service, events } = serviceWith();
    rmSync(program);
    await sweepOnce(service);
    expect(events()).toContain('warning');
  });
});
