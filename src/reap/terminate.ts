import type { UserBudget } from '../fs/user-budget.ts';
import type { IdleOrphan } from '../judge/judge.ts';
import { readProcessTree } from '../observe/process-tree.ts';
import { keyOf, type ProcessId } from '../proc/process-id.ts';
import { readStat } from '../proc/stat.ts';
import { type RecheckContext, recheckBeforeKill, recheckBeforeTerm } from './recheck.ts';
import type { Outcome, Spared } from './result.ts';
import { type SignalTarget, sendSignal, targetOf, waitForExit } from './signals.ts';

/** SIGKILL takes effect at once, except on a process in uninterruptible sleep. */
const SIGKILL_TIMEOUT_MS = 5_000;

/** Descendants that outlive a SIGKILL get this long to end after SIGTERM; MCP servers take some ms. */
const DESCENDANT_TIMEOUT_MS = 5_000;

/**
 * Ends one process: recheck, SIGTERM, and, if it still runs after `killAfterMs`, recheck and SIGKILL.
 * Null if `abort` fired while it was waited for: SIGTERM was sent, and what becomes of it is not known.
 * Everything up to SIGTERM is synchronous. What takes time (transcripts, journals, process trees) is read before
 * {@link sendSignal}, which checks the identity once more directly before each kill(2).
 */
export async function terminate(
  context: RecheckContext,
  orphan: IdleOrphan,
  killAfterMs: number,
  abort: AbortSignal | null,
): Promise<Outcome | null> {
  const { procRoot } = context;
  const { id, uid, comm } = orphan.evidence;
  const target: SignalTarget = { ...id, uid, comm };
  const { recheck, descendants } = recheckBeforeTerm(context, orphan);
  if (recheck === 'gone') return { outcome: 'vanished' };
  if (recheck !== 'proceed') return recheck;
  const sigterm = sendSignal(procRoot, target, 'SIGTERM');
  if (sigterm.state === 'gone') return { outcome: 'vanished' };
  if (sigterm.state === 'refused') return spare(sigterm.why);
  if (sigterm.state === 'denied') return { outcome: 'survived', signal: null, why: 'it may not be signalled' };
  if ((await waitForExit(procRoot, [id], killAfterMs, abort)).length === 0)
    return { outcome: 'terminated', signal: 'SIGTERM' };
  if (abort?.aborted) return null;

  const recheckAfterTerm = await recheckBeforeKill(context, orphan);
  if (recheckAfterTerm === 'gone') return { outcome: 'terminated', signal: 'SIGTERM' };
  if (recheckAfterTerm !== 'proceed') return afterTerm(recheckAfterTerm);
  if (abort?.aborted) return null;
  const descendantTargets = targetsOf(
    procRoot,
    [...descendants, ...readDescendants(procRoot, id, context.assessed.budgets.of(uid))],
    uid,
  );
  const sigkill = sendSignal(procRoot, target, 'SIGKILL');
  if (sigkill.state === 'gone') return { outcome: 'terminated', signal: 'SIGTERM' };
  if (sigkill.state === 'refused') return afterTerm(spare(sigkill.why));
  if (sigkill.state === 'denied') return { outcome: 'survived', signal: 'SIGTERM', why: 'it may not be killed' };
  if ((await waitForExit(procRoot, [id], SIGKILL_TIMEOUT_MS, abort)).length > 0)
    return abort?.aborted ? null : { outcome: 'survived', signal: 'SIGKILL', why: 'it is still there after SIGKILL' };
  const leftovers = await killSurvivingDescendants(procRoot, descendantTargets, abort);
  return { outcome: 'killed', signal: 'SIGKILL', leftovers };
}

const spare = (why: string): Spared => ({ outcome: 'spared', why, because: 'active' });

const afterTerm = (spared: Spared): Spared => ({ ...spared, why: `after SIGTERM: ${spared.why}` });

function readDescendants(procRoot: string, id: ProcessId, budget: UserBudget): readonly ProcessId[] {
  const stat = readStat(procRoot, id.pid);
  if (!stat.ok || stat.value.startTicks !== id.startTicks) return [];
  const tree = budget.run(() => readProcessTree(procRoot, stat.value, budget));
  return tree.ok ? tree.value.descendants : [];
}

/** Each of these processes once, without those that are dead or run under another uid. */
function targetsOf(procRoot: string, ids: readonly ProcessId[], uid: number): SignalTarget[] {
  const unique = new Map(ids.map((id) => [keyOf(id), id]));
  return [...unique.values()].flatMap((id) => targetOf(procRoot, id, uid) ?? []);
}

/**
 * Ends the descendants that a SIGKILL left behind, if each is still what it was before. Returns how many there were.
 * After an abort nobody looks for them again, so they are killed without a wait.
 */
async function killSurvivingDescendants(
  procRoot: string,
  descendants: readonly SignalTarget[],
  abort: AbortSignal | null,
): Promise<number> {
  const survivors = descendants.filter((target) => sendSignal(procRoot, target, 'SIGTERM').state === 'sent');
  const remaining = await waitForExit(procRoot, survivors, DESCENDANT_TIMEOUT_MS, abort);
  for (const target of remaining) sendSignal(procRoot, target, 'SIGKILL');
  await waitForExit(procRoot, remaining, SIGKILL_TIMEOUT_MS, abort);
  return survivors.length;
}
