// What one would write with the two libraries: every process of the machine, then CPU, memory and descriptors of those
// that are called claude.
import { readdirSync } from 'node:fs';
import pidusage from 'pidusage';
import psList from 'ps-list';
import { serveRuns } from './worker.js';

const clay = Number(process.argv[2]);

serveRuns(async () => {
  const claudes = (await psList()).filter(
    (claude) => claude.ppid === clay && /(^|\/)claude( |$)/.test(claude.cmd ?? ''),
  );
  const usage = await pidusage(claudes.map(({ pid }) => pid));
  const rows = claudes.map(({ pid }) => ({ ...usage[pid], fds: readdirSync(`/proc/${pid}/fd`).length }));
  return rows.length;
});
