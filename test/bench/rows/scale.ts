import { type Fleet, startFleet, startUnrelated } from '../fleet.ts';
import { atMost, type Extent, type Row, rowOf, within } from '../row.ts';
import { type Service, startService } from '../service.ts';
import { logLogSlope, mean, median } from '../statistics.ts';

/** The cost of a sweep by what else is on the machine, and by candidates. */
export async function scaleRows(extent: Extent): Promise<Row[]> {
  return [await unrelatedRow(extent), await candidatesRow(extent)];
}

async function unrelatedRow(extent: Extent): Promise<Row> {
  const candidates = 35;
  const [unrelated, rounds] = extent === 'full' ? [5_000, 5] : [500, 3];
  const goal = within(10);
  const fleet = await startFleet(candidates);
  const service = await startService([fleet.clay]);
  const measured: number[] = [];
  try {
    await service.sweep(100);
    let without = await service.cpuOfSweep(100);
    for (let round = 0; round < rounds; round++) {
      const end = await startUnrelated(unrelated);
      const among = await service.cpuOfSweep(100);
      await end();
      const after = await service.cpuOfSweep(100);
      measured.push(among / mean([without, after]));
      without = after;
    }
  } finally {
    await service.stop();
    await fleet.stop();
  }
  const figure = `CPU of one sweep, ${candidates} candidates, ${unrelated} unrelated processes`;
  const about = { figure, against: 'the same with none of them' };
  return rowOf(about, goal, measured, (times) => `${times.toFixed(3)} times it`, extent);
}

async function candidatesRow(extent: Extent): Promise<Row> {
  const sizes = extent === 'full' ? [10, 100, 1_000, 5_000] : [10, 100, 500];
  const rounds = 3;
  const goal = atMost(1.05, 'slope at most 1.05', 1.1);
  const fleets: { fleet: Fleet; service: Service; size: number; costs: number[] }[] = [];
  try {
    for (const size of sizes) {
      const fleet = await startFleet(size);
      // Far enough apart that each sweep has an end.
      const service = await startService([fleet.clay], { pollMs: Math.max(100, size * 1.5) });
      await service.sweep(3);
      service.halt();
      fleets.push({ fleet, service, size, costs: [] });
    }
    for (let round = 0; round < rounds; round++) {
      for (const { service, size, costs } of fleets) {
        service.goOn();
        costs.push(await service.cpuOfSweep(Math.max(5, Math.min(100, 5_000 / size))));
        service.halt();
      }
    }
  } finally {
    for (const { fleet, service } of fleets) {
      await service.stop();
      await fleet.stop();
    }
  }
  const slopes = Array.from({ length: rounds }, (_, round) =>
    logLogSlope(fleets.map(({ size, costs }) => [size, costs[round] ?? Number.NaN])),
  );
  const costs = fleets.map(({ costs }) => `${median(costs).toFixed(1)} ms`).join(', ');
  const about = { figure: `CPU of one sweep by candidates: ${sizes.join(', ')}`, against: 'linear' };
  return rowOf(about, goal, slopes, (slope) => `${slope.toFixed(3)} (${costs})`, extent);
}
