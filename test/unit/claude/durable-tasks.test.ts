import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hasDurableTasks, readHoldsTaskLock } from '../../../src/claude/durable-tasks.ts';
import { noLimit } from '../../helpers/budget.ts';
import { type FakeProc, fakeProc } from '../../helpers/fake-proc.ts';

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
  const lock = readHoldsTaskLock({ procRoot: proc.root, pids: [] }, id, noLimit);
  return lock.ok && lock.value ? hasDurableTasks({ procRoot: proc.root, pids: [] }, id, noLimit) : lock;
};

describe('readHoldsTaskLock and hasDurableTasks', () => {
  it('is true for the process that holds the lock, while there are entries', () => {
    write('lock', LOCK);
    write('json', TASKS);
    expect(keeps()).toEqual({ ok: true, value: true });
  });
  it('is true for a lock without a start time', () => {
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
  ])('is false with %s', (_, lock, tasks) => {
    if (lock !== null) write('lock', lock);
    if (tasks !== null) write('json', tasks);
    expect(keeps()).toEqual({ ok: true, value: false });
  });
  it.each(['', '{"tasks":[', '[]', '{"tasks":5}', 'null'])('treats an unreadable list as not empty: %j', (text) => {
    write('lock', LOCK);
    write('json', text);
    expect(keeps()).toEqual({ ok: true, value: true });
  });
  it.each(['', '{"pid":162', '{"pid":"16246"}'])('treats an unreadable lock as its own: %j', (text) => {
    write('lock', text);
    write('json', TASKS);
    expect(keeps()).not.toEqual({ ok: true, value: false });
  });
  it('names the file that could not be read', () => {
    mkdirSync(join(cwd, '.claude/scheduled_tasks.lock'));
    expect(keeps()).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
});
