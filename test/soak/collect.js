// Loaded into the service before it starts (node --import): collects all garbage now and then, and writes down what stays.
// Without that, most of what one sees is garbage that nobody has collected yet: even a service that does nothing gathers
// 80 kB of it a second for minutes on end, and a leak of a tenth of that would hide in there.
import { appendFileSync, readFileSync } from 'node:fs';
import process from 'node:process';
import { getHeapCodeStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const EVERY_MS = 2_000;

// Those of the unit's options that NODE_OPTIONS does not take, --expose-gc among them.
for (const option of process.env.V8_OPTIONS.split(' ')) setFlagsFromString(option);
const collect = runInNewContext('gc');
const file = process.env.MEMORY_LOG;

setInterval(() => {
  collect();
  // Page by page: the number in `status` is off by some dozen pages for each core (proc(5)).
  const rollup = readFileSync('/proc/self/smaps_rollup', 'utf8');
  const resident = Number(/^Rss:\s+(\d+) kB$/m.exec(rollup)?.[1]) * 1024;
  // V8 goes on compiling for as long as a program runs, a function at a time: code is no object that somebody keeps.
  const heap = process.memoryUsage().heapUsed - getHeapCodeStatistics().code_and_metadata_size;
  appendFileSync(file, `${JSON.stringify({ at: Date.now(), resident, heap })}\n`);
}, EVERY_MS).unref();
