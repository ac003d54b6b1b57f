import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { childrenOf } from '../../support/processes.ts';
import { startFleet } from '../fleet.ts';
import { atMost, atMostTimes, type Extent, type Row, rowOf } from '../row.ts';
import { program, startService } from '../service.ts';

/** How long a command takes from start to finish, and how long it takes to end many processes. */
export async function onceRows(extent: Extent): Promise<Row[]> {
  return [await startRow(extent), await endingsRow(extent)];
}

async function startRow(extent: Extent): Promise<Row> {
  const goal = atMostTimes(1.7);
  const { clay, stop } = await startFleet(0);
  const ratios: number[] = [];
  try {
    for (let round = 0; round < (extent === 'full' ? 41 : 11); round++) {
      const own = await wallMs([program, 'status', '--json', '--clay-home', clay.home]);
      ratios.push(own / (await wallMs(['-e', '0'])));
    }
  } finally {
    await stop();
  }
  const figure = 'start to finish of `status --json` with a Clay and no candidate';
  return rowOf({ figure, against: '`node -e 0`' }, goal, ratios, (times) => `${times.toFixed(2)} times it`, extent);
}

function wallMs(args: readonly string[]): Promise<number> {
  const begun = performance.now();
  const child = spawn(process.execPath, args, { stdio: 'ignore' });
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('exit', (status) => {
      if (status === 0) resolve(performance.now() - begun);
      else reject(new Error(`node ${args.join(' ')} ended with ${status}`));
    });
  });
}

async function endingsRow(extent: Extent): Promise<Row> {
  const goal = atMost(0.5, 'at most 0.5 s more');
  const measured: number[] = [];
  const many = 200;
  for (let round = 0; round < (extent === 'full' ? 5 : 1); round++) {
    measured.push((await secondsToEnd(many)) - (await secondsToEnd(1)));
  }
  const figure = `from the first signal to all gone: ${many} obedient orphans`;
  const about = { figure, against: '1 obedient orphan' };
  return rowOf(about, goal, measured, (seconds) => `${seconds.toFixed(2)} s more`, extent);
}

/** From the first process that is gone to the last: an obedient one is gone as soon as it is signalled. */
async function secondsToEnd(count: number): Promise<number> {
  const { clay, stop } = await startFleet(count);
  const service = await startService([clay], {
    pollMs: 3_000,
    args: ['--parked-after', '1s'],
    env: { CLAY_REAPER_MAX_KILLS_PER_SWEEP: String(count) },
  });
  try {
    let begun = 0;
    for (let left = count; left > 0; left = childrenOf(clay.pid).length) {
      if (begun === 0 && left < count) begun = performance.now();
      await sleep(2);
    }
    return begun === 0 ? 0 : (performance.now() - begun) / 1000;
  } finally {
    await service.stop();
    await stop();
  }
}
