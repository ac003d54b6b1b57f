import { UsageError } from '../config/load.ts';
import { complaints, EXIT, exitStatus, nothingFound } from '../output/exit-status.ts';
import { cleanupReport, failedCount, isEnded, printJson, reclaimedBytes } from '../output/report.ts';
import { memory, processTable, screenOf, shortTime, totalsLine } from '../output/table.ts';
import { tell } from '../output/tell.ts';
import type { Spared } from '../reap/end-process.ts';
import { recordReaped } from '../service/record.ts';
import { type Look, lookOnce, orphansToReap, type Reaped, reap, type SweepSettings } from '../sweep.ts';
import { settingsOf } from '../sweep-settings.ts';
import { type CommonOptions, loadFor, thisHost } from './options.ts';

type CleanupOptions = CommonOptions & {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly now?: boolean;
  readonly json?: boolean;
};

/** `cleanup`: one sweep. Gives the exit status. */
export async function cleanup(options: CleanupOptions): Promise<number> {
  const loaded = loadFor(options, options.dryRun ? { dry_run: { text: 'true', name: '--dry-run' } } : {});
  const dryRun = loaded.config.dry_run;
  const mayAsk = process.stdin.isTTY === true && process.stderr.isTTY === true;
  if (!options.yes && !dryRun && !mayAsk) {
    throw new UsageError(
      'cleanup cannot ask without a terminal; give --yes to end what it finds, or --dry-run to only see it',
    );
  }
  const settings = settingsOf(thisHost(), loaded, options.now === true);
  const look = await lookOnce(settings);
  const orphans = orphansToReap(look);
  const screen = screenOf(options.json ? process.stderr : process.stdout);
  const show = (text: string): boolean => (options.json ? process.stderr : process.stdout).write(`${text}\n`);
  if (orphans.length > 0 && (!options.json || !options.yes)) show(processTable(orphans, new Map(), screen));

  const goOn = !dryRun && orphans.length > 0 && (options.yes || (await confirmed(orphans.length, bytesOf(look))));
  const reaped = goOn ? await reapVisibly(settings, look) : [];
  const unrecorded = recordReaped(reaped, Date.now());
  if (unrecorded !== undefined) tell(unrecorded);
  const exit = exitStatus(look, reaped);
  if (options.json) printJson(cleanupReport(look, reaped, dryRun));
  else if (exit !== EXIT.nothingFound)
    show(orphans.length > 0 && !goOn && !dryRun ? 'nothing was ended' : summary(look, reaped, dryRun));
  for (const complaint of exit === EXIT.nothingFound
    ? [nothingFound(look)]
    : [...survivors(reaped), ...complaints(look)])
    tell(complaint);
  return exit;
}

/** Ends them, and shows on a terminal how many have ended so far: a hung one takes `kill_after`. */
async function reapVisibly(settings: SweepSettings, look: Look): Promise<Reaped[]> {
  const orphans = orphansToReap(look);
  const { stderr } = process;
  const count = Math.min(orphans.length, settings.maxKillsPerSweep);
  let ended = 0;
  const begun = performance.now();
  const show = (): void => {
    const waited = Math.round((performance.now() - begun) / 1000);
    stderr.write(
      `\r${CLEAR_LINE}${ended} of ${count} ended, ${waited} s (SIGKILL after ${shortTime(settings.killAfterMs)})`,
    );
  };
  const timer = stderr.isTTY ? setInterval(show, PROGRESS_MS) : null;
  try {
    return await reap(settings, look, orphans, null, () => {
      ended++;
    });
  } finally {
    if (timer) {
      clearInterval(timer);
      stderr.write(`\r${CLEAR_LINE}`);
    }
  }
}

const PROGRESS_MS = 200;
const CLEAR_LINE = '\u001b[K';

const bytesOf = (look: Look): number => orphansToReap(look).reduce((sum, each) => sum + each.evidence.rssBytes, 0);

async function confirmed(count: number, bytes: number): Promise<boolean> {
  const { default: confirm } = await import('@inquirer/confirm');
  const message = `End ${count === 1 ? 'this process' : `these ${count} processes`} (${memory(bytes)})?`;
  return confirm({ message, default: false }, { output: process.stderr });
}

/** "reaped 4 processes, 892 MB back, spared 2 that woke up". */
function summary(look: Look, reaped: readonly Reaped[], dryRun: boolean): string {
  const due = orphansToReap(look);
  if (due.length === 0) return `nothing to reap: ${totalsLine(look, new Map())}`;
  if (dryRun) return `would reap ${processes(due.length)}, ${memory(bytesOf(look))}`;
  const spared = (why: Spared['because']): number =>
    reaped.filter(({ ending }) => ending.outcome === 'spared' && ending.because === why).length;
  return [
    `reaped ${processes(reaped.filter(isEnded).length)}, ${memory(reclaimedBytes(reaped))} back`,
    ...(spared('woke') > 0 ? [`spared ${spared('woke')} that woke up`] : []),
    ...(spared('silence') > 0 ? [`spared ${spared('silence')} whose Clay fell silent`] : []),
    ...(spared('postponed') > 0 ? [`${spared('postponed')} left for another time (max_kills_per_sweep)`] : []),
    ...(failedCount(reaped) > 0 ? [`${failedCount(reaped)} did not end`] : []),
  ].join(', ');
}

const processes = (count: number): string => `${count} ${count === 1 ? 'process' : 'processes'}`;

const survivors = (reaped: readonly Reaped[]): string[] =>
  reaped.flatMap(({ judgement, ending }) =>
    ending.outcome === 'survived'
      ? [`claude ${judgement.evidence.id.pid} should be gone and is not: ${ending.why}`]
      : [],
  );
