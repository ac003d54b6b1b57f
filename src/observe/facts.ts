import type { ClaudeEnvironment } from '../claude/recognise.ts';
import type { SessionFile } from '../claude/session-file.ts';
import type { TranscriptCursors } from '../claude/transcript.ts';
import type { FoundFile } from '../clay/encoded-folder.ts';
import type { Journal } from '../clay/journal.ts';
import { type Memo, newMemo } from '../files.ts';
import type { ProcessId } from '../judge/evidence.ts';
import { isAtRestSince, type Runs } from '../proc/runs.ts';
import type { Stat } from '../proc/stat.ts';
import type { Status } from '../proc/status.ts';
import type { Family } from './family.ts';

/** What does not change while a process lives, or cannot change unnoticed. */
export type Facts = {
  readonly startTicks: number;
  readonly environment: ClaudeEnvironment;
  inside: Inside | null;
  readonly sessionFile: Memo<SessionFile>;
  transcriptPath: string | null;
  transcripts: TranscriptCursors;
  journalPlace: FoundFile | null;
  readonly journal: Memo<Journal>;
};

/** What only the process itself can change, and how often it had run before it was looked at. */
export type Inside = {
  readonly runs: Runs | null;
  /** Its resident memory alone can be another by now. */
  readonly stat: Stat | null;
  readonly cwd: string | null;
  /** Whether it is the one that waits for the durable entries of its project. */
  readonly holdsTaskLock: boolean | null;
  readonly status: Status | null;
  readonly family: Family | null;
  readonly sockets: ReadonlyMap<string, number> | null;
  /** Inodes of those of its sockets that are known to be unix ones. */
  readonly unixSockets: Set<number>;
};

/** Facts of the processes of the last look, by pid. */
export type FactsByProcess = Map<number, Facts>;

/** What is known of this very process, not of one that had its pid before. */
export function factsOn(known: FactsByProcess, { pid, startTicks }: ProcessId): Facts | null {
  const facts = known.get(pid);
  return facts?.startTicks === startTicks ? facts : null;
}

/** The stat of a process as the last look saw it, if it has not run since; else null. */
export function statAtRest(known: FactsByProcess, pid: number): Stat | null {
  const inside = known.get(pid)?.inside;
  return inside?.runs && inside.stat && isAtRestSince(inside.runs) ? inside.stat : null;
}

/** The facts of a process that is seen for the first time. */
export const newFacts = (startTicks: number, environment: ClaudeEnvironment): Facts => ({
  startTicks,
  environment,
  inside: null,
  sessionFile: newMemo(),
  transcriptPath: null,
  transcripts: new Map(),
  journalPlace: null,
  journal: newMemo(),
});

/** The facts for a last look before a signal: it reads again whatever might have changed. */
export const factsToReadAgain = (facts: Facts): Facts => ({
  ...facts,
  inside: null,
  sessionFile: newMemo(),
  journalPlace: null,
  journal: newMemo(),
});
