import type { ClaudeEnvironment } from '../claude/process.ts';
import { newPromptQueueReader, type PromptQueueReading, readPromptQueue } from '../claude/prompt-queue.ts';
import type { ScheduledRun } from '../claude/schedule.ts';
import { type ExpectedProcess, readSessionFile, type Session, type SessionFile } from '../claude/session-file.ts';
import {
  newTranscriptReader,
  readProjectTranscripts,
  readTranscripts,
  type Transcript,
  type TranscriptCursor,
} from '../claude/transcript.ts';
import {
  type ConversationReader,
  legacyProjectDirName,
  newConversationReader,
  projectDirName,
} from '../clay/conversation-file.ts';
import { type Journal, readJournal } from '../clay/journal.ts';
import { type DirectoryReader, type FileReader, newDirectoryReader, newFileReader } from '../fs/file-cache.ts';
import { listUntrustedDirectory } from '../fs/untrusted-file.ts';
import { BUDGET_EXHAUSTED, type UserBudget, type UserBudgets } from '../fs/user-budget.ts';
import { isOfProcess } from '../judge/clay-activity.ts';
import type { JournalEvidence } from '../judge/evidence.ts';
import { fail } from '../result.ts';
import type { ObservedClock } from './clock.ts';
import { type Issues, valueOr } from './issues.ts';
import type { ClayOwner } from './probe.ts';

/** The readers of the files of one conversation: its process's session file, its transcripts, its journal in Clay. */
export type ConversationFiles = {
  readonly sessionFile: FileReader<SessionFile>;
  readonly transcripts: FileReader<TranscriptCursor>;
  readonly listSubagents: DirectoryReader;
  readonly transcriptFinder: ConversationReader;
  readonly promptQueue: FileReader<PromptQueueReading>;
  readonly journal: FileReader<Journal>;
  readonly journalFinder: ConversationReader;
  /** Where the transcript was found last, or null. */
  readonly transcriptPath: () => string | null;
};

/** Readers that have read nothing yet. */
export const newConversationFiles = (): ConversationFiles =>
  withTranscriptsOnly({ transcripts: newTranscriptReader(), transcriptFinder: newConversationReader() });

/** The same readers of the transcripts, which are long and only grow; everything else will be found and read again. */
export const withTranscriptsOnly = ({
  transcripts,
  transcriptFinder,
}: Pick<ConversationFiles, 'transcripts' | 'transcriptFinder'>): ConversationFiles => ({
  sessionFile: newFileReader(),
  transcripts,
  listSubagents: newDirectoryReader(),
  transcriptFinder,
  promptQueue: newPromptQueueReader(),
  journal: newFileReader(),
  journalFinder: newConversationReader(),
  transcriptPath: () => transcriptFinder.lastFile()?.path ?? null,
});

/** The readers of the files in a project's folder: in Claude's the transcripts, in Clay's the journals. */
export type ProjectFiles = {
  readonly transcripts: FileReader<TranscriptCursor>;
  readonly journals: FileReader<Journal>;
};

/** Readers that have read nothing yet. */
export const newProjectFiles = (): ProjectFiles => ({ transcripts: newTranscriptReader(), journals: newFileReader() });

/** Gives the readers of a folder, see ProcessCache. */
type ProjectFilesOf = (directory: string, timeZone: string | null, uid: number) => ProjectFiles;

/** What the files of a conversation say of its process. */
export type Conversation = {
  /** Null: the process has no session file. */
  readonly session: Session | null;
  /** Null: there is none. */
  readonly transcript: Transcript | null;
  /** Null: it is unknown which conversation it is. */
  readonly journal: JournalReading | null;
};

/** Whose conversation it is, and where its files are. */
export type ConversationOwner = {
  readonly environment: ClaudeEnvironment;
  readonly process: ExpectedProcess;
  readonly cwd: string | null;
  readonly clay: ClayOwner;
};

/** Reads the files of the conversation of a process. */
export function readConversation(
  files: ConversationFiles,
  { environment, process, cwd, clay }: ConversationOwner,
  budgets: UserBudgets,
  issues: Issues,
): Conversation {
  const budget = budgets.of(process.uid);
  const session = sessionOf(files, environment, process, budget, issues);
  if (session === null) return { session, transcript: null, journal: null };
  const transcript = transcriptOf(files, environment, session.sessionId, cwd, budget, issues);
  const found = journalOf(files, clay, session.sessionId, cwd, budgets, issues);
  const journal = transcript ? settleQueue(files, found, budget, issues) : found;
  return { session, transcript, journal };
}

