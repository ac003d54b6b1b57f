import { processCount } from '../accounting.ts';
import { type Baseline, plainLoop, psListAndPidusage, shellLoop } from '../baselines.ts';
import { type Fleet, startFleet, startUnrelated } from '../fleet.ts';
import { atMostTimes, type Extent, type Goal, type Row, rowOf, timesLess } from '../row.ts';
import { type Service, startService } from '../service.ts';
import { median } from '../statistics.ts';

const CANDIDATES = 35;
const CONNECTED = 8;

/**
 * `ps` goes through all processes, so what it costs depends on how many there are. Where 35 `claude` run, there are the
 * system's own 100 and an MCP server or two for each; a container that only measures has to be filled up.
 */
const PROCESSES = 200;

/** One sweep against other ways to look at the same processes. */
export async function sweepRows(extent: Extent): Promise<Row[]> {
  const rows = await amongOthers(PROCESSES, () => rowsAmongOthers(extent));
  return extent === 'full' ? [...rows, ...(await rowsForInformation())] : rows;
}

/** Sees to it that the machine has so many processes meanwhile, those that are measured included. */
async function amongOthers<T>(count: number, measure: () => Promise<T>): Promise<T> {
  const missing = count - CANDIDATES - processCount();
  const end = missing > 0 ? await startUnrelated(missing) : async () => {};
  try {
    return await measure();
  } finally {
    await end();
  }
}

async function rowsAmongOthers(extent: Extent): Promise<Row[]> {
  const rows: Row[] = [];
  await withFleet(await startFleet(CANDIDATES), async (fleet, service) => {
    // The recorder of the plain loop counts its own sweeps by the questions to the same Clay.
    service.halt();
    const baselines = {
      shell: { baseline: shellLoop(fleet.clay.pid, CANDIDATES), runs: 10 },
      psList: { baseline: psListAndPidusage(fleet.clay.pid, CANDIDATES), runs: 20 },
      plain: { baseline: await plainLoop(fleet.clay), runs: 100 },
    };
    const { own, others } = await interleave(service, baselines, extent === 'full' ? 9 : 3);
    const figure = `CPU of one sweep, ${CANDIDATES} idle candidates, ${processCount()} processes`;
    const shell = ratios(others.shell, own);
    const psList = ratios(others.psList, own);
    const plain = ratios(own, others.plain);
    rows.push(
      row(figure, "the bug report's shell loop", timesLess(40), shell, others.shell, own, extent),
      row(figure, 'ps-list, pidusage and a count of descriptors', timesLess(8), psList, others.psList, own, extent),
      row(figure, 'the same files opened, read and closed', atMostTimes(1.6), plain, own, others.plain, extent),
    );
    for (const { baseline } of Object.values(baselines)) await baseline.stop();
  });
  rows.push(...(await rowsWhileRunning(extent)));
  await withFleet(await startFleet(CANDIDATES, { connected: CONNECTED }), async (fleet, service) => {
    const shell = { baseline: shellLoop(fleet.clay.pid, CANDIDATES), runs: 10 };
    const { own, others } = await interleave(service, { shell }, extent === 'full' ? 9 : 3);
    const figure = `the same, ${CONNECTED} of them with an open TCP connection`;
    rows.push(row(figure, 'the same loop', timesLess(12), ratios(others.shell, own), others.shell, own, extent));
  });
  return rows;
}

/**
 * The same with candidates that run between two sweeps, as an idle `claude` of every release from 0.2.118 on does (0.2.92 rests but
 * for a burst a minute): Node programs with eleven threads, all of whose files have to be read again.
 */
async function rowsWhileRunning(extent: Extent): Promise<Row[]> {
  const rows: Row[] = [];
  await withFleet(
    await startFleet(CANDIDATES, { shape: 'node', wakes: true, sdk: '0.3.330' }),
    async (fleet, service) => {
      // The recorder of the plain loop counts its own sweeps by the questions to the same Clay.
      service.halt();
      const baselines = {
        shell: { baseline: shellLoop(fleet.clay.pid, CANDIDATES), runs: 10 },
        psList: { baseline: psListAndPidusage(fleet.clay.pid, CANDIDATES), runs: 20 },
        plain: { baseline: await plainLoop(fleet.clay), runs: 50 },
      };
      const { own, others } = await interleave(service, baselines, extent === 'full' ? 9 : 3);
      const figure = `CPU of one sweep, ${CANDIDATES} idle candidates that run between two sweeps`;
      const { shell, psList, plain } = others;
      // Not the goals of candidates at rest: their files and threads have to be read again, as the loops read them.
      const inform = (against: string, others: readonly number[]): Row => ({
        ...row(
          figure,
          against,
          { ...timesLess(1), words: '(for information)' },
          ratios(others, own),
          others,
          own,
          extent,
        ),
        met: null,
      });
      rows.push(
        inform("the bug report's shell loop", shell),
        inform('ps-list, pidusage and a count of descriptors', psList),
        row(figure, 'the same files opened, read and closed', atMostTimes(1.6), ratios(own, plain), own, plain, extent),
      );
      for (const { baseline } of Object.values(baselines)) await baseline.stop();
    },
  );
  return rows;
}

