import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ExpectedProcess, parseSessionFile, readSessionFile } from '../../../src/claude/session-file.ts';
import { noLimit } from '../../helpers/budget.ts';

/** As SDK 0.2.92 and 0.3.330 write them. */
const OLDER = {
  pid: 16_246,
  sessionId: 'cd7ece16-29e6-474a-94b5-bd0998c39c7c',
  cwd: '/srv/projects/alpha',
  startedAt: 1_795_341_903_909,
  kind: 'interactive',
  entrypoint: 'sdk-ts',
};
const NEWER = {
  pid: 16_836,
  sessionId: '6239bc70-f521-431b-bb12-efceed24bde5',
  cwd: '/srv/projects/gamma',
  startedAt: 1_795_341_984_506,
  procStart: '144141',
  version: '2.1.330',
  peerProtocol: 1,
  peerFeatures: ['notify_idle'],
  kind: 'interactive',
  entrypoint: 'sdk-ts',
  asksForConvertedSkills: null,
  messagingSocketPath: '/tmp/cc-socks/16836.sock',
  status: 'idle',
  updatedAt: 1_795_341_984_711,
  statusUpdatedAt: 1_795_341_984_711,
};
const START_MS = 1_795_341_903_500;
const owner: ExpectedProcess = { pid: 16_246, uid: 1000, startTicks: 135_996, startedAtMs: [START_MS] };
const newerOwner: ExpectedProcess = { ...owner, pid: 16_836, startTicks: 144_141, startedAtMs: [1_795_341_984_100] };

const parse = (file: unknown, of = owner) => parseSessionFile(JSON.stringify(file), of);

