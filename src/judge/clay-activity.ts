import type { Evidence } from './evidence.ts';

/** A process's start is known to a tick (10 ms), a file's change to some ms. */
const START_TOLERANCE_MS = 1_000;

/** Whether a journal has changed since a process began, so that a turn open in it may be that process's. Wall clock, ms. */
export const isOfProcess = (changedAtMs: number, startedAtMs: number): boolean =>
  changedAtMs >= startedAtMs - START_TOLERANCE_MS;

/**
 * Describes the turn that is open in the journal, or returns null if there is none of this process. Clay writes to the
 * journal throughout a turn: one that did not change after the process began was left open by an earlier process.
 */
export function openTurn({ journal, startedAtMs, sessionId, doubtfulSessionId }: Evidence): string | null {
  if (journal.state !== 'found' || journal.turn !== 'open') return null;
  if (!isOfProcess(journal.changedAtMs, startedAtMs)) return null;
  const whose = sessionId === null && doubtfulSessionId === null ? 'a journal of its project' : 'its journal';
  return `${whose} in Clay has a turn open (last record ${journal.decidedBy})`;
}

/** Claude writes the last record of a turn up to 0.1 s after Clay has written its end (6 releases, a load of 8 per core). */
const TRANSCRIPT_DELAY_MS = 10_000;

/**
 * Describes the turn that Clay reports where this process belongs, or returns null if Clay reports none or the journal
 * of this very conversation shows that its own turn has ended. A Clay that cannot write a journal (it may not, a full disk) goes on
 * without: it shows that only if the conversation did not go on in its transcript, which a full disk keeps from being written too.
 */
export function projectInTurn(evidence: Evidence): string | null {
  const { clay, project, journal, journalDiskIsFull, sessionId, transcriptChangedAtMs } = evidence;
  if (clay.state !== 'answered') return null;
  const busy = project === null ? clay.busyProjects[0] : project.inTurn ? project.slug : undefined;
  if (busy === undefined) return null;
  const hasEnded = sessionId !== null && journal.state === 'found' && journal.turn === 'ended';
  const isUpToDate = hasEnded && (transcriptChangedAtMs ?? 0) <= journal.changedAtMs + TRANSCRIPT_DELAY_MS;
  if (isUpToDate && !journalDiskIsFull) return null;
  const why = isUpToDate
    ? 'its journal may lack it, as the disk is full'
    : project === null
      ? 'the process cannot be tied to a project'
      : 'this conversation is not known to be at rest';
  return `project ${busy} is in a turn, and ${why}`;
}
