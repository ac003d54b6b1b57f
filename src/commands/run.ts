import { openLog } from '../output/log.ts';
import { serve } from '../service/serve.ts';
import { type CommonOptions, loadFor, thisHost } from './options.ts';

/** `run`: the service, in the foreground, until SIGTERM or SIGINT. Gives the exit status. */
export async function run(options: CommonOptions & { readonly dryRun?: boolean }, version: string): Promise<number> {
  const load = () => loadFor(options, options.dryRun ? { dry_run: { text: 'true', name: '--dry-run' } } : {});
  const first = load();
  const host = thisHost();
  await serve({ host, load, first, log: await openLog(first.config['log.level']), version });
  return 0;
}
