import { Cron } from 'croner';
import * as v from 'valibot';
import { parseJsonAs } from '../json.ts';

/** A wake-up or cron entry that Claude set itself: its process waits for it with no child and no connection. */
export type Alarm = {
  readonly tool: 'CronCreate' | 'ScheduleWakeup';
  readonly setAtMs: number;
  /** When it fires for the last time, wall clock, ms; Infinity if it goes on for ever. */
  readonly lastFireMs: number;
};

/** Reads transcripts piece by piece and knows the alarms set in what it has read. */
export type AlarmReader = {
  /** Takes whole lines. */
  readonly read: (lines: Buffer) => void;
  /** Takes a piece of a line that is too long to be a record about an alarm, which an honest one never is. */
  readonly readPiece: (piece: Buffer) => void;
  readonly alarms: () => readonly Alarm[];
  /** Whether there was more of it than any conversation has, so that the alarms are not known. */
  readonly isTooMuch: () => boolean;
};

/** Records about alarms, and calls in them; a conversation that sets one every minute for a day has 4,300. */
const MAX_RECORDS = 10_000;

/** The result of a call stands in the next record or a few later. */
const MAX_OPEN_CALLS = 1_000;

/** A record about an alarm has 2 kB. */
const MAX_RECORD_BYTES = 1024 * 1024;

const NEWLINE = 0x0a;

// The tools, and the fields of their results, by which a line that matters is told from thousands that do not.
const NEEDLES = ['"CronCreate"', '"CronDelete"', '"ScheduleWakeup"'];

// Each field by itself: one of an unknown form must not hide the call that it stands in.
const perhaps = <T>(schema: v.GenericSchema<unknown, T>) => v.fallback(v.optional(schema), undefined);

// Both SDKs take the words for booleans, and write down what the model said (measured).
const flag = v.union([
  v.boolean(),
  v.pipe(
    v.picklist(['true', 'false']),
    v.transform((word) => word === 'true'),
  ),
]);

/** Ids have some 30 characters, cron expressions fewer. They are kept: what is longer than any honest one is not. */
const MAX_LENGTH = 200;

const short = v.pipe(v.string(), v.maxLength(MAX_LENGTH));

const ToolUse = v.object({
  type: v.literal('tool_use'),
  id: v.string(),
  name: v.picklist(['CronCreate', 'CronDelete', 'ScheduleWakeup']),
  input: v.fallback(v.object({ id: perhaps(short), cron: perhaps(short), recurring: perhaps(flag) }), {}),
});
type ToolUse = v.InferOutput<typeof ToolUse>;

const ToolResult = v.object({
  type: v.literal('tool_result'),
  tool_use_id: v.string(),
  is_error: perhaps(v.boolean()),
});

const TranscriptRecord = v.object({
  timestamp: v.optional(v.string()),
  message: v.object({ content: v.array(v.unknown()) }),
  toolUseResult: v.optional(v.unknown()),
});
type TranscriptRecord = v.InferOutput<typeof TranscriptRecord>;

// Results as both SDKs write them (measured); what is of no known form says nothing, but the call was made.
const Result = v.fallback(
  v.object({
    id: perhaps(short),
    recurring: perhaps(v.boolean()),
    nextFireAt: perhaps(v.number()),
    maxAgeMs: perhaps(v.number()),
    scheduledFor: perhaps(v.number()),
    stopped: perhaps(v.boolean()),
  }),
  {},
);
type Result = v.InferOutput<typeof Result>;

/** Recurring entries end by themselves after 7 days in 0.2.92 and 30 in 0.3.330, where the result does not say. */
const LONGEST_AGE_MS = 30 * 24 * 3600 * 1000;

