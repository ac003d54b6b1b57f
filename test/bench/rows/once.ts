import { spawn } from 'node:child_process';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { childrenOf } from '../../helpers/processes.ts';
import { type BareEnvironment, bareEnvironments } from '../bare-node.ts';
import { type Fleet, startFleet } from '../fleet.ts';
import { atMost, atMostTimes, type Extent, forInformation, type Row, rowOf } from '../row.ts';
import { program, startService } from '../service.ts';
import { median } from '../statistics.ts';

/** How long a command takes from start to finish, and how long it takes to end many processes. */
export async function onceRows(extent: Extent): Promise<Row[]> {
  const rows: Row[] = [];
  for (const environment of bareEnvironments()) rows.push(await startRow(environment, extent));
  return [...rows, await endingsRow(extent)];
}

async function startRow({ words, env, hasGoal }: BareEnvironment, extent: Extent): Promise<Row> {
  // Without certificates to read, bare Node starts in a third of the time: see bare-node.ts.
  const goal = { ...atMostTimes(1.7), short: 4.5 };
  const { clay, stop } = await startFleet(0);
  const ratios: number[] = [];
  try {
    for (let round = 0; round < (extent === 'full' ? 41 : 11); round++) {
      const own = await wallMs([program, 'status', '--json', '--clay-home', clay.home], env);
      ratios.push(own / (await wallMs(['-e', '0'], env)));
    }
  } finally {
    await stop();
  }
  const figure = 'start to finish of `status --json` with a Clay and no candidate';
  const about = { figure, against: `\`node -e 0\`${words}` };
  const row = rowOf(about, goal, ratios, (times) => `${times.toFixed(2)} times it`, extent);
  return hasGoal ? row : forInformation(row);
}

function wallMs(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const begun = performance.now();
  const child = spawn(process.execPath, args, { stdio: 'ignore', env });
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('exit', (status) => {
      if (status === 0) resolve(performance.now() - begun);
      else reject(new Error(`node ${args.join(' ')} ended with ${status}`));
    });
  });
}

/**
 * What the kernel needs to end so many is no work of the program: a plain loop of kill(2) over as many is taken off. Unlike a ratio,
 * seconds depend on the machine (0.2 to 0.8 on three of 2 cores), so that the short form allows more than twice the goal.
 */
async function endingsRow(extent: Extent): Promise<Row> {
  const goal = atMost(0.5, 'at most 0.5 s more', 2);
  const measured: number[] = [];
  const plain: number[] = [];
  for (let round = 0; round < (extent === 'full' ? 5 : 1); round++) {
    const kernel = await secondsToEnd(MANY, signalEach);
    plain.push(kernel);
    measured.push((await secondsToEnd(MANY, runService)) - (await secondsToEnd(1, runService)) - kernel);
  }
  const figure = `from the first signal to all gone: ${MANY} obedient orphans`;
  const about = { figure, against: '1 obedient orphan, and a plain loop of kill(2)' };
  const inSeconds = (seconds: number): string =>
    `${seconds.toFixed(2)} s more (the plain loop takes ${median(plain).toFixed(2)} s)`;
  return rowOf(about, goal, measured, inSeconds, extent);
}

const MANY = 200;

type Clay = Fleet['clay'];

async function runService(clay: Clay, count: number): Promise<() => Promise<void>> {
  const service = await startService([clay], {
    pollMs: 3_000,
    args: ['--parked-after', '1s'],
    env: { CLAY_REAPER_MAX_KILLS_PER_SWEEP: String(count) },
  });
  return service.stop;
}

async function signalEach(clay: Clay): Promise<() => Promise<void>> {
  for (const pid of childrenOf(clay.pid)) {
    process.kill(pid, 'SIGTERM');
    await setImmediate();
  }
  return async () => {};
}

/** From the first process that is gone to the last: an obedient one is gone as soon as it is signalled. */
async function secondsToEnd(
  count: number,
  end: (clay: Clay, count: number) => Promise<() => Promise<void>>,
): Promise<number> {
  const { clay, stop } = await startFleet(count);
  const watching = secondsUntilAllAreGone(clay, count);
  const stopEnding = await end(clay, count);
  try {
    return await watching;
  } finally {
    await stopEnding();
    await stop();
  }
}

async function secondsUntilAllAreGone(clay: Clay, count: number): Promise<number> {
  let begun = 0;
  for (let left = count; left > 0; left = childrenOf(clay.pid).length) {
    if (begun === 0 && left < count) begun = performance.now();
    await sleep(2);
  }
  return begun === 0 ? 0 : (performance.now() - begun) / 1000;
}