describe('parseSessionFile', () => {
  it('reads the file of SDK 0.2.92, which has no status', () => {
    expect(parse(OLDER)).toEqual({
      ok: true,
      value: {
        sessionId: OLDER.sessionId,
        release: null,
        status: null,
        waitingFor: null,
        unknownFields: [],
        statusUpdatedAtMs: null,
        startedAtMs: OLDER.startedAt,
        isCertain: true,
        namesStartTicks: false,
      },
    });
  });
  it('reads the file of SDK 0.3.330', () => {
    expect(parse(NEWER, newerOwner)).toEqual({
      ok: true,
      value: {
        sessionId: NEWER.sessionId,
        release: '2.1.330',
        status: 'idle',
        waitingFor: null,
        unknownFields: [],
        statusUpdatedAtMs: NEWER.statusUpdatedAt,
        startedAtMs: NEWER.startedAt,
        isCertain: true,
        namesStartTicks: true,
      },
    });
  });
  it('reads the file of SDK 0.3.193, which has a start but no status', () => {
    const { status, statusUpdatedAt, updatedAt, ...without } = NEWER;
    expect(parse(without, newerOwner)).toMatchObject({ ok: true, value: { status: null, statusUpdatedAtMs: null } });
  });
  it('names the fields that no tested release writes, and no more than ten', () => {
    const unknownFieldsOf = (more: object): unknown => {
      const session = parse({ ...NEWER, ...more }, newerOwner);
      return session.ok && session.value.unknownFields;
    };
    expect(unknownFieldsOf({ peerFeatures: [], asksForConvertedSkills: true })).toEqual([]);
    expect(unknownFieldsOf({ mood: 'good', queue: [] })).toEqual(['mood', 'queue']);
    expect(unknownFieldsOf(Object.fromEntries([...'abcdefghijklm'].map((name) => [name, 1])))).toHaveLength(10);
  });
  it('returns what the process waits for', () => {
    expect(parse({ ...NEWER, status: 'waiting', waitingFor: 'permission prompt' }, newerOwner)).toMatchObject({
      value: { status: 'waiting', waitingFor: 'permission prompt' },
    });
  });
  it.each([-1e308, 1e308, -1, 8.64e15 + 1])('refuses the time %d ms, which no Date can hold', (time) => {
    for (const name of ['startedAt', 'statusUpdatedAt'])
      expect(parse({ ...NEWER, [name]: time }, newerOwner)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
  it('returns an unknown status unchanged', () => {
    expect(parse({ ...NEWER, status: 'dreaming' }, newerOwner)).toMatchObject({ value: { status: 'dreaming' } });
  });
  it('returns session ids in one spelling', () => {
    expect(parse({ ...OLDER, sessionId: OLDER.sessionId.toUpperCase() })).toMatchObject({
      value: { sessionId: OLDER.sessionId },
    });
  });
  it.each([
    ['left by an earlier process of that pid (procStart)', { ...NEWER, procStart: '9' }, newerOwner],
    ['of which the start is written otherwise', { ...NEWER, procStart: '0144141' }, newerOwner],
    ['of another pid', { ...OLDER, pid: 16_247 }, owner],
    ['without any start', { pid: OLDER.pid, sessionId: OLDER.sessionId }, owner],
    ['without a pid', { ...OLDER, pid: undefined }, owner],
    ['with a pid that is no number', { ...OLDER, pid: '16246' }, owner],
    ['without a conversation', { ...OLDER, sessionId: undefined }, owner],
    ['with a path as session id', { ...OLDER, sessionId: '../../../etc/shadow' }, owner],
    ['with an id and more', { ...OLDER, sessionId: `${OLDER.sessionId}/../x` }, owner],
    ['with an id and a newline', { ...OLDER, sessionId: `${OLDER.sessionId}\n` }, owner],
    ['with a status that is no text', { ...NEWER, status: 5 }, newerOwner],
    ['with a status of null', { ...NEWER, status: null }, newerOwner],
    ['with a time that is no number', { ...NEWER, statusUpdatedAt: 'now' }, newerOwner],
    ['that is a list', [], owner],
    ['that is null', null, owner],
    ['that is a number', 5, owner],
  ])('refuses a file %s', (_, file, of) => {
    expect(parse(file, of)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
  it.each([
    ['an empty file', ''],
    ['half a file', '{"pid":16246,"sess'],
    ['an infinite time', '{"pid":16246,"sessionId":"cd7ece16-29e6-474a-94b5-bd0998c39c7c","startedAt":1e999}'],
  ])('refuses %s', (_, text) =>
    expect(parseSessionFile(text, owner)).toMatchObject({ ok: false, failure: { code: 'invalid' } }),
  );
  it.each([
    [-2001, false],
    [-2000, true],
    [5 * 60_000, true],
    [5 * 60_000 + 1, false],
  ])('is certain of a file without procStart that was begun %d ms after the process: %s', (ms, isCertain) => {
    expect(parse({ ...OLDER, startedAt: START_MS + ms })).toMatchObject({ ok: true, value: { isCertain } });
  });
  it.each([2_001, 3_600_000, 365 * 24 * 3_600_000])(
    'is certain after the clock was set by %d ms if the process was seen before',
    (ms) => {
      for (const startedAtMs of [
        [START_MS + ms, START_MS],
        [START_MS - ms, START_MS],
      ]) {
        expect(parse(OLDER, { ...owner, startedAtMs })).toMatchObject({ ok: true, value: { isCertain: true } });
      }
    },
  );
  it('is certain of a file with procStart, whenever the clock was set', () => {
    expect(parse({ ...NEWER, startedAt: 5 }, newerOwner)).toMatchObject({ ok: true, value: { isCertain: true } });
  });
});

describe('readSessionFile', () => {
  let dir: string;
  const uid = process.getuid?.() ?? 0;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'clay-reaper-session-'));
    mkdirSync(join(dir, 'sessions'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('reads the file of that pid', () => {
    writeFileSync(join(dir, 'sessions/16246.json'), JSON.stringify(OLDER));
    expect(readSessionFile(dir, { ...owner, uid }, noLimit)).toMatchObject({
      ok: true,
      value: { sessionId: OLDER.sessionId },
    });
  });
  it('returns not-found if there is none', () => {
    expect(readSessionFile(dir, { ...owner, uid }, noLimit)).toMatchObject({
      ok: false,
      failure: { code: 'not-found' },
    });
  });
  it('refuses the file of another user, a link, and a file without end', () => {
    const path = join(dir, 'sessions/16246.json');
    writeFileSync(path, JSON.stringify(OLDER));
    expect(readSessionFile(dir, { ...owner, uid: uid + 1 }, noLimit)).toMatchObject({
      ok: false,
      failure: { code: 'invalid' },
    });
    writeFileSync(path, `${JSON.stringify(OLDER)}${' '.repeat(65_536)}`);
    expect(readSessionFile(dir, { ...owner, uid }, noLimit)).toMatchObject({
      ok: false,
      failure: { code: 'invalid' },
    });
    writeFileSync(join(dir, 'elsewhere'), JSON.stringify(OLDER));
    rmSync(path);
    symlinkSync(join(dir, 'elsewhere'), path);
    expect(readSessionFile(dir, { ...owner, uid }, noLimit)).toMatchObject({
      ok: false,
      failure: { code: 'invalid' },
    });
  });
});
