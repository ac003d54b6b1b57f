import { setMaxListeners } from 'node:events';
import { createInterface } from 'node:readline';
import { type Assessment, assessOnce } from '../assess.ts';
import { dryRunSource, UsageError } from '../config/load.ts';
import { readUserNames } from '../fs/passwd.ts';
import { appendReaped, withoutOthersClaims } from '../history/record.ts';
import { formatDuration } from '../judge/duration.ts';
import type { IdleOrphan } from '../judge/judge.ts';
import { readTitles } from '../observe/titles.ts';
import { keyOf } from '../proc/process-id.ts';
import { reap } from '../reap/reap.ts';
import { failedCount, type ReapResult, reclaimedBytes, type Spared, wasTerminated } from '../reap/result.ts';
import { orphansToReap } from '../reap/select.ts';
import { EXIT, exitStatus } from '../report/exit-status.ts';
import { formatBytes, isDumbTerminal, terminalStyle } from '../report/format.ts';
import { cleanupReport, printJson } from '../report/json.ts';
import { noClayMessage, notices, warnings } from '../report/messages.ts';
import { afterCleanup } from '../report/next-steps.ts';
import { wrapped } from '../report/sections.ts';
import { printError } from '../report/stderr.ts';
import { processTable, totalsLine } from '../report/table.ts';
import type { SweepSettings } from '../sweep.ts';
import { withLookingNotice } from './looking.ts';
import { type CommonOptions, loadFromOptions, sweepSettings, thisProcRoot } from './options.ts';
import { STOP_SIGNALS } from './stop-signals.ts';

type CleanupOptions = CommonOptions & {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly now?: boolean;
  readonly json?: boolean;
};

/** `cleanup`: one sweep. Returns the exit status. */
export async function cleanup(options: CleanupOptions): Promise<number> {
  const loaded = loadFromOptions(options, options.dryRun ? { dry_run: { text: 'true', name: '--dry-run' } } : {});
  const settings = sweepSettings(thisProcRoot(), loaded, options.now === true);
  const { dryRun } = settings;
  const canAsk = process.stdin.isTTY === true && process.stderr.isTTY === true;
  if (!options.yes && !dryRun && !canAsk) {
    throw new UsageError(
      'cleanup cannot ask without a terminal; give --yes to end what it finds, or --dry-run to only list it',
    );
  }
  const assessment = await withLookingNotice((onWait) => assessOnce(settings, { onWait }));
  const orphans = orphansToReap(assessment);
  // With --json, stdout carries nothing but the report.
  const output = options.json ? process.stderr : process.stdout;
  const show = (text: string): boolean => output.write(`${text}\n`);
  if (orphans.length > 0 && (!options.json || !options.yes))
    show(processTable(orphans, { titles: readTitles(assessment), userNames: readUserNames() }, terminalStyle(output)));

  const confirmed = !dryRun && orphans.length > 0 && (options.yes || (await askForConfirmation(orphans)));
  const results = confirmed ? await reapWithProgress(settings, assessment, orphans) : [];
  const { problem: historyError } = appendReaped(assessment, results, Date.now());
  const reaped = withoutOthersClaims(results);
  if (historyError !== undefined) printError(historyError);
  const exit = exitStatus(assessment, reaped);
  // With --dry-run, the person has asked for it.
  const configured = options.dryRun ? null : dryRunSource(loaded);
  const note = configured === null ? '' : `; nothing was ended: ${configured}`;
  const declined = orphans.length > 0 && !confirmed && !dryRun;
  if (options.json) printJson(cleanupReport(assessment, reaped, dryRun));
  else if (exit !== EXIT.noClay)
    show(declined ? 'aborted, no process was ended' : `${summary(assessment, orphans, reaped, dryRun)}${note}`);
  if (!options.json && exit !== EXIT.noClay && output.isTTY) {
    const end = orphans.length === 0 ? 'nothing-due' : dryRun ? 'dry-run' : declined ? 'declined' : 'done';
    show(wrapped(afterCleanup(end, assessment), terminalStyle(output)));
  }
  const messages =
    exit === EXIT.noClay
      ? [noClayMessage(assessment)]
      : [...survivorMessages(reaped), ...warnings(assessment), ...notices(assessment)];
  for (const message of messages) printError(message);
  return exit;
}

const PROGRESS_INTERVAL_MS = 200;
const CLEAR_LINE = '\u001b[K';

/**
 * Ends the orphans; on a terminal it counts those that have ended, because one that hangs takes `kill_after`. After Ctrl-C it
 * waits no longer: what has ended by then is reported and recorded all the same. A second Ctrl-C ends the program at once.
 */
