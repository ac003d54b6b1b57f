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
import {
  newTranscriptReader,
  readTranscript,
  readTranscripts,
  type TranscriptCursor,
} from '../../../src/claude/transcript.ts';
import { type FileReader, newFileReader } from '../../../src/fs/file-cache.ts';
import { BUDGET_EXHAUSTED, newUserBudgets } from '../../../src/fs/user-budget.ts';
import { noLimit } from '../../helpers/budget.ts';

const uid = process.getuid?.() ?? 0;
const sample = (name: string): string =>
  readFileSync(new URL(`../../fixtures/transcripts/${name}.jsonl`, import.meta.url), 'utf8');
const SET = sample('0.3.330-cron-recurring');
const DELETED = sample('0.3.330-cron-delete');
const WAKE = sample('0.3.330-schedule-wakeup');
const MB = 1024 * 1024;
/** A line as long as a picture in a message. */
const PICTURE = `${JSON.stringify({ type: 'user', message: { content: 'x'.repeat(3 * 1024 * 1024) } })}\n`;

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-transcript-'));
  path = join(dir, 'conversation.jsonl');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function read(files: FileReader<TranscriptCursor> = newFileReader()) {
  const result = readTranscript(path, uid, noLimit, files);
  if (!result.ok) throw new Error(result.failure.detail);
  return result.value;
}

