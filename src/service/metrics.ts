import { dirname, isAbsolute, resolve } from 'node:path';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Assessment } from '../assess.ts';
import { writeAtomic } from '../fs/atomic-write.ts';
import type { Judgement } from '../judge/judge.ts';
import { type ReapResult, wasTerminated } from '../reap/result.ts';

/** Counters since the start of the service, in Prometheus's text format. */
export type Metrics = {
  /** Counts one sweep; `seconds`: its duration; `dryRun`: whether it ended nothing because of `dry_run`. */
  readonly count: (assessment: Assessment, results: readonly ReapResult[], seconds: number, dryRun: boolean) => void;
  readonly text: () => Promise<string>;
};

const VERDICTS = ['protected', 'grace', 'reap'] as const;

/** Seconds. A sweep of 35 idle candidates takes 5 ms; one that ends a process takes up to `kill_after` (30 s). */
const SWEEP_BUCKETS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60];

/** Names and units follow https://prometheus.io/docs/practices/naming. */
export function createMetrics(version: string): Metrics {
  const registers = [new Registry()];
  new Gauge({
    name: 'clay_reaper_build_info',
    help: 'Always 1; the label is the version of clay-reaper.',
    labelNames: ['version'],
    registers,
  }).set({ version }, 1);
  const dryRuns = new Gauge({
    name: 'clay_reaper_dry_run',
    help: '1 if dry_run is set and nothing is ended, else 0.',
    registers,
  });
  const processes = new Gauge({
    name: 'clay_reaper_processes',
    help: 'Claude processes at the last sweep, by verdict.',
    labelNames: ['verdict'],
    registers,
  });
  const resident = new Gauge({
    name: 'clay_reaper_resident_bytes',
    help: 'Resident memory of the claude processes at the last sweep, by verdict.',
    labelNames: ['verdict'],
    registers,
  });
  const unverified = new Gauge({
    name: 'clay_reaper_unverified_processes',
    help: 'Claude processes at the last sweep of which something could not be read or understood.',
    registers,
  });
  const reapedTotal = new Counter({
    name: 'clay_reaper_reaped_total',
    help: 'Processes ended, by orphan kind and by the last signal sent.',
    labelNames: ['orphan', 'signal'],
    registers,
  });
  const reclaimed = new Counter({
    name: 'clay_reaper_reclaimed_bytes_total',
    help: 'Memory that came back from the processes that were ended.',
    registers,
  });
  const spared = new Counter({
    name: 'clay_reaper_spared_total',
    help: 'Processes that became active before they were ended.',
    registers,
  });
  const survived = new Counter({
    name: 'clay_reaper_survived_total',
    help: 'Processes that did not end although they were signalled.',
    registers,
  });
  const apiFailures = new Counter({
    name: 'clay_reaper_api_failures_total',
    help: 'Sweeps in which a Clay gave no usable answer, summed over all Clays.',
    registers,
  });
  const duration = new Histogram({
    name: 'clay_reaper_sweep_duration_seconds',
    help: 'Duration of a sweep.',
    buckets: SWEEP_BUCKETS,
    registers,
  });
  const lastSweep = new Gauge({
    name: 'clay_reaper_last_sweep_timestamp_seconds',
    help: 'Unix time at which the last sweep was completed.',
    registers,
  });

  const countResult = (reapResult: ReapResult): void => {
    const { judgement, result } = reapResult;
    if (result.outcome === 'spared') spared.inc();
    if (result.outcome === 'survived') survived.inc();
    if (!wasTerminated(reapResult)) return;
    reapedTotal.inc({ orphan: judgement.orphan, signal: result.outcome === 'killed' ? 'SIGKILL' : 'SIGTERM' });
    reclaimed.inc(judgement.evidence.reclaimableBytes);
  };
  return {
    count: (assessment, results, seconds, dryRun) => {
      dryRuns.set(dryRun ? 1 : 0);
      for (const verdict of VERDICTS) {
        const judgements = assessment.judgements.filter((judgement) => judgement.verdict === verdict);
        processes.set({ verdict }, judgements.length);
        resident.set(
          { verdict },
          judgements.reduce((sum, { evidence }) => sum + evidence.rssBytes, 0),
        );
      }
      const isUnverified = ({ reasons }: Judgement): boolean => reasons.some(({ code }) => code === 'unverified');
      unverified.set(assessment.judgements.filter(isUnverified).length);
      for (const result of results) countResult(result);
      apiFailures.inc(assessment.clays.filter((clay) => !clay.status.ok).length);
      duration.observe(seconds);
      lastSweep.set(Date.now() / 1000);
    },
    text: () => registers[0]?.metrics() ?? Promise.resolve(''),
  };
}

/** The path of the metrics file; a relative `textfile` is resolved against systemd's RUNTIME_DIRECTORY. */
export function metricsFile(textfile: string, runtimeDirectory: string | undefined): string {
  return isAbsolute(textfile) ? textfile : resolve(runtimeDirectory?.split(':')[0] ?? '/run/clay-reaper', textfile);
}

/**
 * Replaces the metrics file. Returns undefined, or the reason why it failed: missing metrics must not stop the service.
 * Mode 0644: the unit's umask of 0077 protects the history, but node_exporter runs as another user.
 */
export function writeTextfile(path: string, text: string): string | undefined {
  try {
    writeAtomic(path, text, 0o644);
    return undefined;
  } catch (error) {
    return `metrics cannot be written to ${dirname(path)}: ${(error as Error).message}`;
  }
}
