import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { residentBytes } from '../accounting.ts';
import { startFleet } from '../fleet.ts';
import { atMost, type Extent, type Row, rowOf } from '../row.ts';
import { startService } from '../service.ts';
import { mean, median, slope, uncertaintyOfThree } from '../statistics.ts';

const MB = 1e6;

/** Resident memory of the service as the unit starts it: after 1,000 sweeps, and whether it goes on growing. */
export async function memoryRows(extent: Extent): Promise<Row[]> {
  const candidates = 35;
  const [first, last, step] = extent === 'full' ? [1_000, 10_000, 250] : [300, 600, 50];
  const bare = spawn(process.execPath, ['-e', 'setInterval(() => {}, 2 ** 30)'], { stdio: 'ignore' });
  // Each has processes of its own: what one finds costs another nothing.
  const fleets = [await startFleet(candidates), await startFleet(candidates), await startFleet(candidates)];
  const services = await Promise.all(fleets.map((fleet) => startService([fleet.clay])));
  const samples: [sweeps: number, bytes: number][][] = services.map(() => []);
  let bareBytes = 0;
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
    bareBytes = residentBytes(bare.pid ?? 0);
  } finally {
    bare.kill();
    for (const service of services) await service.stop();
    for (const fleet of fleets) await fleet.stop();
  }
  const early = samples.map((points) => mean(points.slice(0, 3).map(([, bytes]) => bytes)));
  const size = atMost(1.25, 'at most 1.25 times it', 1.5);
  const growth = samples.map((points) => slope(points) * (last - first));
  const noise = extent === 'full' ? uncertaintyOfThree(growth as [number, number, number]) : 0.1 * bareBytes;
  return [
    rowOf(
      {
        figure: `resident memory of \`run\` as the unit starts it, after ${first} sweeps`,
        against: 'a bare Node process that waits on a timer',
      },
      size,
      early.map((bytes) => bytes / bareBytes),
      (times) => `${times.toFixed(2)} (${inMb(median(early))} / ${inMb(bareBytes)})`,
      extent,
    ),
    {
      figure: `the same over ${last} sweeps`,
      against: 'itself',
      goal: extent === 'full' ? 'no trend: within the noise of three runs' : 'at most 10 % of a bare Node process',
      measured: `${growth.map((bytes) => (bytes / MB).toFixed(2)).join(', ')} MB of growth, noise ${inMb(noise)}`,
      noisePercent: null,
      // What becomes smaller has no trend to fear.
      pass: mean(growth) <= noise,
    },
  ];
}

const inMb = (bytes: number): string => `${(bytes / MB).toFixed(1)} MB`;
