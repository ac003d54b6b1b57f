// What one would write with the two libraries: every process of the machine, then CPU, memory and descriptors of those
// that are called claude.
import { readdirSync } from 'node:fs';
import pidusage from 'pidusage';
import psList from 'ps-list';
import { serveLooks } from './worker.js';

const clay = Number(process.argv[2]);

serveLooks(async () => {
  const claudes = (await psList()).filter((each) => each.ppid === clay && /(^|\/)claude( |$)/.test(each.cmd ?? ''));
  const usage = await pidusage(claudes.map(({ pid }) => pid));
  const rows = claudes.map(({ pid }) => ({ ...usage[pid], fds: readdirSync(`/proc/${pid}/fd`).length }));
  return rows.length;
});
