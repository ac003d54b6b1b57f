import type { Assessment } from '../assess.ts';
import { formatDuration } from '../judge/duration.ts';
import type { IdleOrphan, Judgement } from '../judge/judge.ts';

/** What each verdict means. */
const VERDICT_MEANINGS: Readonly<Record<Judgement['verdict'], string>> = {
  protected: 'in use or in doubt, never ended',
  grace: 'idle, its wait is not over',
  reap: 'its wait is over',
};

/** "protected: in use or in doubt, never ended; …", of the verdicts that are shown. Null: none. */
export function legendLine({ judgements }: Pick<Assessment, 'judgements'>): string | null {
  const shown = Object.entries(VERDICT_MEANINGS).filter(([name]) => judgements.some(({ verdict }) => verdict === name));
  return shown.length === 0 ? null : shown.map(([name, meaning]) => `${name}: ${meaning}`).join('; ');
}

/** What comes next after a table of processes, in one line for a person. */
export function nextStepLine({ judgements }: Pick<Assessment, 'judgements'>): string {
  const orphans = judgements.filter((judgement): judgement is IdleOrphan => judgement.verdict !== 'protected');
  if (orphans.some(({ verdict }) => verdict === 'reap')) return '"clay-reaper cleanup" asks, then ends those to reap';
  const leftMs = Math.min(...orphans.map(({ waitMs, idleMs }) => waitMs - idleMs));
  if (Number.isFinite(leftMs))
    return `the first is due in ${formatDuration(leftMs)}; "clay-reaper cleanup --now" ends them now`;
  if (judgements.length > 0) return '"clay-reaper explain PID" shows why a process is kept';
  return 'nothing to do: Clay starts a claude process with the next message of a conversation';
}

/** What `cleanup` has come to. */
export type CleanupEnd = 'nothing-due' | 'dry-run' | 'declined' | 'done';

/** What comes next after `cleanup`. */
export function afterCleanup(end: CleanupEnd, assessment: Pick<Assessment, 'judgements'>): string {
  switch (end) {
    case 'nothing-due':
      return nextStepLine(assessment);
    case 'dry-run':
      return '"clay-reaper cleanup" without a dry run asks, then ends them';
    case 'declined':
      return '"clay-reaper explain PID" shows why a process would be ended';
    case 'done':
      return '"clay-reaper history" lists what was ended; each conversation resumes with its next message';
  }
}

/** What comes next after a history. */
export const afterHistory = (isEmpty: boolean): string =>
  isEmpty ? '"clay-reaper status" shows what runs now' : '"clay-reaper explain PID" shows why a process was ended';

/** What comes next after the settings: how to change them. `file`: where they are, or would be. */
export const afterConfig = (file: string): string =>
  `to change a setting, edit ${file}, try it with "clay-reaper config --check", then reload the service: systemctl reload clay-reaper`;
