import { setMaxListeners } from 'node:events';
import { type LoadedConfig, UsageError } from '../config/load.ts';
import type { Host } from '../observe/host.ts';
import type { Log } from '../output/log.ts';
import { pause } from '../reap/signals.ts';
import { emptyState, type Look, look, type Reaped, type SweepSettings, type SweepState, sweep } from '../sweep.ts';
import { settingsOf } from '../sweep-settings.ts';
import type { Metrics } from './metrics.ts';
import { narrate, nothingTold } from './narrate.ts';
import { createNotifier } from './notify.ts';
import { recordReaped } from './record.ts';
import { addToTally, emptyTally, inWords } from './tally.ts';

/** What the service runs on. */
export type Service = {
  readonly host: Host;
  /** Reads the configuration; throws a UsageError. */
  readonly load: () => LoadedConfig;
  readonly first: LoadedConfig;
  readonly log: Log;
  readonly version: string;
};

/** How long a sweep that is cut short may take to let go of what it has in hand. */
const LET_GO_MS = 700;

/** What a sweep can take beside `kill_after`: asking Clay twice, a SIGKILL, and what that leaves behind. */
const SWEEP_TAKES_MS = 20_000;

/**
 * V8 by itself collects what has grown old only when there are some MB of it. The unit lets the service say when
 * (--expose-gc): that takes 6 ms, and now and then is enough.
 */
const SWEEPS_TO_COLLECT_AFTER = 200;

/** Sweeps again and again until SIGTERM or SIGINT. SIGHUP reads the configuration again. */
export async function serve(service: Service): Promise<void> {
  const { host, log } = service;
  const notifier = createNotifier(process.env);
  const stop = new AbortController();
  // Each process that is being ended listens to it, and there may be hundreds.
  setMaxListeners(0, stop.signal);
  const state = emptyState();
  let { config } = service.first;
  let settings = settingsOf(host, service.first);
  let told = nothingTold;
  let tally = emptyTally;
  let stoppedBy = '';
  // The wait between two sweeps: made anew for each, so that nothing gathers on it in a year of sweeps.
  let nap = new AbortController();
  let isReady = false;
  let metrics: Metrics | null = null;
  let lastTrouble = '';
  let sweeps = 0;

  // The same trouble comes with every sweep: it is told once.
  const complain = (problem: string | undefined): void => {
    if (problem === undefined || problem === lastTrouble) return;
    lastTrouble = problem;
    log.warn({ event: 'trouble', error: problem }, problem);
  };
  const countSweep = async (found: Look, reaped: readonly Reaped[], begun: number): Promise<void> => {
    const textfile = config['metrics.textfile'];
    if (textfile === '') return;
    // Loaded only where they are wanted: they cost some MB.
    const { createMetrics, metricsFile, writeTextfile } = await import('./metrics.ts');
    metrics ??= createMetrics();
    metrics.count(found, reaped, (performance.now() - begun) / 1000);
    complain(writeTextfile(metricsFile(textfile, process.env.RUNTIME_DIRECTORY), await metrics.text()));
  };
  const ready = async (): Promise<void> =>
    complain(await notifier.ready(inWords(tally), config.poll_interval + config.kill_after + SWEEP_TAKES_MS));

  const onStop = (signal: NodeJS.Signals): void => {
    stoppedBy ||= signal;
    stop.abort();
    nap.abort();
  };
  const onReload = async (): Promise<void> => {
    complain(await notifier.reloading());
    try {
      const loaded = service.load();
      config = loaded.config;
      settings = settingsOf(host, loaded);
      log.level = config['log.level'];
      log.info({ event: 'reloaded', file: loaded.file }, 'the configuration was read again');
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      log.error(
        { event: 'reload-refused', error: error.message },
        `the configuration stays as it was: ${error.message}`,
      );
    }
    if (isReady) await ready();
    // The time between two sweeps may be shorter now.
    nap.abort();
  };
  process
    .on('SIGTERM', onStop)
    .on('SIGINT', onStop)
    .on('SIGHUP', () => void onReload());

  const sweepOnce = async (begun: number): Promise<void> => {
    const { found, reaped } = await sweepOrLook(settings, state, config.dry_run, stop.signal);
    const story = narrate(told, found, reaped, config.dry_run);
    told = story.told;
    for (const { level, event, message, fields } of story.lines) log[level]({ event, ...fields }, message);
    complain(recordReaped(reaped, Date.now()));
    tally = addToTally(tally, found, reaped);
    await countSweep(found, reaped, begun);
    // Its first sweep reaps nothing, for nothing is measured yet: it is the proof that the work can be done.
    if (isReady) return complain(await notifier.swept(inWords(tally)));
    isReady = true;
    await ready();
  };

  log.info({ event: 'started', version: service.version, dryRun: config.dry_run, file: service.first.file }, 'started');
  while (!stop.signal.aborted) {
    const begun = performance.now();
    const done = sweepOnce(begun).catch((error: unknown) => {
      log.error({ event: 'sweep-failed', error: String(error) }, `this sweep failed, the next one follows: ${error}`);
    });
    await settled(done, stop.signal);
    sweeps += 1;
    if (sweeps % SWEEPS_TO_COLLECT_AFTER === 0) globalThis.gc?.();
    if (stop.signal.aborted) await Promise.race([done, pause(LET_GO_MS, null)]);
    nap = new AbortController();
    if (!stop.signal.aborted) await pause(config.poll_interval - (performance.now() - begun), nap.signal);
  }
  log.info({ event: 'stopped', signal: stoppedBy }, `stopped by ${stoppedBy}`);
  await notifier.stopping(`stopped by ${stoppedBy}`);
}

/** Resolves when the work is done, or when `cut` fires. */
const settled = (work: Promise<void>, cut: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      cut.removeEventListener('abort', done);
      resolve();
    };
    cut.addEventListener('abort', done);
    void work.then(done);
  });

async function sweepOrLook(
  settings: SweepSettings,
  state: SweepState,
  dryRun: boolean,
  abort: AbortSignal,
): Promise<{ found: Look; reaped: Reaped[] }> {
  if (dryRun) return { found: await look(settings, state), reaped: [] };
  const swept = await sweep(settings, state, abort);
  return { found: swept.look, reaped: swept.reaped };
}
