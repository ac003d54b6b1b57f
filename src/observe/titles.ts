import { readTitle } from '../clay/journal.ts';
import type { UserBudgets } from '../fs/user-budget.ts';
import type { Evidence } from '../judge/evidence.ts';
import { keyOf } from '../proc/process-id.ts';
import type { Candidate } from './candidates.ts';

/** The titles of conversations, by keyOf the process. */
export type Titles = ReadonlyMap<string, string>;

/** Reads the titles of the conversations of these processes from the first line of each journal. For display only. */
export function readTitles({
  evidence,
  candidates,
  budgets,
}: {
  readonly evidence: readonly Evidence[];
  readonly candidates: readonly Candidate[];
  readonly budgets: UserBudgets;
}): Titles {
  const owners = new Map(candidates.map(({ stat, owner }) => [keyOf(stat), owner]));
  const titles = new Map<string, string>();
  for (const { id, journal } of evidence) {
    const owner = owners.get(keyOf(id));
    if (journal.state !== 'found' || owner === undefined) continue;
    const uid = owner.state === 'alive' ? owner.probe.daemon.uid : owner.uid;
    const title = readTitle(journal.path, uid, budgets.of(uid));
    if (title !== null) titles.set(keyOf(id), title);
  }
  return titles;
}
