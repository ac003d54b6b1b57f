import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Lets a benchmark drive a baseline: for each line {"runs", "everyMs"} on stdin performs so many runs, at the pace of
 * the service that it is compared with, and {"cpuMs"} is answered: what one run cost, child processes included.
 */
export function serveRuns(run) {
  createInterface({ input: process.stdin }).on('line', async (line) => {
    const { runs, everyMs } = JSON.parse(line);
    const before = cpuMs();
    let result;
    for (let done = 0; done < runs; done++) {
      await sleep(everyMs);
      result = await run();
    }
    process.stdout.write(`${JSON.stringify({ cpuMs: (cpuMs() - before) / runs, result })}\n`);
  });
}

/** getrusage(2) for this process, and for its children (cutime and cstime, in ticks of 10 ms). */
function cpuMs() {
  const { user, system } = process.cpuUsage();
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (user + system) / 1000 + (Number(fields[13]) + Number(fields[14])) * 10;
}