/** What no goal was set for: the same without processes added, without a question to Clay, and with heavier ones. */
async function rowsForInformation(): Promise<Row[]> {
  const rows: Row[] = [];
  const goal = { ...timesLess(1), words: '(for information)' };
  const add = (figure: string, against: string, times: number[], dividends: number[], divisors: number[]): void =>
    void rows.push({ ...row(figure, against, goal, times, dividends, divisors, 'full'), met: null });
  await withFleet(await startFleet(CANDIDATES), async (fleet, service) => {
    // The recorder of the plain loop counts its own sweeps by the questions to the same Clay.
    service.halt();
    const baselines = {
      shell: { baseline: shellLoop(fleet.clay.pid, CANDIDATES), runs: 10 },
      psList: { baseline: psListAndPidusage(fleet.clay.pid, CANDIDATES), runs: 20 },
      plain: { baseline: await plainLoop(fleet.clay, false), runs: 100 },
    };
    const { own, others } = await interleave(service, baselines, 3);
    const figure = `CPU of one sweep, ${CANDIDATES} idle candidates, ${processCount()} processes`;
    const { shell, psList, plain } = others;
    add(figure, "the bug report's shell loop", ratios(shell, own), shell, own);
    add(figure, 'ps-list, pidusage and a count of descriptors', ratios(psList, own), psList, own);
    add(figure, 'the same files but for the socket', ratios(own, plain), own, plain);
    for (const { baseline } of Object.values(baselines)) await baseline.stop();
  });
  await withFleet(await startFleet(CANDIDATES, { shape: 'node' }), async (fleet, service) => {
    const baselines = { shell: { baseline: shellLoop(fleet.clay.pid, CANDIDATES), runs: 10 } };
    const { own, others } = await interleave(service, baselines, 3);
    const figure = 'the same, none connected, each a Node program';
    add(figure, "the bug report's shell loop", ratios(others.shell, own), others.shell, own);
  });
  return rows;
}

async function withFleet(fleet: Fleet, use: (fleet: Fleet, service: Service) => Promise<void>): Promise<void> {
  try {
    const service = await startService([fleet.clay]);
    try {
      // V8 has compiled what it wants to by then, and the files are as old as they are to be.
      await service.sweep(100);
      await use(fleet, service);
    } finally {
      await service.stop();
    }
  } finally {
    await fleet.stop();
  }
}

type Baselines<Name extends string> = Readonly<Record<Name, { readonly baseline: Baseline; readonly runs: number }>>;

/** CPU times in ms, taken in turns: what else the machine does hits all of them alike. */
async function interleave<Name extends string>(
  service: Service,
  baselines: Baselines<Name>,
  rounds: number,
): Promise<{ own: number[]; others: Record<Name, number[]> }> {
  const names = Object.keys(baselines) as Name[];
  const others = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Name, number[]>;
  const own: number[] = [];
  for (let round = 0; round < rounds; round++) {
    service.goOn();
    own.push(await service.cpuOfSweep(100));
    service.halt();
    for (const name of names) others[name].push(await baselines[name].baseline.cpuPerRun(baselines[name].runs));
  }
  return { own, others };
}

const ratios = (dividends: readonly number[], divisors: readonly number[]): number[] =>
  dividends.map((dividend, at) => dividend / (divisors[at] ?? Number.NaN));

function row(
  figure: string,
  against: string,
  goal: Goal,
  measured: readonly number[],
  dividends: readonly number[],
  divisors: readonly number[],
  extent: Extent,
): Row {
  const inMs = `${median(dividends).toFixed(1)} ms / ${median(divisors).toFixed(1)} ms`;
  const formatStatusLine = (times: number): string => `${times.toFixed(times < 10 ? 2 : 1)} (${inMs})`;
  return rowOf({ figure, against }, goal, measured, formatStatusLine, extent);
}
