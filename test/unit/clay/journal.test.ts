import { appendFileSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseJournalTail, readJournal, type TurnState } from '../../../src/clay/journal.ts';
import { noLimit } from '../../helpers/budget.ts';

const fixture = (name: string): Buffer =>
  readFileSync(new URL(`../../fixtures/journals/${name}.jsonl`, import.meta.url));

type Line = { readonly type: string; readonly [field: string]: unknown } | string;

/** Records as Clay writes them, one a line. */
const lines = (...records: readonly Line[]): string =>
  records.map((record) => `${typeof record === 'string' ? record : JSON.stringify(record)}\n`).join('');
const meta = { type: 'meta', localId: 2, cliSessionId: 'cd7ece16-29e6-474a-94b5-bd0998c39c7c' };
const message = { type: 'user_message', text: 'hello' };
const delta = { type: 'delta', text: 'hello from mock' };
const done = { type: 'done', code: 0 };

const turnOf = (...records: readonly Line[]): TurnState => parseJournalTail(Buffer.from(lines(...records)), true).turn;

describe('captured journals', () => {
  it.each([
    ['idle', 'ended', 'done'],
    ['background-tool', 'ended', 'done'],
    ['streaming', 'open', 'session_id'],
    ['tool-running', 'open', 'tool_executing'],
    ['permission-pending', 'open', 'permission_request'],
  ])('%s: the turn is %s', (name, turn, decidedBy) => {
    expect(parseJournalTail(fixture(name), true)).toMatchObject({ turn, decidedBy, conclusive: true });
  });
  it.each(['idle', 'background-tool', 'streaming', 'tool-running', 'permission-pending'])(
    '%s: the turn is open after each line before its end',
    (name) => {
      const whole = fixture(name).toString('utf8').split('\n').slice(0, -1);
      const end = whole.findIndex((line) => line.includes('"type":"done"'));
      const began = whole.findIndex((line) => line.includes('"type":"user_message"'));
      whole.forEach((_, at) => {
        const { turn } = parseJournalTail(Buffer.from(lines(...whole.slice(0, at + 1))), true);
        const isOn = at >= began && (end === -1 || at < end);
        expect(turn, `after line ${at + 1}`).toBe(isOn ? 'open' : 'ended');
      });
    },
  );
  it.each(['idle', 'background-tool'])('%s: the end alone gives the same result', (name) => {
    // The first line of a tail is cut somewhere; a turn before it can still be told from a message that was queued.
    const text = fixture(name).toString('utf8');
    const tail = Buffer.from(`ut off"}\n${text}${text}`);
    expect(parseJournalTail(tail, false)).toMatchObject({ turn: 'ended', conclusive: true });
  });
});

describe('an open turn', () => {
  it.each([
    ...['user_message', 'session_id', 'thinking_start', 'thinking_delta', 'thinking_stop', 'delta', 'tool_start'],
    ...['tool_executing', 'tool_result', 'permission_request', 'ask_user', 'elicitation_request', 'compacting'],
  ])('may have %s as its last record', (type) => {
    expect(turnOf(meta, message, { type })).toBe('open');
    // A turn that the process started itself begins without a message.
    expect(turnOf(meta, message, done, { type })).toBe('open');
  });
  it.each(['subagent_activity', 'subagent_tool', 'task_started', 'task_progress'])(
    'is not begun by %s: an agent in the background writes it, and no turn has to follow',
    (type) => {
      expect(turnOf(meta, message, { type })).toBe('open');
      expect(turnOf(meta, message, done, { type })).toBe('unclear');
    },
  );
  it('no longer waits for the user once a permission request is answered', () => {
    const request = { type: 'permission_request' };
    const answer = { type: 'permission_resolved' };
    const decidedBy = (...records: readonly Line[]): string =>
      parseJournalTail(Buffer.from(lines(meta, message, ...records)), true).decidedBy;
    expect(decidedBy(request)).toBe('permission_request');
    expect(decidedBy(request, answer)).toBe('permission_resolved');
    expect(decidedBy(request, answer, request)).toBe('permission_request');
    expect(turnOf(meta, message, request, answer)).toBe('open');
    expect(turnOf(meta, message, done, answer)).toBe('unclear');
  });
  it('stays open behind harmless records, and behind unknown ones', () => {
    for (const type of ['fast_mode_state', 'message_uuid', 'result', 'prompt_suggestion', 'something_new']) {
      expect(turnOf(meta, message, delta, { type }), type).toBe('open');
    }
  });
  it('begins with a second message', () => expect(turnOf(meta, message, delta, done, message)).toBe('open'));
  it('does not end when compacting ends', () => {
    expect(turnOf(meta, message, delta, { type: 'compacting', active: false })).toBe('open');
  });
  it('does not begin when compacting ends', () => {
    expect(turnOf(meta, message, done, { type: 'compacting', active: false })).not.toBe('open');
    expect(turnOf(meta, message, done, { type: 'compacting', active: true })).toBe('open');
  });
});

