import { lstatSync } from 'node:fs';
import { type DirectoryReader, type FileReader, newDirectoryReader, newFileReader } from '../fs/file-cache.ts';
import { listUntrustedDirectory, mayExist, type UntrustedFile } from '../fs/untrusted-file.ts';
import { BUDGET_EXHAUSTED, type UserBudget } from '../fs/user-budget.ts';
import { attempt, fail, ok, type Result } from '../result.ts';
import { createScheduleParser, type ScheduledRun, type ScheduleParser } from './schedule.ts';

/** What the transcript of a conversation says: <config dir>/projects/<cwd>/<sessionId>.jsonl, on all releases. */
export type Transcript = {
  /** Last change, wall clock, ms. Every message changes it. */
  readonly changedAtMs: number;
  /** The wake-ups and cron entries that were set and not deleted, past ones included. */
  readonly scheduledRuns: readonly ScheduledRun[];
  /**
   * What is kept of it, in items of 100 bytes, reserved already, if one file is all of it; null: subagents have transcripts of their
   * own.
   */
  readonly itemsOfOneFile: number | null;
};

/** How far a transcript was read, so that the next sweep reads only what was added. */
export type TranscriptCursor = {
  /** Last change, wall clock, ms. */
  readonly changedAtMs: number;
  /** Bytes. */
  readonly size: number;
  readonly readTo: number;
  /** Whether the budget ended before the file did. */
  readonly isPartial: boolean;
  /** Whether `readTo` is in the middle of a long line. */
  readonly midLine: boolean;
  readonly schedule: ScheduleParser;
};

const CHUNK_BYTES = 1024 * 1024;

/** A busy turn adds some kB. */
const SHORT_REST_BYTES = 64 * 1024;

/** Makes a reader of transcripts that has read nothing yet. */
export const newTranscriptReader = (): FileReader<TranscriptCursor> =>
  newFileReader((cursor: TranscriptCursor) => !cursor.isPartial);

/** What a cursor and its parser take besides the scheduled runs, in items of 100 bytes. */
const CURSOR_ITEMS = 15;

/**
 * Reads one transcript, from where it was read to before. Where the budget of the user ends, reading goes on in the next sweep;
 * until it is read to its end, that is a failure. `ownerUid`: the user who must own it.
 */
export function readTranscript(
  path: string,
  ownerUid: number,
  budget: UserBudget,
  files: FileReader<TranscriptCursor> = newTranscriptReader(),
  timeZone: string | null = null,
): Result<Transcript> {
  const cursor = files.read(path, ownerUid, budget, (file, previous) => {
    const { size, mtimeMs } = file.stat;
    const continues = previous !== null && previous.readTo <= size;
    const start = continues ? previous : { readTo: 0, midLine: false, schedule: createScheduleParser(timeZone) };
    return ok({ changedAtMs: mtimeMs, size, schedule: start.schedule, ...readLines(file, start, budget) });
  });
  if (!cursor.ok) return cursor;
  const { schedule, isPartial, readTo, size, changedAtMs } = cursor.value;
  const items = CURSOR_ITEMS + schedule.keptItems();
  if (!budget.reserve(items)) {
    files.keepOnly(new Set());
    return fail('invalid', BUDGET_EXHAUSTED);
  }
  if (schedule.overflowed())
    return fail('invalid', `${path} has more records about scheduled runs than can be followed`);
  if (isPartial)
    return fail('invalid', `its transcript is still being read (${megabytes(readTo)} of ${megabytes(size)} MB)`);
  return ok({ changedAtMs, scheduledRuns: schedule.scheduledRuns(), itemsOfOneFile: items });
}

const megabytes = (bytes: number): number => Math.round(bytes / 1024 / 1024);

/** No conversation has more subagents; each of their transcripts is looked at in every sweep. */
const MAX_SUBAGENTS = 1_000;

/** The limit for all transcripts of one conversation together; all scheduled runs are kept. */
const MAX_SCHEDULED_RUNS = 10_000;

/**
 * Reads the transcript of a conversation and those of its subagents, <sessionId>/subagents/agent-<id>.jsonl: the work of a
 * subagent and the runs that it schedules are only in its own transcript (measured on both SDKs).
 */
export function readTranscripts(
  path: string,
  ownerUid: number,
  budget: UserBudget,
  files: FileReader<TranscriptCursor> = newTranscriptReader(),
  timeZone: string | null = null,
  listSubagents: DirectoryReader = newDirectoryReader(),
): Result<Transcript> {
  const main = readTranscript(path, ownerUid, budget, files, timeZone);
  if (!main.ok) return main;
  const subagents = subagentTranscripts(path, budget, listSubagents);
  if (!subagents.ok) return subagents;
  files.keepOnly(new Set([path, ...subagents.value]));
  const read = (subagent: string) => readTranscript(subagent, ownerUid, budget, files, timeZone);
  return merge(main.value, subagents.value, read, `the subagents of ${path}`);
}

