import { type ForeignFile, type Memo, newMemo, ok, type Result, withForeignFile, withMemo } from '../files.ts';
import { parseJson } from '../json.ts';

/** What the end of a conversation's journal says about its last turn. */
export type TurnState =
  /** A turn has begun and not ended. */
  | 'open'
  /** The last turn has ended, and nothing but harmless records came after. */
  | 'ended'
  /** Nothing in it decides: an unknown record after the end, a line half written, messages queued behind the turn. */
  | 'unclear';

/** What a journal says: $CLAY_HOME/sessions/<cwd>/<cliSessionId>.jsonl, one JSON record a line. */
export type Journal = {
  readonly turn: TurnState;
  /** The type of the record that decided. */
  readonly decidedBy: string;
  /** Last change of the file or time of its last record, whichever is later; wall clock, ms. */
  readonly changedAtMs: number;
};

/** Follow a turn's end without being work (measured on 2.17). */
const HARMLESS_AFTER_TURN = new Set(['prompt_suggestion', 'fast_mode_state', 'message_uuid', 'result']);

/**
 * Are written only while a turn is on, one that Claude began itself included: that has no `user_message`, and Clay does not
 * say `isProcessing` (measured). Not among them: what agents in the background write, which no turn has to follow.
 */
const WITHIN_TURN = new Set([
  'user_message',
  'session_id',
  'thinking_start',
  'thinking_delta',
  'thinking_stop',
  'delta',
  'tool_start',
  'tool_executing',
  'tool_result',
  'permission_request',
  'ask_user',
  'elicitation_request',
  'compacting',
]);

/** Holds the end of a turn with room to spare; grown up to the limit below while nothing in it decides. */
const FIRST_TAIL_BYTES = 16 * 1024;

/** A turn of more than this without a decisive record stays unclear; one with pictures in tool results has some MB. */
const MAX_TAIL_BYTES = 4 * 1024 * 1024;

/** Reads the end of a journal. `ownerUid`: whose it has to be. */
export function readJournal(path: string, ownerUid: number, memo: Memo<Journal> = newMemo()): Result<Journal> {
  return withMemo(path, ownerUid, memo, (file) => ok(judgeTail(file)));
}

/** The first line of a journal, with the title, is at most some kB long. */
const HEAD_BYTES = 64 * 1024;

/** The title of a conversation, from the first line of its journal; null if it has none. For display only. */
export function readTitle(path: string): string | null {
  const head = withForeignFile(path, null, (file) => ok(file.read(0, HEAD_BYTES).toString('utf8')));
  if (!head.ok) return null;
  const meta = parseJson(head.value.split('\n', 1)[0] ?? '');
  if (!meta.ok || typeof meta.value !== 'object' || meta.value === null || !('title' in meta.value)) return null;
  const { title } = meta.value;
  return typeof title === 'string' && title !== '' ? title : null;
}

function judgeTail(file: ForeignFile): Journal {
  const { size, mtimeMs } = file.stat;
  for (let length = FIRST_TAIL_BYTES; ; length *= 4) {
    const whole = length >= size;
    const tail = file.read(Math.max(0, size - length), Math.min(length, size));
    const reading = parseJournalTail(tail, whole);
    if (whole || reading.conclusive || length >= MAX_TAIL_BYTES) {
      return { turn: reading.turn, decidedBy: reading.decidedBy, changedAtMs: Math.max(mtimeMs, reading.lastRecordMs) };
    }
  }
}

type TailReading = {
  readonly turn: TurnState;
  readonly decidedBy: string;
  /** Time of the last record, where the release of Clay writes one (`_ts`), else 0; wall clock, ms. */
  readonly lastRecordMs: number;
  /** Whether more of the file could say nothing else. */
  readonly conclusive: boolean;
};

/**
 * Reads the last records of a journal, newest first. `whole`: the tail is the whole file, so its first line is one too.
 * A turn that has ended counts as unclear if two messages stand before its end: the second may be queued behind it,
 * and its own turn begins without a record.
 */
export function parseJournalTail(tail: Buffer, whole: boolean): TailReading {
  const torn = tail.length > 0 && tail[tail.length - 1] !== NEWLINE;
  let lastRecordMs = 0;
  const reading = (turn: TurnState, decidedBy: string, conclusive = true): TailReading => ({
    turn,
    decidedBy,
    lastRecordMs,
    conclusive,
  });
  if (torn) return reading('unclear', 'a line half written');

  let lines = 0;
  let hasEnded = false;
  let unknown: string | null = null;
  let messages = 0;
  for (const line of linesBackwards(tail, whole)) {
    if (++lines > (hasEnded ? MAX_LINES : MAX_UNDECIDED_LINES)) return reading('unclear', 'too many records');
    if (hasEnded) {
      if (!DECISIVE.test(line.toString('latin1', 0, 200))) continue;
      const type = parseRecord(line)?.type;
      if (type === 'done' || type === 'meta') return reading('ended', 'done');
      if (type === 'user_message' && ++messages > 1) return reading('unclear', 'messages queued behind the turn');
      continue;
    }
    const record = parseRecord(line);
    if (lines === 1) lastRecordMs = record?.timeMs ?? 0;
    if (record?.type === 'done') {
      if (unknown) return reading('unclear', unknown);
      hasEnded = true;
    } else if (record && WITHIN_TURN.has(record.type) && !record.endsSomething) return reading('open', record.type);
    else if (record?.type === 'meta') return reading(unknown ? 'unclear' : 'ended', unknown ?? 'meta');
    else if (!record || !HARMLESS_AFTER_TURN.has(record.type)) unknown ??= record?.type ?? 'a line that is no record';
  }
  if (!hasEnded) return reading('unclear', unknown ?? 'no decisive record', false);
  return reading(whole ? 'ended' : 'unclear', 'done', whole);
}

const NEWLINE = 0x0a;

/** A long turn has some 10,000 records. */
const MAX_LINES = 100_000;

/** What may follow a turn's end are a handful of records; whoever writes this many lines wants them to be read in vain. */
const MAX_UNDECIDED_LINES = 1_000;

/** The lines of a tail, newest first; not the first one, unless the tail is the whole file: it may be cut off. */
function* linesBackwards(tail: Buffer, whole: boolean): Generator<Buffer> {
  for (let end = tail.length - 1; end >= 0; ) {
    // An offset below 0 would count from the end.
    const start = end === 0 ? 0 : tail.lastIndexOf(NEWLINE, end - 1) + 1;
    if (start === 0 && !whole) return;
    yield tail.subarray(start, end);
    end = start - 1;
  }
}

// A record of a turn can be megabytes long (pictures): only those that may decide are parsed.
const DECISIVE = /"type":"(?:done|meta|user_message)"/;

type JournalRecord = { readonly type: string; readonly timeMs: number; readonly endsSomething: boolean };

/** A type is shown where it decides, and kept: a copy, as a part of a string keeps the whole of it in memory. */
const shown = (type: string): string => (type.length > 100 ? structuredClone(type.slice(0, 100)) : type);

function parseRecord(line: Buffer): JournalRecord | null {
  const parsed = parseJson(line.toString('utf8'));
  const json = parsed.ok ? parsed.value : null;
  if (typeof json !== 'object' || json === null || !('type' in json) || typeof json.type !== 'string') return null;
  return {
    type: shown(json.type),
    timeMs: '_ts' in json && typeof json._ts === 'number' && Number.isFinite(json._ts) ? json._ts : 0,
    endsSomething: 'active' in json && json.active === false,
  };
}
