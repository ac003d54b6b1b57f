import { setMaxListeners } from 'node:events';
import type { Assessment } from '../assess.ts';
import { dryRunSource, type LoadedConfig, UsageError } from '../config/load.ts';
import { programIdentity } from '../fs/program-file.ts';
import { appendReaped } from '../history/record.ts';
import { recordTrial, type TrialState } from '../history/trial.ts';
import { sleep } from '../sleep.ts';
import { newSweepState, type SweepResult, type SweepSettings, sweep } from '../sweep.ts';
import { runHooks } from './hooks.ts';
import type { Log } from './log.ts';
import { logEventsFor, nothingLogged, startMessage } from './log-events.ts';
import type { Metrics } from './metrics.ts';
import type { Notifier } from './notify.ts';
import { addSweep, emptyStats, formatStatusLine } from './stats.ts';

/** The configuration, and the settings of a sweep that follow from it. */
export type ServiceConfig = LoadedConfig & { readonly settings: SweepSettings };

/** What the service runs on. */
export type ServiceOptions = {
  /** Reads the configuration again; throws a UsageError. */
  readonly load: () => ServiceConfig;
  readonly initial: ServiceConfig;
  readonly log: Log;
  readonly notifier: Notifier;
  readonly version: string;
  /** The path of this program's file. */
  readonly program: string;
  /** {@link sweep}, unless a test replaces it. */
  readonly sweep?: (abort: AbortSignal, settings: SweepSettings) => Promise<SweepResult>;
};

/** The state of a running service. */
export type Service = ServiceOptions & {
  readonly sweep: NonNullable<ServiceOptions['sweep']>;
  readonly stop: AbortController;
  stoppedBy: NodeJS.Signals | null;
  /** Ends the wait for the next sweep. */
  wake: AbortController;
  current: ServiceConfig;
  logged: typeof nothingLogged;
  /** The hooks that still run: one after the other. */
  hooks: Promise<void>;
  trial: TrialState;
  stats: typeof emptyStats;
  metrics: Metrics | null;
  lastWarning: string;
  /** {@link programIdentity} at the start; null once it was logged that there is another one. */
  identity: string | null;
};

/** After a stop order, a sweep under way gets this long to finish the terminations that it began. */
const SHUTDOWN_GRACE_MS = 700;

/** The longest that a sweep takes beside `kill_after`: two queries of Clay, a SIGKILL, and the surviving descendants. */
const SWEEP_OVERHEAD_MS = 20_000;

/**
 * V8 collects its old generation only when it has grown by some MB. The unit allows explicit collections (--expose-gc); one
 * takes 6 ms.
 */
const GC_EVERY_SWEEPS = 200;

/** Sweeps again and again until SIGTERM or SIGINT. SIGHUP reloads the configuration. */
export async function runService(options: ServiceOptions): Promise<void> {
  const service = createService(options);
  const onStop = (signal: NodeJS.Signals): void => requestStop(service, signal);
  process
    .on('SIGTERM', onStop)
    .on('SIGINT', onStop)
    .on('SIGHUP', () => void reload(service));
  await serve(service);
}

/** The whole life of a service, until {@link requestStop}. */
export async function serve(service: Service): Promise<void> {
  const { log, notifier, version } = service;
  const { config, file } = service.current;
  log.info({ event: 'started', version, dryRun: config.dry_run, file }, startMessage(version, service.current));
  if (process.pid === 1) warnOnce(service, PID_1_WARNING);
  // Before the first sweep, which may be slow: what a user lets it read must not run into the start timeout.
  await notifyReady(service, 'the first sweep has begun');
  await sweepUntilStopped(service);
  log.info({ event: 'stopped', signal: service.stoppedBy }, `stopped by ${service.stoppedBy}`);
  await notifier.stopping(`stopped by ${service.stoppedBy}`);
}

/** Node waits for its own children only: wait(2) for others is not in its API. */
const PID_1_WARNING =
  'runs as PID 1, to which the orphans of a container belong, and cannot collect them when they end (zombies): start the container with an init, "docker run --init" or "init: true" in a compose file';

/** The state of a service that has not swept yet. */
export function createService(options: ServiceOptions): Service {
  const state = newSweepState(options.initial.settings.procRoot);
  const stop = new AbortController();
  // Each process that is being ended listens to it, and there may be hundreds.
  setMaxListeners(0, stop.signal);
  return {
    sweep: (abort, settings) => sweep(settings, state, abort),
    ...options,
    stop,
    stoppedBy: null,
    wake: new AbortController(),
    current: options.initial,
    logged: nothingLogged,
    hooks: Promise.resolve(),
    trial: new Map(),
    stats: emptyStats,
    metrics: null,
    lastWarning: '',
    identity: programIdentity(options.program),
  };
}

/** Stops the loop: aborts the wait between two sweeps, and the terminations of a sweep under way. */
export function requestStop(service: Service, signal: NodeJS.Signals): void {
  service.stoppedBy ??= signal;
  service.stop.abort();
  service.wake.abort();
}