/** Makes a reader for one transcript. */
export function createAlarmReader(timeZone: string | null = null): AlarmReader {
  const calls = new Map<string, ToolUse>();
  const cronEntries = new Map<string, Alarm>();
  const wakeUps: Alarm[] = [];
  let records = 0;

  const settle = (call: ToolUse, result: Result, setAtMs: number): void => {
    records += 1;
    if (call.name === 'CronDelete') {
      cronEntries.delete(result.id ?? call.input.id ?? '');
    } else if (call.name === 'CronCreate') {
      cronEntries.set(result.id ?? call.id, {
        tool: 'CronCreate',
        setAtMs,
        lastFireMs: lastFire(call, result, setAtMs, timeZone),
      });
    } else if (result.stopped) {
      wakeUps.length = 0;
    } else {
      wakeUps.push({ tool: 'ScheduleWakeup', setAtMs, lastFireMs: result.scheduledFor ?? Number.POSITIVE_INFINITY });
    }
  };

  const readRecord = (record: TranscriptRecord): void => {
    for (const block of record.message.content) {
      const use = v.safeParse(ToolUse, block);
      if (use.success && use.output.id.length > MAX_LENGTH) records = MAX_RECORDS + 1;
      else if (use.success) calls.set(use.output.id, use.output);
      const answer = v.safeParse(ToolResult, block);
      if (!answer.success) continue;
      const call = calls.get(answer.output.tool_use_id);
      calls.delete(answer.output.tool_use_id);
      if (!call || answer.output.is_error) continue;
      settle(
        call,
        v.parse(Result, record.toolUseResult),
        Date.parse(record.timestamp ?? '') || Number.POSITIVE_INFINITY,
      );
    }
  };

  const isTooMuch = (): boolean => records > MAX_RECORDS || calls.size > MAX_OPEN_CALLS;

  const isAboutAlarm = (line: Buffer): boolean =>
    NEEDLES.some((needle) => line.includes(needle)) || (calls.size > 0 && answersOneOf(line, calls));

  const readLine = (line: Buffer): void => {
    if (!isAboutAlarm(line)) return;
    records += line.length > MAX_RECORD_BYTES ? MAX_RECORDS : 1;
    const record = isTooMuch() ? null : parseRecord(line.toString('utf8'));
    if (record) readRecord(record);
  };

  return {
    read: (lines) => {
      if (calls.size === 0 && !NEEDLES.some((needle) => lines.includes(needle))) return;
      for (let start = 0; start < lines.length && !isTooMuch(); ) {
        const newline = lines.indexOf(NEWLINE, start);
        const end = newline === -1 ? lines.length : newline;
        // Nothing shorter can be a record about an alarm.
        if (end - start > 40) readLine(lines.subarray(start, end));
        start = end + 1;
      }
    },
    readPiece: (piece) => {
      if (isAboutAlarm(piece)) records = MAX_RECORDS + 1;
    },
    alarms: () => [...cronEntries.values(), ...wakeUps],
    isTooMuch,
  };
}

const ANSWERS = '"tool_use_id"';
const ANSWERED = /"tool_use_id"\s*:\s*"([^"]{1,200})"/g;

/** Whether a line holds the result of one of these calls. */
function answersOneOf(line: Buffer, calls: ReadonlyMap<string, unknown>): boolean {
  if (!line.includes(ANSWERS)) return false;
  // A result with pictures can be long; its id stands in front of them.
  const text = line.toString('latin1', 0, MAX_RECORD_BYTES);
  return [...text.matchAll(ANSWERED)].some(([, id = '']) => calls.has(id));
}

function parseRecord(line: string): TranscriptRecord | null {
  const parsed = parseJsonAs(TranscriptRecord, line);
  return parsed.ok ? parsed.value : null;
}

function lastFire(call: ToolUse, result: Result, setAtMs: number, timeZone: string | null): number {
  const recurring = result.recurring ?? call.input.recurring ?? true;
  if (!recurring) return result.nextFireAt ?? nextMatch(call.input.cron, setAtMs, timeZone);
  return result.maxAgeMs === 0 ? Number.POSITIVE_INFINITY : setAtMs + (result.maxAgeMs ?? LONGEST_AGE_MS);
}

/** When a cron expression matches next after `afterMs`; never past if it cannot be told. */
function nextMatch(expression: string | undefined, afterMs: number, timeZone: string | null): number {
  try {
    const next = new Cron(expression ?? '', timeZone === null ? {} : { timezone: timeZone }).nextRun(new Date(afterMs));
    return next?.getTime() ?? Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
