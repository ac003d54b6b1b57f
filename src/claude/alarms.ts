import { Cron } from 'croner';
import * as v from 'valibot';

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
  readonly alarms: () => readonly Alarm[];
};

// The tools, and the fields of their results, by which a line that matters is told from thousands that do not.
const NEEDLES = ['"CronCreate"', '"CronDelete"', '"ScheduleWakeup"'];

const ToolUse = v.object({
  type: v.literal('tool_use'),
  id: v.string(),
  name: v.picklist(['CronCreate', 'CronDelete', 'ScheduleWakeup']),
  input: v.looseObject({ cron: v.optional(v.string()), recurring: v.optional(v.boolean()) }),
});
type ToolUse = v.InferOutput<typeof ToolUse>;

const ToolResult = v.object({ type: v.literal('tool_result'), tool_use_id: v.string() });

const TranscriptRecord = v.object({
  timestamp: v.optional(v.string()),
  message: v.object({ content: v.array(v.unknown()) }),
  toolUseResult: v.optional(v.unknown()),
});
type TranscriptRecord = v.InferOutput<typeof TranscriptRecord>;

// Results as both SDKs write them (measured); a refused call has a string instead.
const Result = v.object({
  id: v.optional(v.string()),
  recurring: v.optional(v.boolean()),
  nextFireAt: v.optional(v.number()),
  maxAgeMs: v.optional(v.number()),
  scheduledFor: v.optional(v.number()),
  stopped: v.optional(v.boolean()),
});
type Result = v.InferOutput<typeof Result>;

/** Recurring entries end by themselves after 7 days in 0.2.92 and 30 in 0.3.330, where the result does not say. */
const LONGEST_AGE_MS = 30 * 24 * 3600 * 1000;

/** Makes a reader for one transcript. */
export function createAlarmReader(): AlarmReader {
  const calls = new Map<string, ToolUse>();
  const cronEntries = new Map<string, Alarm>();
  const wakeUps: Alarm[] = [];

  const settle = (call: ToolUse, result: Result, setAtMs: number): void => {
    if (call.name === 'CronDelete') {
      cronEntries.delete(result.id ?? '');
    } else if (call.name === 'CronCreate') {
      cronEntries.set(result.id ?? call.id, {
        tool: 'CronCreate',
        setAtMs,
        lastFireMs: lastFire(call, result, setAtMs),
      });
    } else if (result.stopped) {
      wakeUps.length = 0;
    } else {
      wakeUps.push({ tool: 'ScheduleWakeup', setAtMs, lastFireMs: result.scheduledFor ?? Number.POSITIVE_INFINITY });
    }
  };

  const readRecord = (record: TranscriptRecord): void => {
    for (const block of record.message.content) {
      if (v.is(ToolUse, block)) calls.set(block.id, block);
      if (!v.is(ToolResult, block)) continue;
      const call = calls.get(block.tool_use_id);
      calls.delete(block.tool_use_id);
      if (call && v.is(Result, record.toolUseResult)) {
        settle(call, record.toolUseResult, Date.parse(record.timestamp ?? '') || Number.POSITIVE_INFINITY);
      }
    }
  };

  return {
    read: (lines) => {
      if (calls.size === 0 && !NEEDLES.some((needle) => lines.includes(needle))) return;
      for (const line of lines.toString('utf8').split('\n')) {
        const matters =
          NEEDLES.some((needle) => line.includes(needle)) || [...calls.keys()].some((id) => line.includes(id));
        const record = matters ? parseRecord(line) : null;
        if (record) readRecord(record);
      }
    },
    alarms: () => [...cronEntries.values(), ...wakeUps],
  };
}

function parseRecord(line: string): TranscriptRecord | null {
  try {
    const parsed = v.safeParse(TranscriptRecord, JSON.parse(line));
    return parsed.success ? parsed.output : null;
  } catch {
    return null;
  }
}

function lastFire(call: ToolUse, result: Result, setAtMs: number): number {
  const recurring = result.recurring ?? call.input.recurring ?? true;
  if (!recurring) return result.nextFireAt ?? nextMatch(call.input.cron, setAtMs);
  return result.maxAgeMs === 0 ? Number.POSITIVE_INFINITY : setAtMs + (result.maxAgeMs ?? LONGEST_AGE_MS);
}

/** When a cron expression matches next after `afterMs`, in this machine's time zone; never past if it cannot be told. */
function nextMatch(expression: string | undefined, afterMs: number): number {
  try {
    const next = new Cron(expression ?? '').nextRun(new Date(afterMs));
    return next?.getTime() ?? Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
