import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Lets a benchmark drive a rival: for each line {"looks", "everyMs"} on stdin the look is taken so often, at the pace of
 * the service that it is compared with, and {"cpuMs"} is answered: what one look cost, child processes included.
 */
export function serveLooks(look) {
  createInterface({ input: process.stdin }).on('line', async (line) => {
    const { looks, everyMs } = JSON.parse(line);
    const before = cpuMs();
    let result;
    for (let each = 0; each < looks; each++) {
      await sleep(everyMs);
      result = await look();
    }
    process.stdout.write(`${JSON.stringify({ cpuMs: (cpuMs() - before) / looks, result })}\n`);
  });
}

/** getrusage(2) for this process, and for its children (cutime and cstime, in ticks of 10 ms). */
function cpuMs() {
  const { user, system } = process.cpuUsage();
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (user + system) / 1000 + (Number(fields[13]) + Number(fields[14])) * 10;
}
