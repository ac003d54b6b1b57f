import { UsageError } from '../config/load.ts';
import { complaints, EXIT, exitStatus, nothingFound } from '../output/exit-status.ts';
import { printJson, statusReport } from '../output/report.ts';
import { tell } from '../output/tell.ts';
import { watchUsage } from '../output/usage.ts';
import { lookOnce, type SweepSettings } from '../sweep.ts';
import { settingsOf } from '../sweep-settings.ts';
import { type CommonOptions, loadFor, thisHost } from './options.ts';

type StatusOptions = CommonOptions & { readonly json?: boolean; readonly watch?: boolean };

/** `status`: every candidate, its verdict and why. Gives the exit status. */
export async function status(options: StatusOptions): Promise<number> {
  const settings = settingsOf(thisHost(), loadFor(options));
  if (options.watch) return watch(settings, options);
  const usage = watchUsage();
  const look = await lookOnce(settings, usage.begin);
  const used = await usage.end(look);
  const exit = exitStatus(look);
  if (options.json) printJson(statusReport(look, used));
  else if (exit !== EXIT.nothingFound) {
    const { processTable, screenOf, totalsLine } = await import('../output/table.ts');
    const table = processTable(look.judgements, used, screenOf(process.stdout));
    process.stdout.write(`${look.judgements.length > 0 ? `${table}\n` : ''}${totalsLine(look, used)}\n`);
  }
  for (const complaint of exit === EXIT.nothingFound ? [nothingFound(look)] : complaints(look)) tell(complaint);
  return exit;
}

async function watch(settings: SweepSettings, options: StatusOptions): Promise<number> {
  if (options.json) throw new UsageError('--watch draws on a terminal and --json is for programs; give one of them');
  if (!process.stdin.isTTY || !process.stdout.isTTY)
    throw new UsageError('--watch needs a terminal; without one, call status again and again');
  const { watchStatus } = await import('./watch.ts');
  await watchStatus(settings);
  return EXIT.done;
}
