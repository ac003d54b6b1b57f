import { isToolShell } from '../claude/process.ts';
import { BUDGET_EXHAUSTED, type UserBudget } from '../fs/user-budget.ts';
import type { CpuPart, Tool } from '../judge/evidence.ts';
import { readChildStats } from '../proc/children.ts';
import { readCmdline } from '../proc/cmdline.ts';
import { environHas } from '../proc/environ.ts';
import { keyOf, type ProcessId } from '../proc/process-id.ts';
import { isDead, MS_PER_TICK, type Stat } from '../proc/stat.ts';
import { fail, ok, type Result } from '../result.ts';

/** A process and its descendants. */
export type ProcessTree = {
  readonly children: number;
  readonly descendants: readonly ProcessId[];
  readonly tools: readonly Tool[];
  readonly cpuParts: ReadonlyMap<string, CpuPart>;
};

/** No conversation has so many processes; a fork bomb does. */
const MAX_DESCENDANTS = 4096;

/** Reads all descendants of a process, nearest first. */
export function readProcessTree(procRoot: string, root: Stat, budget: UserBudget): Result<ProcessTree> {
  const descendants: ProcessId[] = [];
  const tools: Tool[] = [];
  const cpuParts = new Map<string, MutableCpuPart>();
  addToPart(cpuParts, root, root);
  let children = 0;

  const queue: { readonly pid: number; readonly child: Stat | null }[] = [{ pid: root.pid, child: null }];
  for (let at = 0; at < queue.length; at++) {
    if (budget.exhausted()) return fail('invalid', BUDGET_EXHAUSTED);
    // Unvisited descendants might run a tool, so give up, which protects the process.
    if (queue.length > MAX_DESCENDANTS) return fail('invalid', `more than ${MAX_DESCENDANTS} processes run below it`);
    const parent = queue[at] ?? { pid: 0, child: null };
    const below = readChildStats(procRoot, parent.pid, budget);
    if (!below.ok && below.failure.code === 'not-found' && at > 0) continue;
    if (!below.ok) return below;
    if (at === 0) children = below.value.length;
    for (const stat of below.value) {
      const child = parent.child ?? stat;
      queue.push({ pid: stat.pid, child });
      descendants.push({ pid: stat.pid, startTicks: stat.startTicks });
      addToPart(cpuParts, child, stat);
      if (isDead(stat)) continue;
      // All may be children of one process, each with a command line of 1 MB.
      if (budget.exhausted()) return fail('invalid', BUDGET_EXHAUSTED);
      const tool = detectTool(procRoot, stat, root, budget);
      if (!tool.ok) return tool;
      if (tool.value) tools.push({ pid: stat.pid, why: tool.value });
    }
  }
  return ok({ children, descendants, tools, cpuParts });
}

type MutableCpuPart = { -readonly [Key in keyof CpuPart]: CpuPart[Key] } & { ownMsByProcess: Map<string, number> };

/** Adds a process to the part of `claude` or of the child that it is or descends from. */
function addToPart(parts: Map<string, MutableCpuPart>, head: Stat, stat: Stat): void {
  const key = keyOf(head);
  const part = parts.get(key) ?? { pid: head.pid, cpuMs: 0, ownMsByProcess: new Map() };
  part.cpuMs += (stat.ownTicks + stat.reapedTicks) * MS_PER_TICK;
  part.ownMsByProcess.set(keyOf(stat), stat.ownTicks * MS_PER_TICK);
  parts.set(key, part);
}

/**
 * The descendants of a `claude` before 2.1.141 that run a hook: hooks share its session, but have a variable that nothing
 * else has (measured from 2.1.44 to 2.1.133). An environment is read every time: between fork(2) and execve(2) it is that of
 * `claude` (seen). A descendant whose environment cannot be read may run a hook.
 */
export function findHooks(procRoot: string, { descendants, tools }: ProcessTree, budget: UserBudget): Tool[] {
  return descendants.flatMap(({ pid }): Tool[] => {
    if (tools.some((tool) => tool.pid === pid)) return [];
    const isHook = environHas(procRoot, pid, 'CLAUDE_PROJECT_DIR', budget);
    const mayBeHook = isHook.ok ? isHook.value : isHook.failure.code !== 'not-found';
    return mayBeHook ? [{ pid, why: 'hook' }] : [];
  });
}

/** Tool shells lead sessions of their own; MCP servers and their descendants share the session of `claude` (measured). */
function detectTool(procRoot: string, stat: Stat, root: Stat, budget: UserBudget): Result<Tool['why'] | null> {
  if (stat.session !== root.session) return ok('own session');
  const cmdline = readCmdline(procRoot, stat.pid, budget);
  if (!cmdline.ok) return cmdline.failure.code === 'not-found' ? ok(null) : cmdline;
  return ok(isToolShell(cmdline.value) ? 'tool shell' : null);
}