/** The home of a Clay, and the user who owns it. */
export const clayOf = (owner: ClayOwner): { readonly home: string; readonly uid: number } =>
  owner.state === 'alive' ? owner.probe.daemon : owner;

/** What its session file says of a process; null if it has none. */
function sessionOf(
  files: ConversationFiles,
  { configDir }: ClaudeEnvironment,
  owner: ExpectedProcess,
  budget: UserBudget,
  issues: Issues,
): Session | null {
  if (configDir === null) return null;
  const session = readSessionFile(configDir, owner, budget, files.sessionFile);
  // Releases before 0.2.92 write none, and no release does in its first second.
  if (!session.ok && session.failure.code === 'not-found') return null;
  return valueOr(issues, session);
}

/** What the transcripts of a conversation say; null if there are none. */
function transcriptOf(
  files: ConversationFiles,
  { configDir, timeZone }: ClaudeEnvironment,
  sessionId: string,
  cwd: string | null,
  budget: UserBudget,
  issues: Issues,
): Transcript | null {
  const likelyDirs = (): string[] => (cwd === null ? [] : [projectDirName(cwd)]);
  const transcript = files.transcriptFinder.read(`${configDir}/projects`, likelyDirs, sessionId, budget, ({ path }) =>
    readTranscripts(path, budget.uid, budget, files.transcripts, timeZone, files.listSubagents),
  );
  if (!transcript.ok && transcript.failure.code === 'not-found') return null;
  return valueOr(issues, transcript)?.value ?? null;
}

/** What Clay's journal of a conversation says, and the folder in which it is. */
export type JournalReading = {
  readonly evidence: JournalEvidence;
  readonly folder: string | null;
  readonly queuedMessages: Journal['queuedMessages'];
};

/** Reads the journal of a conversation in the home of its Clay. */
export function journalOf(
  files: ConversationFiles,
  owner: ClayOwner,
  sessionId: string,
  cwd: string | null,
  budgets: UserBudgets,
  issues: Issues,
): JournalReading {
  const { home, uid } = clayOf(owner);
  const likelyDirs = (): string[] =>
    cwd === null ? [] : [...new Set([projectDirName(cwd), legacyProjectDirName(cwd)])];
  const budget = budgets.of(uid);
  const journal = files.journalFinder.read(`${home}/sessions`, likelyDirs, sessionId, budget, ({ path }) =>
    readJournal(path, uid, budget, files.journal),
  );
  if (journal.ok && journal.value !== null) {
    const { file, value } = journal.value;
    const { queuedMessages, ...found } = value;
    return { evidence: { state: 'found', path: file.path, ...found }, folder: file.folder, queuedMessages };
  }
  if (journal.ok) return { evidence: { state: 'missing' }, folder: null, queuedMessages: null };
  // No folder at all: this Clay keeps its journals elsewhere, so that a missing journal says nothing.
  if (journal.failure.code !== 'not-found') valueOr(issues, journal);
  return { evidence: { state: 'unknown' }, folder: null, queuedMessages: null };
}

/**
 * The journal with its turn `ended` if only messages that may be queued behind it left that open, and the transcript shows them
 * answered. Clay 2.36 and 2.41 lose the first message to each new worker of an OS user. If the user sends it again, the
 * journal has two messages and one turn.
 */
function settleQueue(
  files: ConversationFiles,
  journal: JournalReading,
  budget: UserBudget,
  issues: Issues,
): JournalReading {
  const { evidence, queuedMessages } = journal;
  const path = files.transcriptPath();
  if (evidence.state !== 'found' || evidence.turn !== 'unclear' || queuedMessages === null || path === null)
    return journal;
  const isAnswered = valueOr(issues, readPromptQueue(path, queuedMessages, budget.uid, budget, files.promptQueue));
  return isAnswered ? { ...journal, evidence: { ...evidence, turn: 'ended', decidedBy: 'done' } } : journal;
}

/** A folder of more journals is not looked through; the process is not verified then. */
const MAX_JOURNALS = 10_000;

/** What is kept of a journal, in items of 100 bytes. */
const JOURNAL_ITEMS = 3;

