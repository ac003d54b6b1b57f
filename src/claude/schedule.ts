import { Cron } from 'croner';
import * as v from 'valibot';
import { parseJsonAs } from '../fs/json.ts';

/**
 * A wake-up or cron entry that Claude set itself, or an MCP tool call or an agent in the background: its process waits for it
 * with no tool shell and no connection (an agent between two calls of the model).
 */
export type ScheduledRun = {
  readonly tool: 'CronCreate' | 'ScheduleWakeup' | 'MCP' | 'Agent';
  readonly setAtMs: number;
  /** When it fires for the last time, wall clock, ms; Infinity if it goes on for ever. */
  readonly lastRunMs: number;
};

/** Reads transcripts piece by piece and knows the alarms set in what it has read. */
export type ScheduleParser = {
  /**
   * Takes whole lines. Returns how many bytes of them were read: all, unless `isExhausted`, which is asked after each record
   * that matters, says that there is no time left. A cron expression that never matches takes 2.4 ms.
   */
  readonly read: (lines: Buffer, isExhausted?: () => boolean) => number;
  /** Takes a piece of a line that is too long to be a record about an alarm, which an honest one never is. */
  readonly feedFragment: (piece: Buffer) => void;
  readonly scheduledRuns: () => readonly ScheduledRun[];
  /** What is kept of it, in items of about 100 bytes; a call that waits for its result takes the most. */
  readonly keptItems: () => number;
  /** Whether there was more of it than any conversation has, so that the alarms are not known. */
  readonly overflowed: () => boolean;
};

/** Records about alarms, and calls in them; a conversation that sets one every minute for a day has 4,300. */
const MAX_RECORDS = 10_000;

/** The result of a call stands in the next record or a few later. */
const MAX_OPEN_CALLS = 1_000;

/** A record about an alarm has 2 kB. */
const MAX_RECORD_BYTES = 1024 * 1024;

const NEWLINE = 0x0a;

// The tools, and the fields of their results, that distinguish a line that matters from thousands that do not.
const TOOL_MARKERS = ['"CronCreate"', '"CronDelete"', '"ScheduleWakeup"'];

// An MCP tool call that takes long goes to the background (since 0.3.243, with CLAUDE_AUTO_BACKGROUND_TASKS), an agent if it
// was told to. The result of the call says so; when the work has ended, a notification follows. Only from 0.3.287 on is `status`
// busy meanwhile (measured on 0.3.243, 0.3.287 and 0.3.330).
const MOVED_TO_BACKGROUND = 'It was moved to the background as task ';
const AGENT_LAUNCHED = 'Async agent launched successfully.';
const STARTED_TASKS = [
  { tool: 'MCP', begin: 'MCP tool ', id: new RegExp(`${MOVED_TO_BACKGROUND}([\\w-]{1,100}) `), mention: '' },
  { tool: 'Agent', begin: AGENT_LAUNCHED, id: /agentId: ([\w-]{1,100})/, mention: 'be notified automatically' },
] as const;
const TASK_NOTIFICATION = '<task-notification>';
const TASK_MARKERS = [MOVED_TO_BACKGROUND, AGENT_LAUNCHED, TASK_NOTIFICATION];
const NOTIFIED_TASK = /<task-id>([\w-]{1,100})<\/task-id>/g;

/** In a line that holds the result of a call. */
const ANSWERS = '"tool_use_id"';

// Each field by itself: one of an unknown form must not hide the call that it stands in.
const lenient = <T>(schema: v.GenericSchema<unknown, T>) => v.fallback(v.optional(schema), undefined);

// Both SDKs take the words for booleans, and write down what the model said (measured).
const booleanish = v.union([
  v.boolean(),
  v.pipe(
    v.picklist(['true', 'false']),
    v.transform((word) => word === 'true'),
  ),
]);

/** Ids have some 30 characters, cron expressions fewer. They are kept: what is longer than any honest one is not. */
const MAX_LENGTH = 200;

const shortString = v.pipe(v.string(), v.maxLength(MAX_LENGTH));

