import { processCount } from '../accounting.ts';
import { type Fleet, startFleet, startUnrelated } from '../fleet.ts';
import { plainLoop, psListAndPidusage, type Rival, shellLoop } from '../rivals.ts';
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
export async function lookRows(extent: Extent): Promise<Row[]> {
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
    const rivals = {
      shell: { rival: shellLoop(fleet.clay.pid, CANDIDATES), looks: 10 },
      psList: { rival: psListAndPidusage(fleet.clay.pid, CANDIDATES), looks: 20 },
      plain: { rival: await plainLoop(fleet.clay), looks: 100 },
    };
    const { own, others } = await interleave(service, rivals, extent === 'full' ? 9 : 3);
    const figure = `CPU of one sweep, ${CANDIDATES} idle candidates, ${processCount()} processes`;
    const shell = ratios(others.shell, own);
    const psList = ratios(others.psList, own);
    const plain = ratios(own, others.plain);
    rows.push(
      row(figure, "the bug report's shell loop", timesLess(40), shell, others.shell, own, extent),
      row(figure, 'ps-list, pidusage and a count of descriptors', timesLess(8), psList, others.psList, own, extent),
      row(figure, 'the same files opened, read and closed', atMostTimes(1.5), plain, own, others.plain, extent),
    );
    for (const { rival } of Object.values(rivals)) await rival.stop();
  });
  await withFleet(await startFleet(CANDIDATES, { connected: CONNECTED }), async (fleet, service) => {
    const shell = { rival: shellLoop(fleet.clay.pid, CANDIDATES), looks: 10 };
    const { own, others } = await interleave(service, { shell }, extent === 'full' ? 9 : 3);
    const figure = `the same, ${CONNECTED} of them with an open TCP connection`;
    rows.push(row(figure, 'the same loop', timesLess(12), ratios(others.shell, own), others.shell, own, extent));
  });
  return rows;
}

/** What no goal was set for: the same without processes added, without a question to Clay, and with heavier ones. */
async function rowsForInformation(): Promise<Row[]> {
  const rows: Row[] = [];
  const goal = { ...timesLess(1), words: '(for information)' };
  const add = (figure: string, against: string, times: number[], dividends: number[], divisors: number[]): void =>
    void rows.push({ ...row(figure, against, goal, times, dividends, divisors, 'full'), pass: null });
  await withFleet(await startFleet(CANDIDATES), async (fleet, service) => {
    const rivals = {
      shell: { rival: shellLoop(fleet.clay.pid, CANDIDATES), looks: 10 },
      psList: { rival: psListAndPidusage(fleet.clay.pid, CANDIDATES), looks: 20 },
      plain: { rival: await plainLoop(fleet.clay, false), looks: 100 },
    };
    const { own, others } = await interleave(service, rivals, 3);
    const figure = `CPU of one sweep, ${CANDIDATES} idle candidates, ${processCount()} processes`;
    const { shell, psList, plain } = others;
    add(figure, "the bug report's shell loop", ratios(shell, own), shell, own);
    add(figure, 'ps-list, pidusage and a count of descriptors', ratios(psList, own), psList, own);
    add(figure, 'the same files but for the socket', ratios(own, plain), own, plain);
    for (const { rival } of Object.values(rivals)) await rival.stop();
  });
  await withFleet(await startFleet(CANDIDATES, { shape: 'node' }), async (fleet, service) => {
    const rivals = { shell: { rival: shellLoop(fleet.clay.pid, CANDIDATES), looks: 10 } };
    const { own, others } = await interleave(service, rivals, 3);
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

type Rivals<Name extends string> = Readonly<Record<Name, { readonly rival: Rival; readonly looks: number }>>;

/** CPU times in ms, taken in turns: what else the machine does hits all of them alike. */
async function interleave<Name extends string>(
  service: Service,
  rivals: Rivals<Name>,
  rounds: number,
): Promise<{ own: number[]; others: Record<Name, number[]> }> {
  const names = Object.keys(rivals) as Name[];
  const others = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Name, number[]>;
  const own: number[] = [];
  for (let round = 0; round < rounds; round++) {
    service.goOn();
    own.push(await service.cpuOfSweep(100));
    service.halt();
    for (const name of names) others[name].push(await rivals[name].rival.cpuOfLook(rivals[name].looks));
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
  const inWords = (times: number): string => `${times.toFixed(times < 10 ? 2 : 1)} (${inMs})`;
  return rowOf({ figure, against }, goal, measured, inWords, extent);
}
