import { assessOnce } from '../assess.ts';
import { UsageError } from '../config/load.ts';
import { readUserNames } from '../fs/passwd.ts';
import { readTitles } from '../observe/titles.ts';
import { usageSampler } from '../observe/usage.ts';
import { EXIT, exitStatus } from '../report/exit-status.ts';
import { terminalStyle } from '../report/format.ts';
import { printJson, statusReport } from '../report/json.ts';
import { noClayMessage, notices, shapeNotices, warnings } from '../report/messages.ts';
import { printError } from '../report/stderr.ts';
import type { SweepSettings } from '../sweep.ts';
import { withLookingNotice } from './looking.ts';
import { type CommonOptions, loadFromOptions, sweepSettings, thisProcRoot } from './options.ts';

type StatusOptions = CommonOptions & { readonly json?: boolean; readonly watch?: boolean };

/** `status`: every candidate, its verdict and why. Returns the exit status. */
export async function status(options: StatusOptions): Promise<number> {
  const settings = sweepSettings(thisProcRoot(), loadFromOptions(options));
  if (options.watch) return watch(settings, options);
  const sampler = usageSampler();
  const assessment = await withLookingNotice((onWait) => assessOnce(settings, { afterFirst: sampler.begin, onWait }));
  const usage = await sampler.end(assessment);
  const exit = exitStatus(assessment);
  if (options.json) printJson(statusReport(assessment, usage));
  else if (exit !== EXIT.noClay) {
    const { statusText } = await import('../report/status.ts');
    const details = {
      usage,
      titles: readTitles(assessment),
      userNames: readUserNames(),
      forPerson: process.stdout.isTTY === true,
    };
    process.stdout.write(`${statusText(assessment, details, terminalStyle(process.stdout))}\n`);
  }
  const lines =
    exit === EXIT.noClay
      ? [noClayMessage(assessment)]
      : [...warnings(assessment), ...notices(assessment), ...shapeNotices(assessment)];
  for (const line of lines) printError(line);
  return exit;
}

async function watch(settings: SweepSettings, options: StatusOptions): Promise<number> {
  if (options.json) throw new UsageError('--watch draws on a terminal and --json is for programs; give one of them');
  if (!process.stdin.isTTY || !process.stdout.isTTY)
    throw new UsageError('--watch needs a terminal; without one, repeat "clay-reaper status"');
  const { watchStatus } = await import('./watch.ts');
  await watchStatus(settings);
  return EXIT.ok;
}