const ToolUse = v.object({
  type: v.literal('tool_use'),
  id: v.string(),
  name: v.picklist(['CronCreate', 'CronDelete', 'ScheduleWakeup']),
  input: v.fallback(
    v.object({ id: lenient(shortString), cron: lenient(shortString), recurring: lenient(booleanish) }),
    {},
  ),
});
type ToolUse = v.InferOutput<typeof ToolUse>;

const ToolResult = v.object({
  type: v.literal('tool_result'),
  tool_use_id: v.string(),
  is_error: lenient(v.boolean()),
  content: lenient(v.array(v.unknown())),
});

const Text = v.object({ type: v.literal('text'), text: v.string() });

const TranscriptRecord = v.object({
  timestamp: v.optional(v.string()),
  message: v.object({ content: v.array(v.unknown()) }),
  toolUseResult: v.optional(v.unknown()),
});
type TranscriptRecord = v.InferOutput<typeof TranscriptRecord>;

// Results as both SDKs write them (measured); what is of no known form says nothing, but the call was made.
const Result = v.fallback(
  v.object({
    id: lenient(shortString),
    recurring: lenient(v.boolean()),
    nextFireAt: lenient(v.number()),
    maxAgeMs: lenient(v.number()),
    scheduledFor: lenient(v.number()),
    stopped: lenient(v.boolean()),
  }),
  {},
);
type Result = v.InferOutput<typeof Result>;

/** Recurring entries end by themselves after 7 days in 0.2.92 and 30 in 0.3.330, where the result does not say. */
const LONGEST_AGE_MS = 30 * 24 * 3600 * 1000;

/** Makes a reader for one transcript. */
export function createScheduleParser(timeZone: string | null = null): ScheduleParser {
  const calls = new Map<string, ToolUse>();
  const cronEntries = new Map<string, ScheduledRun>();
  const wakeUps: ScheduledRun[] = [];
  const backgroundTasks = new Map<string, ScheduledRun>();
  let records = 0;

  const applyResult = (call: ToolUse, result: Result, setAtMs: number): void => {
    records += 1;
    if (call.name === 'CronDelete') {
      cronEntries.delete(result.id ?? call.input.id ?? '');
    } else if (call.name === 'CronCreate') {
      cronEntries.set(result.id ?? call.id, {
        tool: 'CronCreate',
        setAtMs,
        lastRunMs: lastRun(call, result, setAtMs, timeZone),
      });
    } else if (result.stopped) {
      wakeUps.length = 0;
    } else {
      wakeUps.push({ tool: 'ScheduleWakeup', setAtMs, lastRunMs: result.scheduledFor ?? Number.POSITIVE_INFINITY });
    }
  };

  const readRecord = (record: TranscriptRecord): void => {
    for (const block of record.message.content) {
      const use = v.safeParse(ToolUse, block);
      if (use.success && use.output.id.length > MAX_LENGTH) records = MAX_RECORDS + 1;
      else if (use.success) calls.set(use.output.id, use.output);
      const answer = v.safeParse(ToolResult, block);
      if (!answer.success) continue;
      const setAtMs = Date.parse(record.timestamp ?? '') || Number.POSITIVE_INFINITY;
      const task = backgroundTaskOf(answer.output.content ?? []);
      if (task) backgroundTasks.set(task.id, { tool: task.tool, setAtMs, lastRunMs: Number.POSITIVE_INFINITY });
      const call = calls.get(answer.output.tool_use_id);
      calls.delete(answer.output.tool_use_id);
      if (!call || answer.output.is_error) continue;
      applyResult(call, v.parse(Result, record.toolUseResult), setAtMs);
    }
  };

  const overflowed = (): boolean => records > MAX_RECORDS || calls.size > MAX_OPEN_CALLS;

  const isAboutAlarm = (line: Buffer): boolean =>
    TOOL_MARKERS.some((needle) => line.includes(needle)) ||
    line.includes(MOVED_TO_BACKGROUND) ||
    line.includes(AGENT_LAUNCHED) ||
    (calls.size > 0 && isResultFor(line, calls));

  const readLine = (line: Buffer): void => {
    if (backgroundTasks.size > 0 && line.includes(TASK_NOTIFICATION)) {
      const text = line.toString('utf8', 0, MAX_RECORD_BYTES);
      for (const [, task = ''] of text.matchAll(NOTIFIED_TASK)) backgroundTasks.delete(task);
    }
    if (!isAboutAlarm(line)) return;
    records += line.length > MAX_RECORD_BYTES ? MAX_RECORDS : 1;
    const record = overflowed() ? null : parseRecord(line.toString('utf8'));
    if (record) readRecord(record);
  };

  /** Where the next text stands that a relevant line holds, from `start` on; -1 if there is none. */
  const markerFinder = (lines: Buffer): ((start: number) => number) => {
    const next = new Map<string, number>();
    const find = (marker: string, start: number): number => {
      let at = next.get(marker) ?? 0;
      if (at !== -1 && (at < start || !next.has(marker))) at = lines.indexOf(marker, start);
      next.set(marker, at);
      return at;
    };
    return (start) => {
      const markers = [...TOOL_MARKERS, ...TASK_MARKERS, ...(calls.size > 0 ? [ANSWERS] : [])];
      const found = markers.map((marker) => find(marker, start)).filter((at) => at !== -1);
      return found.length === 0 ? -1 : Math.min(...found);
    };
  };

  return {
    read: (lines, isExhausted = () => false) => {
      const nextMarker = markerFinder(lines);
      let start = 0;
      while (start < lines.length && !overflowed() && !isExhausted()) {
        const marker = nextMarker(start);
        if (marker === -1) return lines.length;
        const newline = lines.indexOf(NEWLINE, marker);
        const end = newline === -1 ? lines.length : newline;
        readLine(lines.subarray(lines.lastIndexOf(NEWLINE, marker) + 1, end));
        start = end + 1;
      }
      return Math.min(start, lines.length);
    },
    feedFragment: (piece) => {
      if (isAboutAlarm(piece)) records = MAX_RECORDS + 1;
    },
    scheduledRuns: () => [...cronEntries.values(), ...wakeUps, ...backgroundTasks.values()],
    keptItems: () => 10 * calls.size + 3 * (cronEntries.size + backgroundTasks.size) + wakeUps.length,
    overflowed,
  };
}

