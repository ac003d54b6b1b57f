import { closeSync, constants, fchmodSync, openSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { dirname, isAbsolute, resolve } from 'node:path';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { isEnded } from '../output/report.ts';
import type { Look, Reaped } from '../sweep.ts';

/** The numbers of a service since its start, in Prometheus's text format. */
export type Metrics = {
  /** Counts one sweep; `seconds`: how long it took. */
  readonly count: (found: Look, reaped: readonly Reaped[], seconds: number) => void;
  readonly text: () => Promise<string>;
};

const VERDICTS = ['protected', 'grace', 'reap'] as const;

/** A sweep of 35 candidates takes some ms, one that ends a process up to `kill_after`. */
const SWEEP_BUCKETS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60];

/** Makes the metrics; names and units as Prometheus's conventions have them. */
export function createMetrics(): Metrics {
  const registers = [new Registry()];
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
  const reapedTotal = new Counter({
    name: 'clay_reaper_reaped_total',
    help: 'Processes ended, by orphan kind and by the signal that it took.',
    labelNames: ['orphan', 'signal'],
    registers,
  });
  const reclaimed = new Counter({
    name: 'clay_reaper_reclaimed_bytes_total',
    help: 'Resident memory of the processes that were ended.',
    registers,
  });
  const spared = new Counter({
    name: 'clay_reaper_spared_total',
    help: 'Processes that woke up before they were ended.',
    registers,
  });
  const survived = new Counter({
    name: 'clay_reaper_survived_total',
    help: 'Processes that should have ended and did not.',
    registers,
  });
  const apiFailures = new Counter({
    name: 'clay_reaper_api_failures_total',
    help: 'Times that a Clay gave no usable answer.',
    registers,
  });
  const duration = new Histogram({
    name: 'clay_reaper_sweep_duration_seconds',
    help: 'Time that a sweep took.',
    buckets: SWEEP_BUCKETS,
    registers,
  });
  const lastSweep = new Gauge({
    name: 'clay_reaper_last_sweep_timestamp_seconds',
    help: 'When the last sweep was completed, since the epoch.',
    registers,
  });

  const countReaped = (each: Reaped): void => {
    const { judgement, ending } = each;
    if (ending.outcome === 'spared') spared.inc();
    if (ending.outcome === 'survived') survived.inc();
    if (!isEnded(each)) return;
    reapedTotal.inc({ orphan: judgement.orphan, signal: ending.outcome === 'killed' ? 'SIGKILL' : 'SIGTERM' });
    reclaimed.inc(judgement.evidence.rssBytes);
  };
  return {
    count: (found, reaped, seconds) => {
      for (const verdict of VERDICTS) {
        const those = found.judgements.filter((each) => each.verdict === verdict);
        processes.set({ verdict }, those.length);
        resident.set(
          { verdict },
          those.reduce((sum, { evidence }) => sum + evidence.rssBytes, 0),
        );
      }
      for (const each of reaped) countReaped(each);
      apiFailures.inc(found.clays.filter((clay) => !clay.answer.ok).length);
      duration.observe(seconds);
      lastSweep.set(Date.now() / 1000);
    },
    text: () => registers[0]?.metrics() ?? Promise.resolve(''),
  };
}

/** Where the metrics go: a relative path lies in the runtime directory that systemd made for the service. */
export function metricsFile(textfile: string, runtimeDirectory: string | undefined): string {
  return isAbsolute(textfile) ? textfile : resolve(runtimeDirectory?.split(':')[0] ?? '/run/clay-reaper', textfile);
}

/**
 * Writes the file at once: whoever reads it sees the old text or the new one, never half of it.
 * Gives the reason if that failed; numbers that nobody gets are no reason to stop.
 */
export function writeTextfile(path: string, text: string): string | undefined {
  const beside = `${path}.${process.pid}.tmp`;
  try {
    // In a folder that others may write to, nobody can have put a link or a FIFO in its place.
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const fd = openSync(beside, flags, 0o644);
    try {
      // The service's umask is for its history; the metrics are for another user's node_exporter.
      fchmodSync(fd, 0o644);
      const bytes = Buffer.from(text);
      // A disk that fills up takes a part first, and says so only when it is given the rest.
      for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
    } finally {
      closeSync(fd);
    }
    renameSync(beside, path);
    return undefined;
  } catch (error) {
    removeIfThere(beside);
    return `metrics cannot be written to ${dirname(path)}: ${(error as Error).message}`;
  }
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It never came to be.
  }
}
