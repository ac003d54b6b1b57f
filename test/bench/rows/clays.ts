import { appendFileSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Clay, startClay } from '../../helpers/clay.ts';
import { type Fleet, startFleet } from '../fleet.ts';
import { atMost, type Extent, type Row, rowOf, within } from '../row.ts';
import { type Service, startService } from '../service.ts';

/** What Clays can do to the cost of a sweep: long journals, and silence. */
export async function clayRows(extent: Extent): Promise<Row[]> {
  return [await journalRow(extent), await homesRow(extent)];
}

async function journalRow(extent: Extent): Promise<Row> {
  const goal = within(20);
  const small = await busyFleet(20_000);
  const large = await busyFleet(200_000_000);
  const ratios: number[] = [];
  try {
    for (let round = 0; round < (extent === 'full' ? 7 : 3); round++) {
      ratios.push((await large.cpuOfSweep(60)) / (await small.cpuOfSweep(60)));
    }
  } finally {
    await small.stop();
    await large.stop();
  }
  const about = { figure: 'CPU of one sweep, a journal of 200 MB in a busy project', against: 'one of 20 kB' };
  return rowOf(about, goal, ratios, (times) => `${times.toFixed(3)} times it`, extent);
}

type BusyFleet = { readonly cpuOfSweep: (sweeps: number) => Promise<number>; readonly stop: () => Promise<void> };

/** Ten idle processes and one in a turn, whose journal grows from sweep to sweep. */
async function busyFleet(journalBytes: number): Promise<BusyFleet> {
  const fleet: Fleet = await startFleet(10);
  const { clay } = fleet;
  const busy = await clay.spawnClaude({ project: 'p0', shape: 'native', journal: 'open' });
  const journal = busy.journal ?? '';
  fillJournal(journal, journalBytes);
  await clay.setProject('p0', { isProcessing: true });
  const service: Service = await startService([clay]);
  service.halt();
  return {
    cpuOfSweep: async (sweeps) => {
      const writing = setInterval(() => appendFileSync(journal, '{"type":"delta","text":"and so on"}\n'), 50);
      service.goOn();
      const cpu = await service.cpuOfSweep(sweeps);
      service.halt();
      clearInterval(writing);
      return cpu;
    },
    stop: async () => {
      await service.stop();
      await fleet.stop();
    },
  };
}

/** Appends whole turns until a journal is so long, and opens another one. */
function fillJournal(path: string, bytes: number): void {
  const records = [
    { type: 'user_message', text: 'go on' },
    ...Array.from({ length: 40 }, (_, at) => ({
      type: 'delta',
      text: `${at}: a sentence of some twelve words, as an answer has them`,
    })),
    { type: 'tool_start', id: 'toolu_01', name: 'Bash' },
    { type: 'tool_result', id: 'toolu_01', content: 'x'.repeat(2_000) },
    { type: 'result', cost: 0.0001, duration: 159 },
    { type: 'done', code: 0 },
  ];
  const turn = records.map((record) => `${JSON.stringify(record)}\n`).join('');
  const many = turn.repeat(Math.max(1, Math.ceil(Math.min(bytes, 1_000_000) / turn.length)));
  const journal = openSync(path, 'a');
  for (let written = 0; written < bytes; written += many.length) writeSync(journal, many);
  writeSync(journal, '{"type":"user_message","text":"and now"}\n');
  closeSync(journal);
}

/** A Clay that has not answered by then counts as silent: src/clay/api.ts. */
const API_LIMIT_SECONDS = 2;

async function homesRow(extent: Extent): Promise<Row> {
  const goal = atMost(1.05, 'one API limit more, not a sum', 1.5);
  const count = 20;
  const directory = mkdtempSync(join(tmpdir(), 'bench-metrics-'));
  const metrics = join(directory, 'clay-reaper.prom');
  const clays: Clay[] = [];
  let measured = Number.NaN;
  try {
    for (let at = 0; at < count; at++) clays.push(await startClay({ projects: ['p'] }));
    const service = await startService(clays, { env: { CLAY_REAPER_METRICS_TEXTFILE: metrics } });
    const secondsOfSweep = async (sweeps: number): Promise<number> => {
      await service.sweep(1);
      await sleep(2_500);
      const before = readDurations(metrics);
      await service.sweep(sweeps + 1);
      const after = readDurations(metrics);
      return (after.sum - before.sum) / (after.count - before.count);
    };
    try {
      const answered = await secondsOfSweep(30);
      await clays[count - 1]?.answerStatus({ mode: 'silent' });
      const silent = await secondsOfSweep(extent === 'full' ? 10 : 3);
      measured = (silent - answered) / API_LIMIT_SECONDS;
    } finally {
      await service.stop();
    }
  } finally {
    for (const clay of clays) await clay.stop();
    rmSync(directory, { recursive: true, force: true });
  }
  const figure = `time of one sweep, ${count} Clay homes, one of which never answers`;
  const about = { figure, against: `${count} that answer` };
  return rowOf(about, goal, [measured], (limits) => `${limits.toFixed(3)} API limits more`, extent);
}

/** The service's own count of its sweeps, and of the time that they took. */
function readDurations(path: string): { sum: number; count: number } {
  const text = readFileSync(path, 'utf8');
  const value = (name: string): number =>
    Number(new RegExp(`^clay_reaper_sweep_duration_seconds_${name} (\\S+)$`, 'm').exec(text)?.[1]);
  return { sum: value('sum'), count: value('count') };
}
