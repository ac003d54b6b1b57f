import { type FileReader, newFileReader } from '../fs/file-cache.ts';
import { parseJson } from '../fs/json.ts';
import { type UntrustedFile, withUntrustedFile } from '../fs/untrusted-file.ts';
import type { UserBudget } from '../fs/user-budget.ts';
import { ok, type Result } from '../result.ts';

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
  /** When the messages of the last turn were sent if there are several, of which the later ones may still be queued; else null. */
  readonly queuedMessages: { readonly firstMs: number; readonly lastMs: number } | null;
  /** What in it no tested release of Clay writes. */
  readonly unknown: UnknownRecord | null;
};

/** A type of record that is not known: one `after-turn`, or the newest of a journal in which `none` is known. */
export type UnknownRecord = { readonly where: 'after-turn' | 'none-known'; readonly type: string };

/** Written when the user has answered a permission request. After the end of a turn it is an unknown record, which protects. */
const PERMISSION_RESOLVED = 'permission_resolved';

/** Follow a turn's end without being work (measured on 2.17); before Clay writes `rewind_complete`, it ends the query. */
const IGNORED_AFTER_TURN = new Set([
  'prompt_suggestion',
  'fast_mode_state',
  'message_uuid',
  'result',
  'rewind_complete',
]);

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

/** What Clay 2.17 to 2.41.1 can write: what follows a turn's end and is not harmless protects, but is no unknown shape. */
const KNOWN = new Set([
  ...IGNORED_AFTER_TURN,
  ...WITHIN_TURN,
  PERMISSION_RESOLVED,
  ...['done', 'meta', 'error', 'info', 'status', 'permission_cancel', 'ask_user_answered', 'plan_content'],
  ...['task_started', 'task_progress', 'task_updated', 'subagent_tool', 'subagent_activity', 'subagent_done'],
  ...['rate_limit', 'rate_limit_usage', 'context_usage', 'context_overflow', 'slash_command_result'],
  ...['elicitation_resolved', 'auth_required', 'process_conflict', 'sdk_notification'],
  ...['scheduled_message_queued', 'scheduled_message_sent', 'scheduled_message_cancelled'],
]);

/** Holds the end of a turn with room to spare; grown up to the limit below while nothing in it decides. */
const FIRST_TAIL_BYTES = 16 * 1024;

/** A turn of more than this without a decisive record stays unclear; one with pictures in tool results has some MB. */
const MAX_TAIL_BYTES = 4 * 1024 * 1024;

/** Reads the end of a journal. `ownerUid`: the user who must own it. */
export const readJournal = (
  path: string,
  ownerUid: number,
  budget: UserBudget,
  files: FileReader<Journal> = newFileReader(),
): Result<Journal> => files.read(path, ownerUid, budget, (file) => ok(readTail(file)));

/** Whether Clay cannot write to a journal because its file system is full. `ownerUid`: the user who must own it. */
export const isOnFullDisk = (path: string, ownerUid: number, budget: UserBudget): Result<boolean> =>
  withUntrustedFile(path, ownerUid, budget, (file) => ok(file.isOnFullDisk()));

/** The first line of a journal, with the title, is at most some kB long. */
const HEAD_BYTES = 64 * 1024;

/** The title of a conversation, from the first line of its journal; null if it has none. `ownerUid`: the owner it must have. */
export function readTitle(path: string, ownerUid: number, budget: UserBudget): string | null {
  const head = withUntrustedFile(path, ownerUid, budget, (file) => ok(file.read(0, HEAD_BYTES).toString('utf8')));
  if (!head.ok) return null;
  const meta = parseJson(head.value.split('\n', 1)[0] ?? '');
  if (!meta.ok || typeof meta.value !== 'object' || meta.value === null || !('title' in meta.value)) return null;
  const { title } = meta.value;
  return typeof title === 'string' && title !== '' ? title : null;
}

