import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConversation, readTranscript, type TranscriptCursor } from '../../src/claude/transcript.ts';

const uid = process.getuid?.() ?? 0;
const sample = (name: string): string =>
  readFileSync(new URL(`../fixtures/transcripts/${name}.jsonl`, import.meta.url), 'utf8');
const SET = sample('0.3.330-cron-recurring');
const DELETED = sample('0.3.330-cron-delete');
const WAKE = sample('0.3.330-schedule-wakeup');
/** A line as long as a picture in a message. */
const PICTURE = `${JSON.stringify({ type: 'user', message: { content: 'x'.repeat(3 * 1024 * 1024) } })}\n`;

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-transcript-'));
  path = join(dir, 'conversation.jsonl');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function read(cursor: TranscriptCursor | null = null) {
  const result = readTranscript(path, uid, cursor);
  if (!result.ok) throw new Error(result.failure.detail);
  return result.value;
}

describe('readTranscript', () => {
  it('tells when it changed', () => {
    writeFileSync(path, SET);
    utimesSync(path, 1_795_341_900, 1_795_341_900.25);
    expect(read().transcript.changedAtMs).toBe(1_795_341_900_250);
  });
  it('finds alarms anywhere in it', () => {
    writeFileSync(path, `${PICTURE}${SET}${PICTURE}${WAKE}${PICTURE}`);
    expect(read().transcript.alarms).toHaveLength(2);
  });
  it('goes on where it stopped', () => {
    writeFileSync(path, `${PICTURE}${SET}`);
    const first = read();
    expect(first.cursor.readTo).toBe(PICTURE.length + Buffer.byteLength(SET));
    appendFileSync(path, WAKE);
    const second = read(first.cursor);
    expect(second.transcript.alarms).toHaveLength(2);
    expect(second.cursor.readTo).toBe(first.cursor.readTo + Buffer.byteLength(WAKE));
    appendFileSync(path, DELETED);
    expect(read(second.cursor).transcript.alarms).toHaveLength(1);
  });
  it('waits for the end of a line that is still being written', () => {
    const middle = SET.indexOf('"CronCreate"') + 5;
    writeFileSync(path, SET.slice(0, middle));
    const first = read();
    expect(first.transcript.alarms).toEqual([]);
    appendFileSync(path, SET.slice(middle));
    expect(read(first.cursor).transcript.alarms).toHaveLength(1);
  });
  it('finds what stands across the borders of what is read at once', () => {
    // Chunks are a power of two long, so one of these puts the call on the border.
    for (const before of [1024 * 1024 - 700, 1024 * 1024 - 100, 2 * 1024 * 1024 - 300]) {
      writeFileSync(path, `${'x'.repeat(before - 1)}\n${SET}`);
      expect(read().transcript.alarms, `after ${before} bytes`).toHaveLength(1);
    }
  });
  it('begins again with a file that was replaced or cut', () => {
    writeFileSync(path, `${PICTURE}${SET}`);
    const { cursor } = read();
    writeFileSync(join(dir, 'other'), `${PICTURE}${WAKE}${PICTURE}`);
    renameSync(join(dir, 'other'), path);
    expect(read(cursor).transcript.alarms).toMatchObject([{ tool: 'ScheduleWakeup' }]);
    const again = read().cursor;
    truncateSync(path, 0);
    expect(read(again).transcript.alarms).toEqual([]);
  });
  it('does not take the cursor of another conversation', () => {
    writeFileSync(path, SET);
    const { cursor } = read();
    const other = join(dir, 'other.jsonl');
    writeFileSync(other, WAKE);
    const result = readTranscript(other, uid, cursor);
    expect(result.ok && result.value.transcript.alarms).toMatchObject([{ tool: 'ScheduleWakeup' }]);
  });
  it('reads an empty one', () => {
    writeFileSync(path, '');
    expect(read().transcript.alarms).toEqual([]);
  });
  it('reads nobody else’s', () => {
    writeFileSync(path, SET);
    expect(readTranscript(path, uid + 1, null)).toMatchObject({ ok: false, failure: { why: 'odd' } });
    expect(readTranscript(join(dir, 'none'), uid, null)).toMatchObject({ ok: false, failure: { why: 'gone' } });
  });
  it('refuses one that nobody would read', () => {
    writeFileSync(path, '');
    truncateSync(path, 256 * 1024 * 1024 + 1);
    expect(readTranscript(path, uid, null)).toMatchObject({ ok: false, failure: { why: 'odd' } });
  });
});

describe('readConversation', () => {
  const agent = (name: string, content: string, seconds: number): void => {
    const file = join(dir, 'conversation/subagents', name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    utimesSync(file, seconds, seconds);
  };
  const readAll = (cursors: Parameters<typeof readConversation>[2] = new Map()) => {
    const result = readConversation(path, uid, cursors);
    if (!result.ok) throw new Error(result.failure.detail);
    return result.value;
  };
  beforeEach(() => {
    writeFileSync(path, WAKE);
    utimesSync(path, 1_795_341_900, 1_795_341_900);
  });

  it('is the transcript alone where there are no agents', () => {
    expect(readAll()).toMatchObject({
      transcript: { changedAtMs: 1_795_341_900_000, alarms: [{ tool: 'ScheduleWakeup' }] },
    });
  });
  it('knows what agents below it have set, and when they last did something', () => {
    agent('agent-a6736c74ccd196287.jsonl', SET, 1_795_341_950);
    agent('agent-ab8b5fa61b6dbb8a5.jsonl', '{}\n', 1_795_341_940);
    agent('agent-ab8b5fa61b6dbb8a5.meta.json', SET, 1_795_341_990);
    expect(readAll().transcript).toMatchObject({
      changedAtMs: 1_795_341_950_000,
      alarms: [{ tool: 'ScheduleWakeup' }, { tool: 'CronCreate' }],
    });
  });
  it('goes on where it stopped, with each of them', () => {
    agent('agent-a.jsonl', '{}\n', 1_795_341_950);
    const first = readAll();
    agent('agent-a.jsonl', `{}\n${SET}`, 1_795_341_960);
    agent('agent-b.jsonl', SET, 1_795_341_960);
    appendFileSync(path, DELETED);
    const second = readAll(first.cursors);
    expect(second.transcript.alarms.map(({ tool }) => tool).sort()).toEqual([
      ...['CronCreate', 'CronCreate', 'ScheduleWakeup'],
    ]);
    expect(second.cursors.size).toBe(3);
  });
  it('says if one of them cannot be read: it may have set an alarm', () => {
    mkdirSync(join(dir, 'conversation/subagents/agent-a.jsonl'), { recursive: true });
    expect(readConversation(path, uid, new Map())).toMatchObject({ ok: false, failure: { why: 'odd' } });
  });
  it('says if there is none', () => {
    rmSync(path);
    expect(readConversation(path, uid, new Map())).toMatchObject({ ok: false, failure: { why: 'gone' } });
  });
});
