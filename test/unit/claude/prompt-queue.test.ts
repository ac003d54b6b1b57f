import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { areAnswered, newPromptQueueReader, readPromptQueue } from '../../../src/claude/prompt-queue.ts';
import { parseJournalTail } from '../../../src/clay/journal.ts';
import { noLimit } from '../../helpers/budget.ts';

const fixture = (path: string): Buffer => readFileSync(new URL(`../../fixtures/${path}`, import.meta.url));

type Row = Readonly<Record<string, unknown>>;
const at = (second: number): string => new Date(second * 1000).toISOString();
const queue = (operation: string, second: number): Row => ({
  type: 'queue-operation',
  operation,
  timestamp: at(second),
});
const [enqueue, dequeue] = [(second: number) => queue('enqueue', second), (second: number) => queue('dequeue', second)];
const answer = { type: 'assistant', isSidechain: false };
const rows = (...records: readonly Row[]): string => records.map((record) => `${JSON.stringify(record)}\n`).join('');

/** Messages sent at 10 s and at 20 s. */
const MESSAGES = { firstMs: 10_000, lastMs: 20_000 };
const answered = (...records: readonly Row[]): boolean => areAnswered(rows(...records), true, MESSAGES);

describe('areAnswered', () => {
  it('is true of a conversation whose first message Clay 2.41.1 has lost, as captured', () => {
    const { turn, queuedMessages } = parseJournalTail(fixture('journals/lost-message.jsonl'), true);
    expect({ turn, queuedMessages }).toEqual({
      turn: 'unclear',
      queuedMessages: { firstMs: 1_795_596_434_527, lastMs: 1_795_596_439_620 },
    });
    const transcript = fixture('transcripts/2.1.141-lost-message.jsonl').toString();
    expect(areAnswered(transcript, true, queuedMessages ?? MESSAGES)).toBe(true);
    // At no moment before its answer was there.
    const lines = transcript.split('\n').slice(0, -1);
    const states = lines.map((_, count) =>
      areAnswered(`${lines.slice(0, count).join('\n')}\n`, true, queuedMessages ?? MESSAGES),
    );
    expect(states).toEqual(lines.map(() => false));
  });
  it('is true if the only message that arrived is the last one', () => {
    expect(answered(enqueue(20.1), dequeue(20.2), answer)).toBe(true);
  });
  it('is false for more lines than the end of a transcript can have: each takes time', () => {
    const records = rows(enqueue(20.1), dequeue(20.2), answer);
    expect(areAnswered('\n'.repeat(1_000) + records, true, MESSAGES)).toBe(true);
    expect(areAnswered('\n'.repeat(2_000) + records, true, MESSAGES)).toBe(false);
  });
  it('is true if all messages arrived and were answered', () => {
    expect(answered(enqueue(10.1), dequeue(10.2), answer, enqueue(20.1), dequeue(20.2), answer)).toBe(true);
  });
  it.each([
    ['a message is still queued', [enqueue(10.1), dequeue(10.2), answer, enqueue(20.1)]],
    [
      'a queued message was taken and is not answered yet',
      [enqueue(10.1), enqueue(20.1), dequeue(20.2), dequeue(20.3)],
    ],
    ['only a subagent has answered', [enqueue(20.1), dequeue(20.2), { ...answer, isSidechain: true }]],
    ['the last message did not arrive', [enqueue(10.1), dequeue(10.2), answer]],
    ['a message that was sent before is still taken', [dequeue(15), enqueue(20.1), dequeue(20.2), answer]],
    ['something else happens to the queue', [enqueue(20.1), dequeue(20.2), queue('popAll', 20.3), answer]],
    ['a time is missing', [{ ...enqueue(20.1), timestamp: 'soon' }, dequeue(20.2), answer]],
    ['this release writes nothing of the queue', [{ type: 'user' }, answer]],
  ])('is false if %s', (_, records) => expect(answered(...records)).toBe(false));
  it('is false while a line is being written', () => {
    expect(areAnswered(rows(enqueue(20.1), dequeue(20.2), answer).trimEnd(), true, MESSAGES)).toBe(false);
  });
  it('is false for a tail that does not reach back to the first message', () => {
    const tail = rows({ type: 'cut off' }, enqueue(20.1), dequeue(20.2), answer);
    expect(areAnswered(tail, false, MESSAGES)).toBe(false);
    expect(
      areAnswered(rows({ type: 'cut off' }) + rows({ type: 'user', timestamp: at(9) }) + tail, false, MESSAGES),
    ).toBe(true);
  });
});

describe('readPromptQueue', () => {
  let dir: string;
  let path: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'clay-reaper-queue-'));
    path = join(dir, 'transcript.jsonl');
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const uid = process.getuid?.() ?? 0;

  it('reads the end of a long transcript, and follows its changes', () => {
    const files = newPromptQueueReader();
    const read = (messages = MESSAGES) => readPromptQueue(path, messages, uid, noLimit, files);
    writeFileSync(path, `${'x'.repeat(300_000)}\n`.repeat(3) + rows({ type: 'user', timestamp: at(9) }, enqueue(20.1)));
    expect(read()).toEqual({ ok: true, value: false });
    appendFileSync(path, rows(dequeue(20.2), answer));
    expect(read()).toEqual({ ok: true, value: true });
    expect(read({ firstMs: 10_000, lastMs: 30_000 })).toEqual({ ok: true, value: false });
    expect(read()).toEqual({ ok: true, value: true });
  });
  it('fails for a file of another user, and if there is none', () => {
    writeFileSync(path, '');
    expect(readPromptQueue(path, MESSAGES, uid + 1, noLimit)).toMatchObject({ failure: { code: 'invalid' } });
    rmSync(path);
    expect(readPromptQueue(path, MESSAGES, uid, noLimit)).toMatchObject({ failure: { code: 'not-found' } });
  });
});