/** A transcript with all that is in others; those that are gone are left out. `whose`: for an error. */
function merge(
  first: Transcript,
  paths: readonly string[],
  read: (path: string) => Result<Transcript>,
  whose: string,
): Result<Transcript> {
  if (paths.length === 0) return ok(first);
  const scheduledRuns = [...first.scheduledRuns];
  let { changedAtMs } = first;
  for (const path of paths) {
    const transcript = read(path);
    if (!transcript.ok && transcript.failure.code === 'not-found') continue;
    if (!transcript.ok) return transcript;
    scheduledRuns.push(...transcript.value.scheduledRuns);
    if (scheduledRuns.length > MAX_SCHEDULED_RUNS)
      return fail('invalid', `${whose} have scheduled more runs than can be followed`);
    changedAtMs = Math.max(changedAtMs, transcript.value.changedAtMs);
  }
  return ok({ changedAtMs, scheduledRuns, itemsOfOneFile: null });
}

/** A folder of more transcripts is not looked through. */
const MAX_TRANSCRIPTS = 10_000;

/**
 * Reads the transcripts of all conversations in a project's folder that have changed since a time (wall clock, ms), for a process
 * of which it cannot be told which one is its own. `not-found`: there is no such folder.
 */
export function readProjectTranscripts(
  directory: string,
  sinceMs: number,
  ownerUid: number,
  budget: UserBudget,
  files: FileReader<TranscriptCursor>,
  timeZone: string | null,
): Result<Transcript> {
  const names = listUntrustedDirectory(directory, MAX_TRANSCRIPTS, budget, ({ name }) => name.endsWith('.jsonl'));
  if (!names.ok) return names;
  const paths: string[] = [];
  for (const name of names.value) {
    const subagents = subagentTranscripts(`${directory}/${name}`, budget);
    if (!subagents.ok) return subagents;
    paths.push(`${directory}/${name}`, ...subagents.value);
  }
  files.keepOnly(new Set(paths));
  const read = (path: string): Result<Transcript> => {
    const allowed = budget.checkPath(path);
    if (!allowed.ok) return allowed;
    const stat = attempt(path, () => lstatSync(path));
    const isOlder = stat.ok && stat.value.mtimeMs < sinceMs;
    return isOlder ? ok(NOTHING) : readTranscript(path, ownerUid, budget, files, timeZone);
  };
  return merge(NOTHING, paths, read, `the conversations in ${directory}`);
}

const NOTHING: Transcript = { changedAtMs: 0, scheduledRuns: [], itemsOfOneFile: null };

/** Where the subagents of a conversation keep their transcripts. */
export const subagentsFolder = (transcript: string): string => `${transcript.replace(/\.jsonl$/, '')}/subagents`;

/** The paths of the transcripts of the subagents of a conversation. */
function subagentTranscripts(
  path: string,
  budget: UserBudget,
  listSubagents: DirectoryReader = newDirectoryReader(),
): Result<string[]> {
  const folder = subagentsFolder(path);
  if (!mayExist(folder, budget)) return ok([]);
  const paths = listSubagents(folder, budget, () => {
    const names = listUntrustedDirectory(folder, MAX_SUBAGENTS, budget);
    return names.ok
      ? ok(names.value.filter((name) => name.endsWith('.jsonl')).map((name) => `${folder}/${name}`))
      : names;
  });
  return paths.ok || paths.failure.code !== 'not-found' ? paths : ok([]);
}

const NEWLINE = 0x0a;

/** Longer than anything that is searched for in a line that is too long to be held. */
const OVERLAP_BYTES = 256;

/**
 * Feeds complete lines to the parser, from where it was read to; returns the offset of the first incomplete line. A line
 * longer than a chunk (pictures) is fed in fragments, so that a line without an end does not have to be held.
 */
function readLines(
  file: UntrustedFile,
  from: Pick<TranscriptCursor, 'readTo' | 'midLine' | 'schedule'>,
  budget: UserBudget,
): Pick<TranscriptCursor, 'readTo' | 'midLine' | 'isPartial'> {
  const { schedule } = from;
  let { readTo, midLine } = from;
  // What an ordinary conversation adds between two sweeps is read in any case: a long one must not hold up the others.
  const isShort = file.stat.size - readTo <= SHORT_REST_BYTES;
  const isExhausted = isShort ? budget.exhausted : budget.readAheadExhausted;
  let isOver = false;
  const step = (): void => {
    const chunk = file.read(readTo, CHUNK_BYTES);
    const end = (midLine ? chunk.indexOf(NEWLINE) : chunk.lastIndexOf(NEWLINE)) + 1;
    if (end > 0) {
      if (midLine) schedule.feedFragment(chunk.subarray(0, end));
      readTo += midLine ? end : schedule.read(chunk.subarray(0, end), isExhausted);
      midLine = false;
      isOver = schedule.overflowed();
    } else if (chunk.length < CHUNK_BYTES) {
      isOver = true;
    } else {
      schedule.feedFragment(chunk);
      midLine = true;
      readTo += CHUNK_BYTES - OVERLAP_BYTES;
    }
  };
  while (readTo < file.stat.size && !isOver) {
    if (isExhausted()) return { readTo, midLine, isPartial: true };
    if (isShort) step();
    else budget.readAhead(step);
  }
  return { readTo, midLine, isPartial: false };
}
