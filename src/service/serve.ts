import { limitsOf } from '../config/limits.ts';
import type { LoadedConfig } from '../config/load.ts';
import { UsageError } from '../config/load.ts';
import { homesOfThisMachine } from '../observe/homes.ts';
import type { Host } from '../observe/host.ts';
import type { Log } from '../output/log.ts';
import { pause } from '../reap/signals.ts';
import { emptyState, look, type Reaped, type SweepSettings, sweep } from '../sweep.ts';
import { narrate, nothingTold } from './narrate.ts';

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

/** Sweeps again and again until SIGTERM or SIGINT. SIGHUP reads the configuration again. */
export async function serve(service: Service): Promise<void> {
  const { host, log } = service;
  const stop = new AbortController();
  let { config } = service.first;
  let settings = settingsOf(host, service.first);
  let stoppedBy = '';

  const onStop = (signal: NodeJS.Signals): void => {
    stoppedBy ||= signal;
    stop.abort();
  };
  const onReload = (): void => {
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
  };
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve()));
  process.on('SIGTERM', onStop).on('SIGINT', onStop).on('SIGHUP', onReload);

  log.info(
    { event: 'started', version: service.version, dryRun: config.dry_run, file: service.first.file },
    'clay-reaper started',
  );
  const state = emptyState();
  let told = nothingTold;
  while (!stop.signal.aborted) {
    const begun = performance.now();
    const work = async (): Promise<void> => {
      const { found, reaped } = config.dry_run
        ? await dryRun(settings, state)
        : await realRun(settings, state, stop.signal);
      const story = narrate(told, found, reaped, config.dry_run);
      told = story.told;
      for (const { level, event, message, fields } of story.lines) log[level]({ event, ...fields }, message);
    };
    const done = work().catch((error: unknown) => {
      log.error({ event: 'sweep-failed', error: String(error) }, `this sweep failed, the next one follows: ${error}`);
    });
    await Promise.race([done, stopped]);
    if (stop.signal.aborted) await Promise.race([done, pause(LET_GO_MS, null)]);
    await pause(config.poll_interval - (performance.now() - begun), stop.signal);
  }
  log.info({ event: 'stopped', signal: stoppedBy }, `stopped by ${stoppedBy}`);
}

type Swept = { found: Awaited<ReturnType<typeof look>>; reaped: Reaped[] };

async function realRun(
  settings: SweepSettings,
  state: ReturnType<typeof emptyState>,
  abort: AbortSignal,
): Promise<Swept> {
  const swept = await sweep(settings, state, abort);
  return { found: swept.look, reaped: swept.reaped };
}

const dryRun = async (settings: SweepSettings, state: ReturnType<typeof emptyState>): Promise<Swept> => ({
  found: await look(settings, state),
  reaped: [],
});

/** What the configuration says, as the sweep wants it. */
export function settingsOf(host: Host, { config }: LoadedConfig, now = false): SweepSettings {
  return {
    host,
    homes: homesOfThisMachine(host.procRoot, config.clay_home),
    limits: limitsOf(config, now),
    killAfterMs: config.kill_after,
    maxKillsPerSweep: config.max_kills_per_sweep,
  };
}