describe('readTranscript', () => {
  it('reports the time of the last change', () => {
    writeFileSync(path, SET);
    utimesSync(path, 1_795_341_900, 1_795_341_900.25);
    expect(read().changedAtMs).toBe(1_795_341_900_250);
  });
  it('finds scheduled runs anywhere in it', () => {
    writeFileSync(path, `${PICTURE}${SET}${PICTURE}${WAKE}${PICTURE}`);
    expect(read().scheduledRuns).toHaveLength(2);
  });
  it('continues where it stopped, also within a line that was still being written', () => {
    const files = newFileReader<TranscriptCursor>();
    const middle = SET.indexOf('"CronCreate"') + 5;
    writeFileSync(path, `${PICTURE}${SET.slice(0, middle)}`);
    expect(read(files).scheduledRuns).toEqual([]);
    appendFileSync(path, SET.slice(middle));
    expect(read(files).scheduledRuns).toHaveLength(1);
    appendFileSync(path, WAKE);
    expect(read(files).scheduledRuns).toHaveLength(2);
    appendFileSync(path, DELETED);
    expect(read(files).scheduledRuns).toHaveLength(1);
  });
  it('reads only what was added since', () => {
    const files = newFileReader<TranscriptCursor>();
    writeFileSync(path, SET);
    read(files);
    // What is overwritten in place was read already, so nobody sees it.
    writeFileSync(path, `${'x'.repeat(SET.length - 1)}\n${WAKE}`);
    expect(read(files).scheduledRuns).toMatchObject([{ tool: 'CronCreate' }, { tool: 'ScheduleWakeup' }]);
  });
  it('finds records across the borders of chunks', () => {
    // Chunks are a power of two long, so one of these puts the call on the border.
    for (const before of [1024 * 1024 - 700, 1024 * 1024 - 100, 2 * 1024 * 1024 - 300]) {
      writeFileSync(path, `${'x'.repeat(before - 1)}\n${SET}`);
      expect(read().scheduledRuns, `after ${before} bytes`).toHaveLength(1);
    }
  });
  it('starts again with a file that was replaced or truncated', () => {
    const files = newFileReader<TranscriptCursor>();
    writeFileSync(path, `${PICTURE}${SET}`);
    read(files);
    writeFileSync(join(dir, 'other'), `${PICTURE}${WAKE}${PICTURE}`);
    renameSync(join(dir, 'other'), path);
    expect(read(files).scheduledRuns).toMatchObject([{ tool: 'ScheduleWakeup' }]);
    truncateSync(path, 0);
    expect(read(files).scheduledRuns).toEqual([]);
  });
  it('reads an empty file', () => {
    writeFileSync(path, '');
    expect(read().scheduledRuns).toEqual([]);
  });
  it('refuses the file of another user', () => {
    writeFileSync(path, SET);
    expect(readTranscript(path, uid + 1, noLimit)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
    expect(readTranscript(join(dir, 'none'), uid, noLimit)).toMatchObject({
      ok: false,
      failure: { code: 'not-found' },
    });
  });
  it('goes on in the next sweep where the budget ended, until all of it is read', () => {
    writeFileSync(path, '');
    truncateSync(path, 12 * MB);
    appendFileSync(path, `\n${SET}`);
    const budgets = newUserBudgets({ ms: 10_000, bytes: 8 * MB, items: 1_000 }, null);
    const files = newTranscriptReader();
    const sweeps = [1, 2, 3, 4].map(() => {
      budgets.beginSweep();
      const result = readTranscript(path, uid, budgets.of(uid), files);
      return result.ok ? result.value.scheduledRuns.length : result.failure.detail;
    });
    expect(sweeps).toEqual([
      'its transcript is still being read (5 of 12 MB)',
      'its transcript is still being read (10 of 12 MB)',
      ...[1, 1],
    ]);
    expect(budgets.leftAlone()).toEqual([]);
  });
  it('stops between two records where the time ends, and misses none of them', () => {
    const record = SET.trim().split('\n');
    writeFileSync(path, `${SET.trim()}\n`.repeat(200));
    const files = newTranscriptReader();
    const results = Array.from({ length: 300 }, () => {
      let calls = 0;
      return readTranscript(path, uid, { ...noLimit, readAheadExhausted: () => ++calls > 7 }, files);
    });
    const whole = results.findIndex(({ ok }) => ok);
    expect(record.length).toBeGreaterThan(1);
    expect(whole).toBeGreaterThan(10);
    expect(results[whole]).toEqual(readTranscript(path, uid, noLimit));
  });
  it('keeps nothing that exceeds the budget of its user', () => {
    const call = (id: number): string =>
      `{"type":"assistant","message":{"content":[{"type":"tool_use","id":"toolu_${id}","name":"CronCreate","input":{"cron":"0 9 * * *"}}]}}\n`;
    writeFileSync(path, Array.from({ length: 100 }, (_, id) => call(id)).join(''));
    const budget = newUserBudgets({ ms: 10_000, bytes: 8 * MB, items: 900 }, null).of(uid);
    const files = newTranscriptReader();
    expect(readTranscript(path, uid, budget, files)).toMatchObject({ failure: { detail: BUDGET_EXHAUSTED } });
    expect(budget.exhausted()).toBe(true);
  });
});

describe('readTranscripts', () => {
  const agent = (name: string, content: string, seconds: number): void => {
    const file = join(dir, 'conversation/subagents', name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    utimesSync(file, seconds, seconds);
  };
  const readAll = (files: FileReader<TranscriptCursor> = newFileReader()) => {
    const result = readTranscripts(path, uid, noLimit, files);
    if (!result.ok) throw new Error(result.failure.detail);
    return result.value;
  };
  beforeEach(() => {
    writeFileSync(path, WAKE);
    utimesSync(path, 1_795_341_900, 1_795_341_900);
  });

  it('reads the transcript alone if there are no subagents', () => {
    expect(readAll()).toMatchObject({
      changedAtMs: 1_795_341_900_000,
      scheduledRuns: [{ tool: 'ScheduleWakeup' }],
    });
  });
  it('includes the scheduled runs and changes of subagents', () => {
    agent('agent-a6736c74ccd196287.jsonl', SET, 1_795_341_950);
    agent('agent-ab8b5fa61b6dbb8a5.jsonl', '{}\n', 1_795_341_940);
    agent('agent-ab8b5fa61b6dbb8a5.meta.json', SET, 1_795_341_990);
    expect(readAll()).toMatchObject({
      changedAtMs: 1_795_341_950_000,
      scheduledRuns: [{ tool: 'ScheduleWakeup' }, { tool: 'CronCreate' }],
    });
  });
  it('continues where it stopped in each transcript', () => {
    agent('agent-a.jsonl', '{}\n', 1_795_341_950);
    const files = newFileReader<TranscriptCursor>();
    readAll(files);
    agent('agent-a.jsonl', `{}\n${SET}`, 1_795_341_960);
    agent('agent-b.jsonl', SET, 1_795_341_960);
    appendFileSync(path, DELETED);
    const second = readAll(files);
    expect(second.scheduledRuns.map(({ tool }) => tool).sort()).toEqual([
      ...['CronCreate', 'CronCreate', 'ScheduleWakeup'],
    ]);
  });
  it('fails if a subagent’s transcript cannot be read: it may have scheduled a run', () => {
    mkdirSync(join(dir, 'conversation/subagents/agent-a.jsonl'), { recursive: true });
    expect(readTranscripts(path, uid, noLimit)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
  it('returns not-found for a missing transcript', () => {
    rmSync(path);
    expect(readTranscripts(path, uid, noLimit)).toMatchObject({ ok: false, failure: { code: 'not-found' } });
  });
});
