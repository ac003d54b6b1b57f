import { existsSync } from 'node:fs';
import { DURATION_FORM, parseDuration } from '../config/duration.ts';
import { UsageError } from '../config/load.ts';
import { EXIT } from '../output/exit-status.ts';
import { historyReport, historyText } from '../output/history.ts';
import { printJson } from '../output/report.ts';
import { screenOf } from '../output/table.ts';
import { tell } from '../output/tell.ts';
import { historyDirectory, readHistory } from '../service/history.ts';

type HistoryOptions = { readonly since?: string; readonly json?: boolean };

/** Where the system service keeps its history, which only root can read. */
const SYSTEM_DIRECTORY = historyDirectory({}, 0);

/** `history`: what was reaped, when, and how much memory came back. Gives the exit status. */
export function history(options: HistoryOptions): number {
  const since = options.since ?? '7d';
  const backMs = parseDuration(since);
  if (backMs === null) throw new UsageError(`--since must be ${DURATION_FORM}, not ${JSON.stringify(since)}`);
  const directory = historyDirectory(process.env, process.geteuid?.() ?? -1);
  const { records, problem } = readHistory(directory);
  const report = historyReport(records, { atMs: Date.now(), backMs, directory, problem: problem ?? null });
  if (options.json) printJson(report);
  else process.stdout.write(`${historyText(report, since, screenOf(process.stdout))}\n`);
  if (problem !== undefined) tell(problem);
  else if (records.length === 0 && hasAnother(directory)) {
    tell(`the history in ${directory} is yours; that of the system service is in ${SYSTEM_DIRECTORY}: ask as root`);
  }
  return problem === undefined ? EXIT.done : EXIT.notGone;
}

/** Whether somebody who asks for their own history may mean that of the system service. */
const hasAnother = (directory: string): boolean =>
  process.geteuid?.() !== 0 && directory !== SYSTEM_DIRECTORY && existsSync(SYSTEM_DIRECTORY);
