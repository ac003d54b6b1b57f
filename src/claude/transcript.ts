import { type ForeignFile, fail, listNames, ok, type Result, withForeignFile } from '../files.ts';
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
  readonly inode: number;
  readonly readTo: number;
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
): Result<{ transcript: Transcript; cursor: TranscriptCursor }> {
  return withForeignFile(path, ownerUid, (file) => {
    if (file.stat.size > MAX_BYTES) return fail('odd', `${path} is larger than ${MAX_BYTES} bytes`);
    const goesOn = cursor?.path === path && cursor.inode === file.stat.ino && cursor.readTo <= file.stat.size;
    const start = goesOn ? cursor : { path, inode: file.stat.ino, readTo: 0, alarms: createAlarmReader() };
    const readTo = readLines(file, start.readTo, start.alarms);
    if (readTo === null) return fail('odd', `${path} has a line of more than ${MAX_LINE_BYTES} bytes`);
    if (start.alarms.isTooMuch()) return fail('odd', `${path} has more records about alarms than can be followed`);
    return ok({
      transcript: { changedAtMs: file.stat.mtimeMs, alarms: start.alarms.alarms() },
      cursor: { ...start, readTo },
    });
  });
}

/** How far the transcripts of a conversation were read, by path. */
export type TranscriptCursors = ReadonlyMap<string, TranscriptCursor>;

/** More than any conversation has; each is looked at in every sweep. */
const MAX_AGENTS = 1_000;

/**
 * Reads the transcript of a conversation and those of the agents below it, <sessionId>/subagents/agent-<id>.jsonl: an
 * agent's work and the alarms that it sets stand in its own alone (measured on both SDKs).
 */
export function readConversation(
  path: string,
  ownerUid: number,
  cursors: TranscriptCursors,
): Result<{ transcript: Transcript; cursors: TranscriptCursors }> {
  const folder = `${path.replace(/\.jsonl$/, '')}/subagents`;
  const names = listNames(folder, MAX_AGENTS);
  if (!names.ok && names.failure.why !== 'gone') return names;
  const agents = names.ok ? names.value.filter((name) => name.endsWith('.jsonl')) : [];
  const next = new Map<string, TranscriptCursor>();
  const alarms: Alarm[] = [];
  let changedAtMs = 0;
  for (const each of [path, ...agents.map((name) => `${folder}/${name}`)]) {
    const read = readTranscript(each, ownerUid, cursors.get(each) ?? null);
    if (!read.ok && read.failure.why === 'gone' && each !== path) continue;
    if (!read.ok) return read;
    next.set(each, read.value.cursor);
    alarms.push(...read.value.transcript.alarms);
    changedAtMs = Math.max(changedAtMs, read.value.transcript.changedAtMs);
  }
  return ok({ transcript: { changedAtMs, alarms }, cursors: next });
}

/** A message with several pictures of 5 MB. */
const MAX_LINE_BYTES = 32 * 1024 * 1024;

/** Hands all whole lines from `from` on to the reader; gives where the first unfinished one begins, null if that is too long. */
function readLines(file: ForeignFile, from: number, alarms: AlarmReader): number | null {
  let at = from;
  for (let length = CHUNK_BYTES; at < file.stat.size; ) {
    const chunk = file.read(at, length);
    const end = chunk.lastIndexOf(0x0a) + 1;
    if (end > 0) {
      alarms.read(chunk.subarray(0, end));
      at += end;
      length = CHUNK_BYTES;
    } else if (chunk.length < length) {
      break;
    } else if (length < MAX_LINE_BYTES) {
      length *= 2;
    } else {
      return null;
    }
  }
  return at;
}
