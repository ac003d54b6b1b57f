import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { areTasksScheduled, readTaskLock } from '../../src/claude/scheduled-tasks.ts';
import { type FakeProc, fakeProc } from './fake-proc.ts';

const id = { pid: 16_246, startTicks: 135_996 };
const LOCK = { sessionId: 'cd7ece16-29e6-474a-94b5-bd0998c39c7c', pid: 16_246, procStart: '135996', acquiredAt: 1 };
const TASKS = { tasks: [{ id: '10b4812d', cron: '3 4 * * *', prompt: 'durable', createdAt: 1, recurring: true }] };

let cwd: string;
let proc: FakeProc;
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'clay-reaper-tasks-'));
  mkdirSync(join(cwd, '.claude'));
  proc = fakeProc();
  proc.put({ pid: id.pid, cwd });
});
afterEach(() => {
  rmSync(cwd, { recursive: true, force: true });
  proc.end();
});

const write = (name: 'lock' | 'json', content: unknown): void =>
  writeFileSync(
    join(cwd, `.claude/scheduled_tasks.${name}`),
    typeof content === 'string' ? content : JSON.stringify(content),
  );
const keeps = () => {
  const lock = readTaskLock(proc.root, id);
  return lock.ok && lock.value ? areTasksScheduled(proc.root, id) : lock;
};

describe('readTaskLock and areTasksScheduled', () => {
  it('is the process that has the lock, while there are entries', () => {
    write('lock', LOCK);
    write('json', TASKS);
    expect(keeps()).toEqual({ ok: true, value: true });
  });
  it('is it with a lock that does not tell its start, too', () => {
    write('lock', { pid: id.pid });
    write('json', TASKS);
    expect(keeps()).toEqual({ ok: true, value: true });
  });
  it.each([
    ['no lock', null, TASKS],
    ['the lock of another process', { ...LOCK, pid: 5 }, TASKS],
    ['the lock of an earlier process of that pid', { ...LOCK, procStart: '7' }, TASKS],
    ['no entries', LOCK, { tasks: [] }],
    ['no list of entries', LOCK, null],
  ])('is it not with %s', (_, lock, tasks) => {
    if (lock !== null) write('lock', lock);
    if (tasks !== null) write('json', tasks);
    expect(keeps()).toEqual({ ok: true, value: false });
  });
  it.each(['', '{"tasks":[', '[]', '{"tasks":5}', 'null'])(
    'takes a list that cannot be read for one that is not empty: %j',
    (text) => {
      write('lock', LOCK);
      write('json', text);
      expect(keeps()).toEqual({ ok: true, value: true });
    },
  );
  it.each(['', '{"pid":162', '{"pid":"16246"}'])(
    'does not take a lock that cannot be read for another’s: %j',
    (text) => {
      write('lock', text);
      write('json', TASKS);
      expect(keeps()).not.toEqual({ ok: true, value: false });
    },
  );
  it('says what could not be read', () => {
    mkdirSync(join(cwd, '.claude/scheduled_tasks.lock'));
    expect(keeps()).toMatchObject({ ok: false, failure: { why: 'odd' } });
  });
});
