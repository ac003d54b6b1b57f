import { lstatSync } from 'node:fs';
import { UsageError } from '../config/load.ts';
import { ownHistoryDirectory } from '../history/record.ts';
import { parseSince, SINCE_HELP } from '../history/since.ts';
import { historyDirectory, readHistory } from '../history/store.ts';
import { EXIT } from '../report/exit-status.ts';
import { terminalStyle } from '../report/format.ts';
import { historyReport, historyText, trialReport, trialText } from '../report/history.ts';
import { printJson } from '../report/json.ts';
import { afterHistory } from '../report/next-steps.ts';
import { printError } from '../report/stderr.ts';

type HistoryOptions = { readonly since?: string; readonly trial?: boolean; readonly json?: boolean };

/** `history`: the processes that were ended, or that a trial would have ended. Returns the exit status. */
export function history(options: HistoryOptions): number {
  const atMs = Date.now();
  const since = parseSince(options.since ?? '7d', atMs);
  if (since === null) throw new UsageError(`--since must be ${SINCE_HELP}, not ${JSON.stringify(options.since)}`);
  const directory = ownHistoryDirectory();
  const { records, problem, unreadableLines } = readHistory(directory, { kind: options.trial ? 'trial' : 'history' });
  const query = { atMs, sinceMs: since.sinceMs, directory, problem: problem ?? null, unreadableLines };
  const style = terminalStyle(process.stdout);
  if (options.trial) {
    const report = trialReport(records, query);
    if (options.json) printJson(report);
    else process.stdout.write(`${trialText(report, since.period, style)}\n`);
  } else {
    const report = historyReport(records, query);
    if (options.json) printJson(report);
    else process.stdout.write(`${historyText(report, since.period, style)}\n`);
  }
  if (!options.json && process.stdout.isTTY) process.stdout.write(`${afterHistory(records.length === 0)}\n`);
  if (problem !== undefined) printError(problem);
  const hint = records.length === 0 ? systemHistoryHint(process.env, process.geteuid?.() ?? -1) : null;
  if (hint !== null) printError(hint);
  return problem === undefined ? EXIT.ok : EXIT.failed;
}

/**
 * Where a user whose own history is empty finds the one of the system service; null if there is none or they have asked for a
 * certain directory (STATE_DIRECTORY). `root`: the root directory.
 */
export function systemHistoryHint(env: NodeJS.ProcessEnv, euid: number, root = '/'): string | null {
  if (euid === 0 || env.STATE_DIRECTORY) return null;
  const system = historyDirectory({}, 0, root);
  // With DynamicUser=, it is a symbolic link into a directory that only root can enter: lstat does not follow it.
  if (lstatSync(system, { throwIfNoEntry: false }) === undefined) return null;
  return `this is the history of what you ended yourself; for that of the system service, run "sudo clay-reaper history"`;
}
