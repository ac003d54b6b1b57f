import * as v from 'valibot';
import { type FileReader, newFileReader } from '../fs/file-cache.ts';
import { parseJsonAs } from '../fs/json.ts';
import type { UserBudget } from '../fs/user-budget.ts';
import { ok, type Result } from '../result.ts';

/** When the first and the last of several messages were sent, wall clock, ms. */
export type MessageTimes = { readonly firstMs: number; readonly lastMs: number };

/** Whether the messages of some time were all taken up and answered. */
export type PromptQueueReading = { readonly messages: MessageTimes; readonly isAnswered: boolean };

const TranscriptRecord = v.object({
  type: v.string(),
  timestamp: v.optional(v.string()),
  operation: v.optional(v.string()),
  isSidechain: v.optional(v.boolean()),
});

/** Holds some turns; one that is longer leaves the question open. */
const TAIL_BYTES = 256 * 1024;

/** A record has 130 bytes at least; what is no JSON takes 8 µs a line (measured), and 256 kB may hold as many lines as bytes. */
const MAX_LINES = 2_000;

/** Makes a reader of transcripts that has read nothing yet. */
export const newPromptQueueReader = (): FileReader<PromptQueueReading> => newFileReader();

/**
 * Whether a `claude` has taken up and answered all messages that Clay sent in some time, by the end of its transcript. False where that
 * is unknown: releases before 2.1.141 were not seen to write it. `ownerUid`: the user who must own the file.
 */
export function readPromptQueue(
  path: string,
  messages: MessageTimes,
  ownerUid: number,
  budget: UserBudget,
  files: FileReader<PromptQueueReading> = newPromptQueueReader(),
): Result<boolean> {
  const read = (): Result<PromptQueueReading> =>
    files.read(path, ownerUid, budget, (file) => {
      const start = Math.max(0, file.stat.size - TAIL_BYTES);
      const tail = file.read(start, file.stat.size - start).toString('utf8');
      return ok({ messages, isAnswered: areAnswered(tail, start === 0, messages) });
    });
  let reading = read();
  if (reading.ok && !isSame(reading.value.messages, messages)) {
    files.keepOnly(new Set());
    reading = read();
  }
  return reading.ok ? ok(reading.value.isAnswered) : reading;
}

const isSame = (one: MessageTimes, other: MessageTimes): boolean =>
  one.firstMs === other.firstMs && one.lastMs === other.lastMs;

/**
 * Each prompt is written to the transcript when it is queued and when it is taken (measured on 2.1.141 and 2.1.330): all are
 * answered if one was queued after the last message was sent, as many were taken as queued, and an answer follows.
 * `whole`: the tail is the whole transcript.
 */
export function areAnswered(tail: string, whole: boolean, { firstMs, lastMs }: MessageTimes): boolean {
  const lines = tail.split('\n');
  if (lines.pop() !== '' || lines.length > MAX_LINES) return false;
  if (!whole) lines.shift();
  let reachesBack = whole;
  let [queued, taken, lastQueuedMs] = [0, 0, 0];
  let isAnswered = false;
  for (const line of lines) {
    const record = parseJsonAs(TranscriptRecord, line);
    if (!record.ok) continue;
    const { type, timestamp, operation, isSidechain } = record.value;
    const atMs = Date.parse(timestamp ?? '');
    if (atMs < firstMs) reachesBack = true;
    if (type === 'assistant' && isSidechain !== true) isAnswered = true;
    if (type !== 'queue-operation' || atMs < firstMs) continue;
    // A time that is none compares false, and counts.
    if (operation === 'enqueue') {
      queued += 1;
      lastQueuedMs = Math.max(lastQueuedMs, atMs);
    } else if (operation === 'dequeue') {
      taken += 1;
      isAnswered = false;
    } else {
      // What the others do to the queue was not measured.
      return false;
    }
  }
  return reachesBack && queued > 0 && queued === taken && lastQueuedMs >= lastMs && isAnswered;
}
