import { type ForeignFile, fail, ok, type Result, withForeignFile } from '../files.ts';
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
    return ok({
      transcript: { changedAtMs: file.stat.mtimeMs, alarms: start.alarms.alarms() },
      cursor: { ...start, readTo },
    });
  });
}

/** Hands all whole lines from `from` on to the reader; gives where the first unfinished one begins. */
function readLines(file: ForeignFile, from: number, alarms: AlarmReader): number {
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
    } else {
      length *= 2;
    }
  }
  return at;
}