describe('an ended turn', () => {
  it.each(['prompt_suggestion', 'fast_mode_state', 'message_uuid', 'result', 'rewind_complete'])(
    'stays ended behind %s',
    (type) => expect(turnOf(meta, message, delta, done, { type })).toBe('ended'),
  );
  it('is recognised behind earlier turns', () =>
    expect(turnOf(meta, message, delta, done, message, delta, done)).toBe('ended'));
  it('may have been interrupted', () => {
    expect(turnOf(meta, message, delta, { type: 'done', code: 1, interrupted: true })).toBe('ended');
  });
  it('is reported for a conversation without a message', () => {
    expect(parseJournalTail(Buffer.from(lines(meta)), true)).toEqual({
      turn: 'ended',
      decidedBy: 'meta',
      lastRecordMs: 0,
      conclusive: true,
      queuedMessages: null,
      unknown: null,
    });
    expect(turnOf(meta, { type: 'fast_mode_state' })).toBe('ended');
  });
  it('is not read from text that looks like a record', () => {
    const text = lines(done).trim();
    expect(turnOf(meta, { type: 'user_message', text }, { type: 'delta', text })).toBe('open');
    expect(turnOf(meta, { type: 'user_message', text: `\n${text}\n` })).toBe('open');
    expect(turnOf(meta, message, JSON.stringify(text))).toBe('open');
    expect(turnOf(meta, message, { type: 'delta', nested: done })).toBe('open');
  });
});

describe('an unclear end', () => {
  it.each([
    ['an unknown record', { type: 'something_new' }, 'something_new'],
    ['a line that is no JSON', '{"type":"do', 'a line that is no record'],
    ['a line that is no object', '5', 'a line that is no record'],
    ['a list', '[]', 'a line that is no record'],
    ['null', 'null', 'a line that is no record'],
    ['a record without a type', '{"text":"x"}', 'a line that is no record'],
    ['a record with a type that is no text', '{"type":5}', 'a line that is no record'],
    ['an empty line', '', 'a line that is no record'],
  ])('follows from %s after the turn', (_, record, decidedBy) => {
    const tail = Buffer.from(lines(meta, message, delta, done, record));
    expect(parseJournalTail(tail, true)).toMatchObject({ turn: 'unclear', decidedBy });
    const more = Buffer.from(lines(meta, message, delta, done, record, { type: 'fast_mode_state' }));
    expect(parseJournalTail(more, true)).toMatchObject({ turn: 'unclear', decidedBy });
  });
  it('follows from an unknown record in a conversation without a message', () => {
    expect(turnOf(meta, { type: 'something_new' })).toBe('unclear');
  });
  it('follows from an unfinished last line', () => {
    const whole = lines(meta, message, delta, done);
    for (const torn of ['{', '{"type":"fast_mode_st', '{"type":"user_mess', '{"type":"done","code":0}']) {
      expect(parseJournalTail(Buffer.from(`${whole}${torn}`), true), torn).toMatchObject({
        turn: 'unclear',
        decidedBy: 'a line half written',
      });
    }
  });
  it('follows from an empty file', () => {
    expect(parseJournalTail(Buffer.from(''), true).turn).toBe('unclear');
    expect(parseJournalTail(Buffer.from('\n'), true).turn).toBe('unclear');
  });
  it('follows from a tail without a deciding record', () => {
    const tail = Buffer.from(`cut off"}\n${lines({ type: 'message_uuid' }, { type: 'result' })}`);
    expect(parseJournalTail(tail, false)).toMatchObject({ turn: 'unclear', conclusive: false });
    const one = Buffer.from('a line that is longer than the tail and was cut off at both ends');
    expect(parseJournalTail(one, false).turn).toBe('unclear');
  });
});

