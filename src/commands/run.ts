import { realpathSync } from 'node:fs';
import { openLog } from '../service/log.ts';
import { createNotifier } from '../service/notify.ts';
import { runService, type ServiceConfig } from '../service/run.ts';
import { type CommonOptions, loadFromOptions, sweepSettings, thisProcRoot } from './options.ts';

/** `run`: the service, in the foreground, until SIGTERM or SIGINT. Returns the exit status. */
export async function run(options: CommonOptions & { readonly dryRun?: boolean }, version: string): Promise<number> {
  const overrides = options.dryRun ? { dry_run: { text: 'true', name: '--dry-run' } } : {};
  const procRoot = thisProcRoot();
  const load = (): ServiceConfig => {
    const loaded = loadFromOptions(options, overrides);
    return { ...loaded, settings: sweepSettings(procRoot, loaded) };
  };
  const initial = load();
  const log = await openLog(initial.config['log.level'], initial.config['log.format']);
  const notifier = createNotifier(process.env);
  await runService({ load, initial, log, notifier, version, program: realpathSync(process.argv[1] ?? '') });
  return 0;
}
