import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseSessionFile, readSessionFile, type SessionOwner } from '../../src/claude/session-file.ts';

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
const owner: SessionOwner = { pid: 16_246, uid: 1000, startTicks: 135_996, startedAtMs: 1_795_341_903_500 };
const newerOwner: SessionOwner = { ...owner, pid: 16_836, startTicks: 144_141, startedAtMs: 1_795_341_984_100 };

const parse = (file: unknown, of = owner) => parseSessionFile(JSON.stringify(file), of);

describe('parseSessionFile', () => {
  it('reads the one of SDK 0.2.92, which has no status', () => {
    expect(parse(OLDER)).toEqual({
      ok: true,
      value: {
        sessionId: OLDER.sessionId,
        status: null,
        waitingFor: null,
        statusUpdatedAtMs: null,
        startedAtMs: OLDER.startedAt,
      },
    });
  });
  it('reads the one of SDK 0.3.330', () => {
    expect(parse(NEWER, newerOwner)).toEqual({
      ok: true,
      value: {
        sessionId: NEWER.sessionId,
        status: 'idle',
        waitingFor: null,
        statusUpdatedAtMs: NEWER.statusUpdatedAt,
        startedAtMs: NEWER.startedAt,
      },
    });
  });
  it('reads the one of SDK 0.3.193, which has a start but no status', () => {
    const { status, statusUpdatedAt, updatedAt, ...without } = NEWER;
    expect(parse(without, newerOwner)).toMatchObject({ ok: true, value: { status: null, statusUpdatedAtMs: null } });
  });
  it('tells what it waits for', () => {
    expect(parse({ ...NEWER, status: 'waiting', waitingFor: 'permission prompt' }, newerOwner)).toMatchObject({
      value: { status: 'waiting', waitingFor: 'permission prompt' },
    });
  });
  it('keeps a status that nobody knows', () => {
    expect(parse({ ...NEWER, status: 'dreaming' }, newerOwner)).toMatchObject({ value: { status: 'dreaming' } });
  });
  it('writes the id of a conversation in one way', () => {
    expect(parse({ ...OLDER, sessionId: OLDER.sessionId.toUpperCase() })).toMatchObject({
      value: { sessionId: OLDER.sessionId },
    });
  });
  it.each([
    ['left by an earlier process of that pid (procStart)', { ...NEWER, procStart: '9' }, newerOwner],
    ['of which the start is written otherwise', { ...NEWER, procStart: '0144141' }, newerOwner],
    ['of another pid', { ...OLDER, pid: 16_247 }, owner],
    ['older than the process', { ...OLDER, startedAt: owner.startedAtMs - 2001 }, owner],
    ['without any start', { pid: OLDER.pid, sessionId: OLDER.sessionId }, owner],
    ['without a pid', { ...OLDER, pid: undefined }, owner],
    ['with a pid that is no number', { ...OLDER, pid: '16246' }, owner],
    ['without a conversation', { ...OLDER, sessionId: undefined }, owner],
    ['that would lead elsewhere', { ...OLDER, sessionId: '../../../etc/shadow' }, owner],
    ['with an id and more', { ...OLDER, sessionId: `${OLDER.sessionId}/../x` }, owner],
    ['with an id and a newline', { ...OLDER, sessionId: `${OLDER.sessionId}\n` }, owner],
    ['with a status that is no text', { ...NEWER, status: 5 }, newerOwner],
    ['with a status of null', { ...NEWER, status: null }, newerOwner],
    ['with a time that is no number', { ...NEWER, statusUpdatedAt: 'now' }, newerOwner],
    ['that is a list', [], owner],
    ['that is null', null, owner],
    ['that is a number', 5, owner],
  ])('refuses one %s', (_, file, of) => {
    expect(parse(file, of)).toMatchObject({ ok: false, failure: { why: 'odd' } });
  });
  it.each([
    ['nothing', ''],
    ['half of it', '{"pid":16246,"sess'],
    ['a time without end', '{"pid":16246,"sessionId":"cd7ece16-29e6-474a-94b5-bd0998c39c7c","startedAt":1e999}'],
  ])('refuses %s', (_, text) =>
    expect(parseSessionFile(text, owner)).toMatchObject({ ok: false, failure: { why: 'odd' } }),
  );
  it('allows for a start that is only known to a tick', () => {
    expect(parse({ ...OLDER, startedAt: owner.startedAtMs - 2000 }).ok).toBe(true);
  });
  it('goes by procStart where there is one, whatever the clock was set to since', () => {
    expect(parse({ ...NEWER, startedAt: 5 }, newerOwner).ok).toBe(true);
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
    expect(readSessionFile(dir, { ...owner, uid })).toMatchObject({ ok: true, value: { sessionId: OLDER.sessionId } });
  });
  it('says if there is none', () => {
    expect(readSessionFile(dir, { ...owner, uid })).toMatchObject({ ok: false, failure: { why: 'gone' } });
  });
  it('reads neither somebody else’s, nor a link, nor one without end', () => {
    const path = join(dir, 'sessions/16246.json');
    writeFileSync(path, JSON.stringify(OLDER));
    expect(readSessionFile(dir, { ...owner, uid: uid + 1 })).toMatchObject({ ok: false, failure: { why: 'odd' } });
    writeFileSync(path, `${JSON.stringify(OLDER)}${' '.repeat(65_536)}`);
    expect(readSessionFile(dir, { ...owner, uid })).toMatchObject({ ok: false, failure: { why: 'odd' } });
    writeFileSync(join(dir, 'elsewhere'), JSON.stringify(OLDER));
    rmSync(path);
    symlinkSync(join(dir, 'elsewhere'), path);
    expect(readSessionFile(dir, { ...owner, uid })).toMatchObject({ ok: false, failure: { why: 'odd' } });
  });
});
