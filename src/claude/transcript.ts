import {
  type ForeignFile,
  fail,
  isStill,
  isThere,
  listNames,
  ok,
  type Result,
  type Version,
  versionOf,
  withForeignFile,
} from '../files.ts';
import { type Alarm, type AlarmReader, createAlarmReader } from './alarms.ts';

/** What a conversation's transcript says: <config dir>/projects/<cwd>/<sessionId>.jsonl, on all releases. */
export type Transcript = {
  /** Last change, wall clock, ms: every message changes it. */
  readonly changedAtMs: number;
  /** The wake-ups and cron entries set in it and not deleted again, past ones included. */
  readonly alarms: readonly Alarm[];
};

/** How far a transcript was read, so that the next look reads only what was added. */
export type TranscriptCursor = {
  readonly path: string;
  readonly version: Version;
  readonly readTo: number;
  /** Whether that is in the middle of a long line. */
  readonly insideLine: boolean;
  readonly alarms: AlarmReader;
};

const CHUNK_BYTES = 1024 * 1024;

/** The first look reads all of it, 1 s for this much; real ones are tens of MB. */
const MAX_BYTES = 256 * 1024 * 1024;

/** Reads a transcript, from where `cursor` ends if that still fits. `ownerUid`: whose it has to be. */
export function readTranscript(
  path: string,
  ownerUid: number,
  cursor: TranscriptCursor | null,
  timeZone: string | null = null,
): Result<{ transcript: Transcript; cursor: TranscriptCursor }> {
  if (cursor?.path === path && isStill(path, cursor.version)) return ok({ transcript: transcriptAt(cursor), cursor });
  return withForeignFile(path, ownerUid, (file) => {
    if (file.stat.size > MAX_BYTES) return fail('odd', `${path} is larger than ${MAX_BYTES} bytes`);
    const version = versionOf(file.stat);
    const goesOn = cursor?.path === path && cursor.version.ino === version.ino && cursor.readTo <= version.size;
    const start = goesOn ? cursor : { readTo: 0, insideLine: false, alarms: createAlarmReader(timeZone) };
    const next = { path, version, alarms: start.alarms, ...readLines(file, start) };
    if (next.alarms.isTooMuch()) return fail('odd', `${path} has more records about alarms than can be followed`);
    return ok({ transcript: transcriptAt(next), cursor: next });
  });
}

const transcriptAt = ({ version, alarms }: TranscriptCursor): Transcript => ({
  changedAtMs: version.mtimeMs,
  alarms: alarms.alarms(),
});

/** How far the transcripts of a conversation were read, by path. */
export type TranscriptCursors = ReadonlyMap<string, TranscriptCursor>;

/** More than any conversation has; each is looked at in every sweep. */
const MAX_AGENTS = 1_000;

/** Those of one transcript are limited, too; all of them are kept. */
const MAX_ALARMS = 10_000;

/**
 * Reads the transcript of a conversation and those of the agents below it, <sessionId>/subagents/agent-<id>.jsonl: an
 * agent's work and the alarms that it sets stand in its own alone (measured on both SDKs). `atRest`: the process has not run
 * since the last look, so that it has begun no agent.
 */
export function readConversation(
  path: string,
  ownerUid: number,
  cursors: TranscriptCursors,
  timeZone: string | null = null,
  atRest = false,
): Result<{ transcript: Transcript; cursors: TranscriptCursors }> {
  const main = readTranscript(path, ownerUid, cursors.get(path) ?? null, timeZone);
  if (!main.ok) return main;
  const isTheSame = atRest && cursors.size === 1 && cursors.get(path) === main.value.cursor;
  if (isTheSame) return ok({ transcript: main.value.transcript, cursors });
  const agents = agentsBelow(path);
  if (!agents.ok) return agents;
  const next = new Map([[path, main.value.cursor]]);
  const alarms = [...main.value.transcript.alarms];
  let { changedAtMs } = main.value.transcript;
  for (const each of agents.value) {
    const read = readTranscript(each, ownerUid, cursors.get(each) ?? null, timeZone);
    if (!read.ok && read.failure.why === 'gone') continue;
    if (!read.ok) return read;
    next.set(each, read.value.cursor);
    alarms.push(...read.value.transcript.alarms);
    if (alarms.length > MAX_ALARMS)
      return fail('odd', `the agents of ${path} have set more alarms than can be followed`);
    changedAtMs = Math.max(changedAtMs, read.value.transcript.changedAtMs);
  }
  return ok({ transcript: { changedAtMs, alarms }, cursors: next });
}

/** The transcripts of the agents below a conversation. */
function agentsBelow(path: string): Result<string[]> {
  const folder = `${path.replace(/\.jsonl$/, '')}/subagents`;
  const names = isThere(folder) ? listNames(folder, MAX_AGENTS) : ok([]);
  if (!names.ok) return names.failure.why === 'gone' ? ok([]) : names;
  return ok(names.value.filter((name) => name.endsWith('.jsonl')).map((name) => `${folder}/${name}`));
}

const NEWLINE = 0x0a;

/** Longer than all that is looked for in a line that is too long to be held. */
const OVERLAP_BYTES = 256;

/**
 * Hands all whole lines on to the reader, from where it has read to; gives where the first unfinished one begins. A line that
 * is longer than a chunk (pictures) is handed on in pieces: nobody has to hold one that never ends.
 */
function readLines(
  file: ForeignFile,
  from: Omit<TranscriptCursor, 'path' | 'version'>,
): Pick<TranscriptCursor, 'readTo' | 'insideLine'> {
  const { alarms } = from;
  let { readTo, insideLine } = from;
  while (readTo < file.stat.size) {
    const chunk = file.read(readTo, CHUNK_BYTES);
    const end = (insideLine ? chunk.indexOf(NEWLINE) : chunk.lastIndexOf(NEWLINE)) + 1;
    if (end > 0) {
      if (insideLine) alarms.readPiece(chunk.subarray(0, end));
      else alarms.read(chunk.subarray(0, end));
      insideLine = false;
      readTo += end;
    } else if (chunk.length < CHUNK_BYTES) {
      break;
    } else {
      alarms.readPiece(chunk);
      insideLine = true;
      readTo += CHUNK_BYTES - OVERLAP_BYTES;
    }
  }
  return { readTo, insideLine };
}
