// npm run bench [-- --short] [--only sweep,scale,memory,once,clays] [--out FILE]: what clay-reaper costs, each figure as a
// ratio to something measured beside it in the same run. Exits with 1 if a goal is missed (by twice, in the short form, where
// what is missed by less is "allowed").
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { machine, processCount } from './accounting.ts';
import type { Extent, Row } from './row.ts';
import { clayRows } from './rows/clays.ts';
import { memoryRows } from './rows/memory.ts';
import { onceRows } from './rows/once.ts';
import { scaleRows } from './rows/scale.ts';
import { sweepRows } from './rows/sweep.ts';

const PARTS: Readonly<Record<string, (extent: Extent) => Promise<Row[]>>> = {
  sweep: sweepRows,
  scale: scaleRows,
  once: onceRows,
  clays: clayRows,
  memory: memoryRows,
};

const { values } = parseArgs({
  options: {
    short: { type: 'boolean', default: false },
    only: { type: 'string' },
    out: { type: 'string', default: 'dist/bench.json' },
  },
});
const extent: Extent = values.short ? 'short' : 'full';
const parts = values.only?.split(',') ?? Object.keys(PARTS);

const rows: Row[] = [];
for (const part of parts) {
  const measure = PARTS[part];
  if (!measure) throw new Error(`there is no part ${part}; there are ${Object.keys(PARTS).join(', ')}`);
  process.stderr.write(`bench: ${part} …\n`);
  rows.push(...(await measure(extent)));
}

const noise = (row: Row): string => (row.noisePercent === null ? '' : `± ${row.noisePercent.toFixed(0)} %`);
const header = `Measured on ${machine()}, ${processCount()} processes, load ${loadavg()[0]?.toFixed(1)}.`;
const lines = [
  '| figure | against | goal | measured | noise | met |',
  '|---|---|---|---|---|---|',
  ...rows.map(
    (row) => `| ${[row.figure, row.against, row.goal, row.measured, noise(row), row.met ?? ''].join(' | ')} |`,
  ),
];
process.stdout.write(`${header}\n\n${lines.join('\n')}\n`);
const result = { at: new Date().toISOString(), machine: machine(), extent, rows };
writeFileSync(values.out, `${JSON.stringify(result, null, 2)}\n`);
process.exitCode = rows.some((row) => row.met === 'NO') ? 1 : 0;
