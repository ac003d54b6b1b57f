import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { residentBytes } from '../../helpers/processes.ts';
import { bareEnvironments } from '../bare-node.ts';
import { startFleet } from '../fleet.ts';
import { atMost, type Extent, forInformation, type Row, rowOf, within } from '../row.ts';
import { program, startService } from '../service.ts';
import { mean, median, slope, uncertaintyOfThree } from '../statistics.ts';

const MB = 1e6;

/** What the service takes, and what ending processes gives back. */
export async function memoryRows(extent: Extent): Promise<Row[]> {
  return [...(await serviceRows(extent)), await returnedRow(extent)];
}

/** Resident memory of the service as the unit starts it: after 1,000 sweeps, and whether it goes on growing. */
async function serviceRows(extent: Extent): Promise<Row[]> {
  const candidates = 35;
  const [first, last, step] = extent === 'full' ? [1_000, 10_000, 250] : [300, 600, 50];
  const bare = bareEnvironments().map((environment) => ({
    ...environment,
    node: spawn(process.execPath, ['-e', 'setInterval(() => {}, 2 ** 30)'], { stdio: 'ignore', env: environment.env }),
  }));
  // Each has processes of its own: what one finds costs another nothing.
  const fleets = [await startFleet(candidates), await startFleet(candidates), await startFleet(candidates)];
  const services = await Promise.all(fleets.map((fleet) => startService([fleet.clay])));
  const samples: [sweeps: number, bytes: number][][] = services.map(() => []);
  let bareBytes: number[] = [];
  try {
    await Promise.all(
      services.map(async (service, at) => {
        await service.sweep(first);
        for (let sweeps = first; sweeps <= last; sweeps += step) {
          samples[at]?.push([sweeps, residentBytes(service.pid)]);
          await service.sweep(step);
        }
      }),
    );
    await sleep(1_000);
    bareBytes = bare.map(({ node }) => residentBytes(node.pid ?? 0));
  } finally {
    for (const { node } of bare) node.kill();
    for (const service of services) await service.stop();
    for (const fleet of fleets) await fleet.stop();
  }
  const early = samples.map((points) => mean(points.slice(0, 3).map(([, bytes]) => bytes)));
  const size = atMost(1.25, 'at most 1.25 times it', 1.5);
  const growth = samples.map((points) => slope(points) * (last - first));
  const noise = extent === 'full' ? uncertaintyOfThree(growth as [number, number, number]) : 0.1 * (bareBytes[0] ?? 0);
  const sizes = bare.map(({ words, hasGoal }, at) => {
    const bytesOfBare = bareBytes[at] ?? 0;
    const row = rowOf(
      {
        figure: `resident memory of \`run\` as the unit starts it, after ${first} sweeps`,
        against: `a bare Node process that waits on a timer${words}`,
      },
      size,
      early.map((bytes) => bytes / bytesOfBare),
      (times) => `${times.toFixed(2)} (${inMb(median(early))} / ${inMb(bytesOfBare)})`,
      extent,
    );
    return hasGoal ? row : forInformation(row);
  });
  return [
    ...sizes,
    {
      figure: `the same over ${last} sweeps`,
      against: 'itself',
      goal: extent === 'full' ? 'no trend: within the noise of three runs' : 'at most 10 % of a bare Node process',
      measured: `${growth.map((bytes) => (bytes / MB).toFixed(2)).join(', ')} MB of growth, noise ${inMb(noise)}`,
      noisePercent: null,
      // What becomes smaller has no trend to fear.
      met: mean(growth) <= noise ? 'yes' : 'NO',
    },
  ];
}

/** Node programs, which share most of their text: their resident memory together is much more than what comes back. */
const ENDED = 20;
/** What each of them holds besides, in bytes, as a real `claude` does: beside 1 GB, the rest of the machine changes little. */
const HELD = 50e6;

/** The memory that `cleanup` says came back, against what the kernel says is available then (proc_meminfo(5)). */
async function returnedRow(extent: Extent): Promise<Row> {
  const measured: number[] = [];
  let words = '';
  for (let round = 0; round < (extent === 'full' ? 5 : 1); round++) {
    const fleet = await startFleet(ENDED, { shape: 'node', sdk: '0.3.330', hold: HELD });
    try {
      await sleep(2_000);
      const before = availableBytes();
      const args = ['cleanup', '--now', '--yes', '--json', '--min-age', '0', '--clay-home', fleet.clay.home];
      const { stdout } = await promisify(execFile)(process.execPath, [program, ...args]);
      await sleep(2_000);
      const gained = availableBytes() - before;
      const { processes } = JSON.parse(stdout) as { processes: { rssBytes: number; reclaimableBytes: number }[] };
      const claimed = sum(processes.map(({ reclaimableBytes }) => reclaimableBytes));
      const resident = sum(processes.map(({ rssBytes }) => rssBytes));
      // Too much and too little are as wrong.
      measured.push(Math.max(claimed / gained, gained / claimed));
      words = `${inMb(claimed)} said, ${inMb(gained)} gained, ${inMb(resident)} resident`;
    } finally {
      await fleet.stop();
    }
  }
  const about = {
    figure: `memory that \`cleanup\` says came back from ${ENDED} Node programs`,
    against: 'what MemAvailable and the free lists of the CPUs gained',
  };
  const format = (times: number): string => `within ${(100 * (times - 1)).toFixed(1)} % (${words})`;
  const row = rowOf(about, within(10), measured, format, extent);
  // Whatever else takes or returns memory in these seconds is counted too: one round alone decides nothing.
  return extent === 'full' ? row : { ...row, met: null };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/**
 * MemAvailable and what it leaves out: the pages that each CPU keeps free for itself (`pagesets` of /proc/zoneinfo), which were
 * 390 of 650 MB after a fleet had ended, and return within a minute.
 */
function availableBytes(): number {
  const [, kb] = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8')) ?? [];
  const pages = [...readFileSync('/proc/zoneinfo', 'utf8').matchAll(/^\s+count:\s+(\d+)$/gm)].map(([, count]) =>
    Number(count),
  );
  return Number(kb) * 1024 + sum(pages) * PAGE;
}

/** Bytes; that of x86-64, and the usual one of arm64. */
const PAGE = 4096;

const inMb = (bytes: number): string => `${(bytes / MB).toFixed(1)} MB`;