function readTail(file: UntrustedFile): Journal {
  const { size, mtimeMs } = file.stat;
  for (let length = FIRST_TAIL_BYTES; ; length *= 4) {
    const whole = length >= size;
    const tail = file.read(Math.max(0, size - length), Math.min(length, size));
    const reading = parseJournalTail(tail, whole);
    if (whole || reading.conclusive || length >= MAX_TAIL_BYTES) {
      const { turn, decidedBy, queuedMessages, unknown } = reading;
      return { turn, decidedBy, changedAtMs: Math.max(mtimeMs, reading.lastRecordMs), queuedMessages, unknown };
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
  readonly queuedMessages: Journal['queuedMessages'];
  readonly unknown: UnknownRecord | null;
};

/**
 * Reads the last records of a journal, newest first. `whole`: the tail is the whole file, so its first line is one too.
 * A turn that has ended counts as unclear if two messages stand before its end: the second may be queued behind it,
 * and its own turn begins without a record.
 */
export function parseJournalTail(tail: Buffer, whole: boolean): TailReading {
  const torn = tail.length > 0 && tail[tail.length - 1] !== NEWLINE;
  let lastRecordMs = 0;
  let unknownType: string | null = null;
  let isKnown = false;
  const unknownOf = (turn: TurnState): UnknownRecord | null =>
    unknownType === null || turn === 'open'
      ? null
      : { where: isKnown ? 'after-turn' : 'none-known', type: unknownType };
  const reading = (turn: TurnState, decidedBy: string, conclusive = true): TailReading => ({
    turn,
    decidedBy,
    lastRecordMs,
    conclusive,
    queuedMessages: null,
    unknown: unknownOf(turn),
  });
  /** What is known of a turn that has ended once the beginning of the journal or of the turn is reached. */
  const endedReading = (): TailReading =>
    messageTimesMs.length > 1
      ? { ...reading('unclear', QUEUED), queuedMessages: timesOf(messageTimesMs) }
      : reading('ended', 'done');
  if (torn) return reading('unclear', 'a line half written');

  let [lines, decisive] = [0, 0];
  let hasEnded = false;
  let unknown: string | null = null;
  const messageTimesMs: number[] = [];
  let permissionResolved = false;
  for (const line of linesBackwards(tail, whole)) {
    if (++lines > (hasEnded ? MAX_LINES : MAX_UNDECIDED_LINES)) return reading('unclear', 'too many records');
    if (hasEnded) {
      if (!DECISIVE.test(line.toString('latin1', 0, 200))) continue;
      // An honest one decides at once. Parsing what only looks like one takes 10 µs a line.
      if (++decisive > MAX_UNDECIDED_LINES) return reading('unclear', 'too many records');
      const record = parseRecord(line);
      if (record?.type === 'done' || record?.type === 'meta') return endedReading();
      if (record?.type === 'user_message') messageTimesMs.push(record.timeMs);
      continue;
    }
    const record = parseRecord(line);
    if (record && KNOWN.has(record.type)) isKnown = true;
    else unknownType ??= record?.type ?? null;
    if (lines === 1) lastRecordMs = record?.timeMs ?? 0;
    if (record?.type === 'done') {
      if (unknown) return reading('unclear', unknown);
      hasEnded = true;
    } else if (record && WITHIN_TURN.has(record.type) && !record.isInactive) {
      const isAnswered = permissionResolved && record.type === 'permission_request';
      return reading('open', isAnswered ? PERMISSION_RESOLVED : record.type);
    } else if (record?.type === 'meta') return reading(unknown ? 'unclear' : 'ended', unknown ?? 'meta');
    else if (!record || !IGNORED_AFTER_TURN.has(record.type)) unknown ??= record?.type ?? 'a line that is no record';
    permissionResolved ||= record?.type === PERMISSION_RESOLVED;
  }
  if (!hasEnded) return reading('unclear', unknown ?? 'no decisive record', false);
  if (whole) return endedReading();
  return reading('unclear', messageTimesMs.length > 1 ? QUEUED : 'done', false);
}

const QUEUED = 'messages queued behind the turn';

/** Null if the journal does not say when they were sent (2.17). */
function timesOf(timesMs: readonly number[]): Journal['queuedMessages'] {
  return timesMs.includes(0) ? null : { firstMs: Math.min(...timesMs), lastMs: Math.max(...timesMs) };
}

const NEWLINE = 0x0a;

/** A long turn has some 10,000 records. */
const MAX_LINES = 100_000;

/** A handful of records can follow the end of a turn; this bounds the work on a malicious journal. */
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

type JournalRecord = { readonly type: string; readonly timeMs: number; readonly isInactive: boolean };

/** A type is shown where it decides, and kept: a copy, as a part of a string keeps the whole of it in memory. */
const truncate = (type: string): string => (type.length > 100 ? structuredClone(type.slice(0, 100)) : type);

function parseRecord(line: Buffer): JournalRecord | null {
  const parsed = parseJson(line.toString('utf8'));
  const json = parsed.ok ? parsed.value : null;
  if (typeof json !== 'object' || json === null || !('type' in json) || typeof json.type !== 'string') return null;
  return {
    type: truncate(json.type),
    timeMs: '_ts' in json && isTime(json._ts) ? json._ts : 0,
    isInactive: 'active' in json && json.active === false,
  };
}

/** The last time that a Date can hold, ms (ECMA-262). */
const LAST_DATE_MS = 8.64e15;

const isTime = (value: unknown): value is number => typeof value === 'number' && value >= 0 && value <= LAST_DATE_MS;