describe('a record that is not known', () => {
  const unknownOf = (...records: readonly Line[]) => parseJournalTail(Buffer.from(lines(...records)), true).unknown;

  it('is named behind the end of a turn', () => {
    expect(unknownOf(meta, message, delta, done, { type: 'mood' })).toEqual({ where: 'after-turn', type: 'mood' });
  });
  it('is named where no record of the journal is known', () => {
    expect(unknownOf({ type: 'begin' }, { type: 'mood' })).toEqual({ where: 'none-known', type: 'mood' });
  });
  it('is none of those that Clay writes, and none within a turn', () => {
    expect(unknownOf(meta, message, delta, done, { type: 'task_started' }, { type: 'subagent_done' })).toBeNull();
    expect(unknownOf(meta, message, delta, done, { type: 'scheduled_message_queued' })).toBeNull();
    expect(unknownOf(meta, message, delta, { type: 'mood' })).toBeNull();
    expect(unknownOf(meta, message, delta, done)).toBeNull();
  });
});

describe('messages queued behind a turn', () => {
  it('make its end unclear: the turn of the second begins without a record', () => {
    expect(turnOf(meta, message, delta, message, delta, done)).toBe('unclear');
    expect(turnOf(meta, message, message, done, { type: 'fast_mode_state' })).toBe('unclear');
  });
  it('are given with the times at which they were sent, where the release of Clay writes them', () => {
    const sent = (...timesMs: readonly number[]) => timesMs.map((_ts) => ({ ...message, _ts }));
    const queuedOf = (...records: readonly Line[]) =>
      parseJournalTail(Buffer.from(lines(...records)), true).queuedMessages;
    expect(queuedOf(meta, ...sent(5, 7, 9), delta, done)).toEqual({ firstMs: 5, lastMs: 9 });
    expect(queuedOf(meta, ...sent(3), done, ...sent(5, 7), delta, done)).toEqual({ firstMs: 5, lastMs: 7 });
    expect(queuedOf(meta, ...sent(5), message, delta, done)).toBeNull();
    expect(queuedOf(meta, ...sent(5), delta, done)).toBeNull();
  });
  it('are all looked for: a tail in which their turn does not begin is too short', () => {
    const tail = Buffer.from(`cut off"}\n${lines(message, message, delta, done)}`);
    expect(parseJournalTail(tail, false)).toMatchObject({ turn: 'unclear', conclusive: false, queuedMessages: null });
  });
  it('are answered when their own turns have ended', () => {
    expect(turnOf(meta, message, message, delta, done, delta, done)).toBe('ended');
  });
  it('keep the turn open while they are answered', () => {
    expect(turnOf(meta, message, message, delta, done, delta)).toBe('open');
  });
  it('do not exist if each message was answered before the next', () => {
    expect(turnOf(meta, message, done, message, done, message, done)).toBe('ended');
  });
  it('may precede the tail, so more of the file is read', () => {
    const tail = Buffer.from(`cut off"}\n${lines(delta, done)}`);
    expect(parseJournalTail(tail, false)).toMatchObject({ turn: 'unclear', conclusive: false });
  });
});