async function reapWithProgress(
  settings: SweepSettings,
  assessment: Assessment,
  orphans: readonly IdleOrphan[],
): Promise<ReapResult[]> {
  const { stderr } = process;
  const count = Math.min(orphans.length, settings.maxKillsPerSweep);
  const startedMs = performance.now();
  const stop = new AbortController();
  // Each process that is being ended listens to it.
  setMaxListeners(0, stop.signal);
  const onStop = (): void => stop.abort();
  let ended = 0;
  const show = (): void => {
    const elapsed = Math.round((performance.now() - startedMs) / 1000);
    const escalation = `SIGKILL after ${formatDuration(settings.killAfterMs)}`;
    stderr.write(`\r${CLEAR_LINE}${ended} of ${count} ended, ${elapsed} s (${escalation})`);
  };
  const timer = stderr.isTTY && !isDumbTerminal() ? setInterval(show, PROGRESS_INTERVAL_MS) : null;
  try {
    const results = await reap(settings, assessment, orphans, {
      abort: stop.signal,
      // While Clay is asked once more, Ctrl-C still ends the program, and no process.
      onBegin: () => {
        for (const signal of STOP_SIGNALS) process.once(signal, onStop);
      },
      onOutcome: () => {
        ended++;
      },
    });
    return [...results, ...interruptedResults(orphans, results)];
  } finally {
    for (const signal of STOP_SIGNALS) process.off(signal, onStop);
    if (timer) {
      clearInterval(timer);
      stderr.write(`\r${CLEAR_LINE}`);
    }
  }
}

/** The processes of which `reap` does not know whether they have ended: it has sent SIGTERM, and did not wait any longer. */
function interruptedResults(orphans: readonly IdleOrphan[], results: readonly ReapResult[]): ReapResult[] {
  const known = new Set(results.map(({ judgement }) => keyOf(judgement.evidence.id)));
  const why = 'cleanup was interrupted while it waited after SIGTERM';
  return orphans
    .filter(({ evidence }) => !known.has(keyOf(evidence.id)))
    .map((judgement) => ({ judgement, result: { outcome: 'survived', signal: 'SIGTERM', why } }));
}

async function askForConfirmation(orphans: readonly IdleOrphan[]): Promise<boolean> {
  const subject = orphans.length === 1 ? 'this process' : `these ${orphans.length} processes`;
  const message = `End ${subject} (${formatBytes(residentBytes(orphans))})?`;
  if (isDumbTerminal()) return confirmPlainly(message);
  const { confirm } = await import('./prompt.ts');
  return confirm({ message, default: false }, { output: process.stderr });
}

/** Asks on a dumb terminal, with a plain line. The end of the input is a "no". */
async function confirmPlainly(message: string): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: false });
  process.stderr.write(`${message} (y/N) `);
  const { value } = await lines[Symbol.asyncIterator]().next();
  lines.close();
  return /^y(es)?$/i.test(String(value ?? '').trim());
}

const residentBytes = (orphans: readonly IdleOrphan[]): number =>
  orphans.reduce((sum, { evidence }) => sum + evidence.reclaimableBytes, 0);

/** "reaped 4 processes, 892 MB back, spared 2 that woke up". */
function summary(
  assessment: Assessment,
  orphans: readonly IdleOrphan[],
  reaped: readonly ReapResult[],
  dryRun: boolean,
): string {
  if (orphans.length === 0) return `nothing to reap: ${totalsLine(assessment, new Map())}`;
  if (dryRun) return `would reap ${processCount(orphans.length)}, ${formatBytes(residentBytes(orphans))}`;
  const sparedBecause = (reason: Spared['because']): number =>
    reaped.filter(({ result }) => result.outcome === 'spared' && result.because === reason).length;
  const [active, unreachable, deferred] = [
    sparedBecause('active'),
    sparedBecause('unreachable'),
    sparedBecause('deferred'),
  ];
  const failed = failedCount(reaped);
  return [
    `reaped ${processCount(reaped.filter(wasTerminated).length)}, ${formatBytes(reclaimedBytes(reaped))} back`,
    ...(active > 0 ? [`spared ${active} that woke up`] : []),
    ...(unreachable > 0 ? [`spared ${unreachable} whose Clay stopped answering`] : []),
    ...(deferred > 0 ? [`${deferred} left for the next cleanup (max_kills_per_sweep)`] : []),
    ...(failed > 0 ? [`${failed} did not end`] : []),
  ].join(', ');
}

const processCount = (count: number): string => `${count} ${count === 1 ? 'process' : 'processes'}`;

const survivorMessages = (reaped: readonly ReapResult[]): string[] =>
  reaped.flatMap(({ judgement, result }) =>
    result.outcome === 'survived' ? [`claude ${judgement.evidence.id.pid} did not end: ${result.why}`] : [],
  );