/** Reads the configuration again; an invalid one is logged, and the old one stays in force. */
export async function reload(service: Service): Promise<void> {
  const { log, notifier } = service;
  warnOnce(service, await notifier.reloading());
  try {
    service.current = service.load();
    service.logged = { ...service.logged, unknownProjects: new Set() };
    log.level = service.current.config['log.level'];
    log.format = service.current.config['log.format'];
    log.info({ event: 'reloaded', file: service.current.file }, 'the configuration was read again');
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    log.error({ event: 'reload-refused', error: error.message }, `the configuration stays as it was: ${error.message}`);
  }
  await notifyReady(service, statusLine(service));
  // The time between two sweeps may be shorter now.
  service.wake.abort();
}

/** The loop: sweep, wait for the rest of `poll_interval`, until {@link requestStop}. A sweep that fails is logged. */
export async function sweepUntilStopped(service: Service): Promise<void> {
  for (let sweeps = 1; !service.stop.signal.aborted; sweeps++) {
    const startedMs = performance.now();
    const done = sweepOnce(service).catch((error: unknown) => {
      service.log.error(
        { event: 'sweep-failed', error: String(error) },
        `this sweep failed, the next one follows: ${error}`,
      );
    });
    await settledOrAborted(done, service.stop.signal);
    if (sweeps % GC_EVERY_SWEEPS === 0) globalThis.gc?.();
    if (service.stop.signal.aborted) {
      await Promise.race([done, sleep(SHUTDOWN_GRACE_MS, null)]);
      return;
    }
    // A reload in the middle of the sweep is in force already.
    if (service.wake.signal.aborted) service.wake = new AbortController();
    await sleep(service.current.config.poll_interval - (performance.now() - startedMs), service.wake.signal);
  }
}

/** One sweep, and everything that reports it: log, history, metrics, systemd. */
export async function sweepOnce(service: Service): Promise<void> {
  const { log, notifier } = service;
  const startedMs = performance.now();
  // Only the line about each sweep says what it took, at the level debug; getrusage(2) takes 1 % of a sweep.
  const startedCpu = log.isLevelEnabled('debug') ? process.cpuUsage() : null;
  const { dryRun } = service.current.settings;
  const result = await service.sweep(service.stop.signal, service.current.settings);
  const { assessment, reaped } = result;
  const took = startedCpu && { ms: performance.now() - startedMs, cpuMs: cpuSinceMs(startedCpu) };
  const { entries, logged } = logEventsFor(service.logged, assessment, reaped, dryRun, took);
  service.logged = logged;
  for (const { level, event, message, fields } of entries) log[level]({ event, ...fields }, message);
  if (dryRun) warnOnce(service, updateTrial(service, assessment));
  else keepRecords(service, result);
  service.stats = addSweep(service.stats, assessment, reaped);
  await writeMetrics(service, result, (performance.now() - startedMs) / 1000);
  warnIfOutdated(service);
  warnOnce(service, await notifier.sweepCompleted(statusLine(service)));
}

function cpuSinceMs(earlier: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(earlier);
  return (user + system) / 1000;
}

/** Logs once that an update has replaced this program: the service goes on with the old one until it is restarted. */
function warnIfOutdated(service: Service): void {
  if (service.identity === null) return;
  const identity = programIdentity(service.program);
  if (identity === null || identity === service.identity) return;
  service.identity = null;
  const text =
    'another version of clay-reaper was installed; restart the service to run it: systemctl restart clay-reaper';
  service.log.warn({ event: 'warning', error: text }, text);
}

/** Writes the history and runs the hook, for which no sweep waits. */
function keepRecords(service: Service, { assessment, reaped }: SweepResult): void {
  const { problem, records } = appendReaped(assessment, reaped, Date.now());
  warnOnce(service, problem);
  const hook = service.current.config['hooks.on_reaped'];
  if (hook) service.hooks = service.hooks.then(async () => warnOnce(service, await runHooks(hook, records)));
}

function updateTrial(service: Service, assessment: Assessment): string | undefined {
  const { state, problem } = recordTrial(service.trial, assessment, Date.now());
  service.trial = state;
  return problem;
}

const statusLine = ({ stats, current }: Service): string => formatStatusLine(stats, dryRunSource(current));

async function notifyReady(service: Service, status: string): Promise<void> {
  const { config } = service.current;
  const sweepGapMs = config.poll_interval + config.kill_after + SWEEP_OVERHEAD_MS;
  warnOnce(service, await service.notifier.ready(status, sweepGapMs));
}

async function writeMetrics(service: Service, result: SweepResult, seconds: number): Promise<void> {
  const textfile = service.current.config['metrics.textfile'];
  if (textfile === '') return;
  // Loaded only if configured: the package takes some MB.
  const { createMetrics, metricsFile, writeTextfile } = await import('./metrics.ts');
  service.metrics ??= createMetrics(service.version);
  service.metrics.count(result.assessment, result.reaped, seconds, service.current.config.dry_run);
  const path = metricsFile(textfile, process.env.RUNTIME_DIRECTORY);
  warnOnce(service, writeTextfile(path, await service.metrics.text()));
}

/** Logs a problem that does not stop the service. The same one comes back with every sweep, so it is logged once. */
function warnOnce(service: Service, problem: string | undefined): void {
  if (problem === undefined || problem === service.lastWarning) return;
  service.lastWarning = problem;
  service.log.warn({ event: 'warning', error: problem }, problem);
}

/** Resolves when the work is done, or when `abort` fires. */
const settledOrAborted = (work: Promise<void>, abort: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      abort.removeEventListener('abort', done);
      resolve();
    };
    abort.addEventListener('abort', done);
    void work.then(done);
  });