/** The task in the background that a tool call has become or started; undefined if there is none. */
function backgroundTaskOf(content: readonly unknown[]): { tool: ScheduledRun['tool']; id: string } | undefined {
  const texts = content.flatMap((block) => {
    const text = v.safeParse(Text, block);
    return text.success ? [text.output.text] : [];
  });
  for (const text of texts) {
    // Not one pattern with several gaps: that would take the square of the length.
    const task = STARTED_TASKS.find(({ begin, mention }) => text.startsWith(begin) && text.includes(mention));
    const id = task?.id.exec(text)?.[1];
    if (task && id !== undefined) return { tool: task.tool, id };
  }
  return undefined;
}

const ANSWERED = /"tool_use_id"\s*:\s*"([^"]{1,200})"/g;

/** Whether a line holds the result of one of these calls. */
function isResultFor(line: Buffer, calls: ReadonlyMap<string, unknown>): boolean {
  if (!line.includes(ANSWERS)) return false;
  // A result with pictures can be long; its id stands in front of them.
  const text = line.toString('latin1', 0, MAX_RECORD_BYTES);
  return [...text.matchAll(ANSWERED)].some(([, id = '']) => calls.has(id));
}

function parseRecord(line: string): TranscriptRecord | null {
  const parsed = parseJsonAs(TranscriptRecord, line);
  return parsed.ok ? parsed.value : null;
}

function lastRun(call: ToolUse, result: Result, setAtMs: number, timeZone: string | null): number {
  const recurring = result.recurring ?? call.input.recurring ?? true;
  if (!recurring) return result.nextFireAt ?? nextMatch(call.input.cron, setAtMs, timeZone);
  return result.maxAgeMs === 0 ? Number.POSITIVE_INFINITY : setAtMs + (result.maxAgeMs ?? LONGEST_AGE_MS);
}

/** When a cron expression matches next after `afterMs`; never past if it is unknown. */
function nextMatch(expression: string | undefined, afterMs: number, timeZone: string | null): number {
  try {
    const next = new Cron(expression ?? '', timeZone === null ? {} : { timezone: timeZone }).nextRun(new Date(afterMs));
    return next?.getTime() ?? Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
