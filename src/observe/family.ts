import { isToolShell } from '../claude/recognise.ts';
import { fail, ok, type Result } from '../files.ts';
import { keyOf, type ProcessId, type Tool } from '../judge/evidence.ts';
import { isDead, type Stat } from '../proc/stat.ts';
import { readCmdline } from '../proc/strings.ts';
import { readChildStats } from './candidates.ts';
import type { Host } from './host.ts';

/** A process and all below it. */
export type Family = {
  readonly children: number;
  readonly descendants: readonly ProcessId[];
  readonly tools: readonly Tool[];
  readonly cpuMs: number;
  readonly cpuMsByProcess: ReadonlyMap<string, number>;
};

/** No conversation has this many processes; a fork bomb has. */
const MAX_DESCENDANTS = 4096;

/** Looks at all processes below one, nearest first. */
export function readFamily(host: Host, head: Stat): Result<Family> {
  const msPerTick = 1000 / host.units.ticksPerSecond;
  const descendants: ProcessId[] = [];
  const tools: Tool[] = [];
  const cpuMsByProcess = new Map([[keyOf(head), head.ownTicks * msPerTick]]);
  let cpuMs = (head.ownTicks + head.reapedTicks) * msPerTick;
  let children = 0;

  const queue = [head.pid];
  for (let at = 0; at < queue.length; at++) {
    // Any of those that were not looked at may run a tool.
    if (queue.length > MAX_DESCENDANTS) return fail('odd', `more than ${MAX_DESCENDANTS} processes run below it`);
    const below = readChildStats(host, queue[at] ?? 0);
    if (!below.ok && below.failure.why === 'gone' && at > 0) continue;
    if (!below.ok) return below;
    if (at === 0) children = below.value.length;
    for (const stat of below.value) {
      queue.push(stat.pid);
      descendants.push({ pid: stat.pid, startTicks: stat.startTicks });
      cpuMs += (stat.ownTicks + stat.reapedTicks) * msPerTick;
      cpuMsByProcess.set(keyOf(stat), stat.ownTicks * msPerTick);
      const why = isDead(stat) ? ok(null) : toolIn(host, stat, head);
      if (!why.ok) return why;
      if (why.value) tools.push({ pid: stat.pid, why: why.value });
    }
  }
  return ok({ children, descendants, tools, cpuMs, cpuMsByProcess });
}

/** Tool shells lead sessions of their own; MCP servers and all below them share that of `claude` (measured). */
function toolIn(host: Host, stat: Stat, head: Stat): Result<Tool['why'] | null> {
  if (stat.session !== head.session) return ok('own session');
  const cmdline = readCmdline(host.procRoot, stat.pid);
  if (!cmdline.ok) return cmdline.failure.why === 'gone' ? ok(null) : cmdline;
  return ok(isToolShell(cmdline.value) ? 'tool shell' : null);
}