/**
 * A turn that is open in any conversation of the folder in which a process works, as the state of its journal; `unknown` if
 * there is none. For releases that write no session file (before 0.2.92): which journal is its own cannot be told, and a
 * question to the user in a turn that Claude began by itself shows nowhere else (measured on 0.2.44 and 0.2.76).
 */
export function anyOpenTurn(
  projectFiles: ProjectFilesOf,
  owner: ClayOwner,
  cwd: string,
  startedAtMs: number,
  budgets: UserBudgets,
  issues: Issues,
): JournalReading {
  const reading = (evidence: JournalEvidence): JournalReading => ({ evidence, folder: null, queuedMessages: null });
  const { home, uid } = clayOf(owner);
  const budget = budgets.of(uid);
  for (const folder of new Set([projectDirName(cwd), legacyProjectDirName(cwd)])) {
    const directory = `${home}/sessions/${folder}`;
    const names = listUntrustedDirectory(directory, MAX_JOURNALS, budget, ({ name }) => name.endsWith('.jsonl'));
    if (!names.ok && names.failure.code === 'not-found') continue;
    const paths = (valueOr(issues, names) ?? []).map((name) => `${directory}/${name}`);
    const { journals } = projectFiles(directory, null, uid);
    journals.keepOnly(new Set(paths));
    for (const path of paths) {
      const journal = budget.reserve(JOURNAL_ITEMS)
        ? readJournal(path, uid, budget, journals)
        : fail('invalid', BUDGET_EXHAUSTED);
      if (!journal.ok && journal.failure.code === 'not-found') continue;
      const value = valueOr(issues, journal);
      if (value === null) return reading({ state: 'unknown' });
      if (value.turn !== 'open' || !isOfProcess(value.changedAtMs, startedAtMs)) continue;
      const { turn, decidedBy, changedAtMs } = value;
      return reading({ state: 'found', path, turn, decidedBy, changedAtMs });
    }
  }
  return reading({ state: 'unknown' });
}

/** What the transcripts of all conversations in the folder in which a process works say; null if there are none. */
export function projectTranscriptsOf(
  projectFiles: ProjectFilesOf,
  { configDir, timeZone }: ClaudeEnvironment,
  cwd: string,
  startedAtMs: number,
  budget: UserBudget,
  issues: Issues,
): Transcript | null {
  if (configDir === null) return null;
  const directory = `${configDir}/projects/${projectDirName(cwd)}`;
  const { transcripts } = projectFiles(directory, timeZone, budget.uid);
  const transcript = readProjectTranscripts(directory, startedAtMs, budget.uid, budget, transcripts, timeZone);
  return !transcript.ok && transcript.failure.code === 'not-found' ? null : valueOr(issues, transcript);
}

/** The last time that a Date can hold. */
const LAST_DATE_MS = 8.64e15;

/** One-shot entries run within their minute, and some time later if the process is busy. */
const SCHEDULE_TOLERANCE_MS = 120_000;

/** The scheduled run that a process waits for, as a sentence; null if there is none. */
export function pendingSchedule(
  transcript: Transcript | null,
  sdkVersion: string | null,
  startedAtMs: number,
  clock: ObservedClock,
): string | null {
  if (transcript === null || transcript.scheduledRuns.length === 0) return null;
  const dropsAll = dropsScheduleOnResume(sdkVersion);
  const isPending = ({ tool, setAtMs, lastRunMs }: ScheduledRun): boolean =>
    lastRunMs + SCHEDULE_TOLERANCE_MS > clock.wallMs &&
    (setAtMs >= startedAtMs || (tool === 'CronCreate' && !dropsAll));
  const run = transcript.scheduledRuns.find(isPending);
  if (!run) return null;
  if (run.tool === 'MCP') return 'an MCP tool call goes on in the background';
  if (run.tool === 'Agent') return 'an agent works in the background';
  const until = run.lastRunMs <= LAST_DATE_MS ? ` until ${new Date(run.lastRunMs).toISOString()}` : '';
  return `it waits for an alarm that it set itself (${run.tool})${until}`;
}

/**
 * Whether a release drops what an earlier process of the conversation has scheduled: 0.2.92 drops all of it, 0.3.330 resumes
 * cron entries, but not wake-ups (measured). Releases between were not measured.
 */
function dropsScheduleOnResume(sdkVersion: string | null): boolean {
  const [, patch] = /^0\.2\.(\d+)$/.exec(sdkVersion ?? '') ?? [];
  return patch !== undefined && Number(patch) <= 92;
}
