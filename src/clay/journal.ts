import { type ForeignFile, ok, type Result, withForeignFile } from '../files.ts';

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
export function readJournal(path: string, ownerUid: number): Result<Journal> {
  return withForeignFile(path, ownerUid, (file) => ok(judgeTail(file)));
}

/** The first line of a journal, with the title, is at most some kB long. */
const HEAD_BYTES = 64 * 1024;

/** The title of a conversation, from the first line of its journal; null if it has none. For display only. */
export function readTitle(path: string): string | null {
  const head = withForeignFile(path, null, (file) => ok(file.read(0, HEAD_BYTES).toString('utf8')));
  if (!head.ok) return null;
  try {
    const meta: unknown = JSON.parse(head.value.split('\n', 1)[0] ?? '');
    const hasTitle = typeof meta === 'object' && meta !== null && 'title' in meta && typeof meta.title === 'string';
    return hasTitle && meta.title !== '' ? (meta.title as string) : null;
  } catch {
    return null;
  }
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
  const lines = tail.toString('utf8').split('\n');
  const torn = lines.pop() !== '';
  if (!whole) lines.shift();
  const last = lines.length > 0 ? parseRecord(lines[lines.length - 1] ?? '') : null;
  const lastRecordMs = last?.timeMs ?? 0;
  const reading = (turn: TurnState, decidedBy: string, conclusive = true): TailReading => ({
    turn,
    decidedBy,
    lastRecordMs,
    conclusive,
  });
  if (torn) return reading('unclear', 'a line half written');

  let at = lines.length - 1;
  let unknown: string | null = null;
  for (; at >= 0; at--) {
    const record = parseRecord(lines[at] ?? '');
    if (record?.type === 'done') break;
    if (record && WITHIN_TURN.has(record.type) && !record.endsSomething) return reading('open', record.type);
    if (record?.type === 'meta') return reading(unknown ? 'unclear' : 'ended', unknown ?? 'meta');
    if (!record || !HARMLESS_AFTER_TURN.has(record.type)) unknown ??= record?.type ?? 'a line that is no record';
  }
  if (at < 0) return reading('unclear', unknown ?? 'no decisive record', false);
  if (unknown) return reading('unclear', unknown);

  let messages = 0;
  for (at--; at >= 0; at--) {
    const line = lines[at] ?? '';
    if (!DECISIVE.test(line.slice(0, 200))) continue;
    const type = parseRecord(line)?.type;
    if (type === 'done' || type === 'meta') return reading('ended', 'done');
    if (type === 'user_message' && ++messages > 1) return reading('unclear', 'messages queued behind the turn');
  }
  return reading(whole ? 'ended' : 'unclear', 'done', whole);
}

// A record of a turn can be megabytes long (pictures): only those that may decide are parsed.
const DECISIVE = /"type":"(?:done|meta|user_message)"/;

type JournalRecord = { readonly type: string; readonly timeMs: number; readonly endsSomething: boolean };

function parseRecord(line: string): JournalRecord | null {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof json !== 'object' || json === null || !('type' in json) || typeof json.type !== 'string') return null;
  return {
    type: json.type,
    timeMs: '_ts' in json && typeof json._ts === 'number' && Number.isFinite(json._ts) ? json._ts : 0,
    endsSomething: 'active' in json && json.active === false,
  };
}