describe('the time of the last record', () => {
  const lastMs = (...records: readonly Line[]): number =>
    parseJournalTail(Buffer.from(lines(...records)), true).lastRecordMs;
  it('is read from records of newer Clays', () => {
    expect(lastMs(meta, { ...message, _ts: 1 }, { ...done, _ts: 1_795_341_903_909 })).toBe(1_795_341_903_909);
    expect(lastMs(meta, { ...message, _ts: 5 }, { ...done, _ts: 7 }, { type: 'result', _ts: 9 })).toBe(9);
  });
  it('is 0 if no record has a valid time', () => {
    expect(lastMs(meta, message, done)).toBe(0);
    expect(lastMs(meta, message, { ...done, _ts: '2026-11-22' })).toBe(0);
    expect(lastMs(meta, '{"type":"done","_ts":1e999}')).toBe(0);
  });
});

describe('readJournal', () => {
  let dir: string;
  let path: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'clay-reaper-journal-'));
    path = join(dir, 'journal.jsonl');
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const uid = process.getuid?.() ?? 0;
  const picture = { type: 'tool_result', content: 'x'.repeat(1024 * 1024) };

  it('returns the state of the turn and when it last changed', () => {
    writeFileSync(path, lines(meta, message, delta, done));
    utimesSync(path, 1_795_341_900, 1_795_341_900.5);
    expect(readJournal(path, uid, noLimit)).toEqual({
      ok: true,
      value: { turn: 'ended', decidedBy: 'done', changedAtMs: 1_795_341_900_500, queuedMessages: null, unknown: null },
    });
  });
  it('returns the later of the modification time and the time of the last record', () => {
    writeFileSync(path, lines(meta, { ...done, _ts: 1_795_341_990_000 }));
    utimesSync(path, 1_795_341_900, 1_795_341_900);
    expect(readJournal(path, uid, noLimit)).toMatchObject({ value: { changedAtMs: 1_795_341_990_000 } });
    writeFileSync(path, lines(meta, { ...done, _ts: 1 }));
    utimesSync(path, 1_795_341_900, 1_795_341_900);
    expect(readJournal(path, uid, noLimit)).toMatchObject({ value: { changedAtMs: 1_795_341_900_000 } });
  });
  it.each([
    ['a turn with megabytes in one line', [meta, message, picture, delta, done], 'ended'],
    ['one that has not ended', [meta, message, picture], 'open'],
    ['one before a long line', [meta, message, done, message, picture], 'open'],
    ['one after two long lines', [meta, message, picture, picture, delta, done, { type: 'result' }], 'ended'],
    ['a second message before a long line', [meta, message, message, picture, delta, done], 'unclear'],
  ] as const)('reads as far back as it has to: %s', (_, records, turn) => {
    writeFileSync(path, lines(...records));
    expect(readJournal(path, uid, noLimit)).toMatchObject({ value: { turn } });
  });
  it('reads a long journal of short records', () => {
    writeFileSync(path, lines(meta, ...Array.from({ length: 20_000 }, () => [message, delta, done]).flat()));
    expect(readJournal(path, uid, noLimit)).toMatchObject({ value: { turn: 'ended' } });
    appendFileSync(path, lines(message));
    expect(readJournal(path, uid, noLimit)).toMatchObject({ value: { turn: 'open' } });
  });
  it('returns unclear for a turn longer than the read limit', () => {
    writeFileSync(path, lines(meta, message, ...Array.from({ length: 8 }, () => picture), done));
    expect(readJournal(path, uid, noLimit)).toMatchObject({ value: { turn: 'unclear' } });
  });
  it('ignores a record that is not text', () => {
    writeFileSync(path, Buffer.concat([Buffer.from(lines(meta, message, done)), Buffer.from([0xff, 0xfe, 0x0a])]));
    expect(readJournal(path, uid, noLimit)).toMatchObject({ value: { turn: 'unclear' } });
  });
  it('refuses the journal of another user', () => {
    writeFileSync(path, lines(meta));
    expect(readJournal(path, uid + 1, noLimit)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
    expect(readJournal(join(dir, 'none'), uid, noLimit)).toMatchObject({
      ok: false,
      failure: { code: 'not-found' },
    });
  });
});
