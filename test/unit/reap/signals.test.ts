import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hasExited, type SignalTarget, sendSignal, targetOf, waitForExit } from '../../../src/reap/signals.ts';
import { identify, isAlive } from '../../helpers/processes.ts';

/** A real process, and a copy of its stat and status that a test can change: signals reach the real one. */
let child: ChildProcess;
let exited: Promise<void>;
let procRoot: string;
let target: SignalTarget;
let real: Readonly<Record<'stat' | 'status', string>>;

beforeEach(() => {
  child = spawn('sleep', ['86400'], { stdio: 'ignore' });
  exited = new Promise((resolve) => child.once('exit', () => resolve()));
  const id = identify(child.pid ?? 0);
  if (!id) throw new Error('sleep did not start');
  const read = (name: string): string => readFileSync(`/proc/${id.pid}/${name}`, 'utf8');
  real = { stat: read('stat').replace(/\(.*\)/, '(sleep)'), status: read('status') };
  target = { ...id, uid: process.getuid?.() ?? -1, comm: 'sleep' };
  procRoot = mkdtempSync(join(tmpdir(), 'signals-'));
  mkdirSync(join(procRoot, String(id.pid)));
});
afterEach(async () => {
  child.kill('SIGKILL');
  await exited;
  rmSync(procRoot, { recursive: true });
});

/** Lays out the two files; null: it exists and cannot be read, undefined: it is not there. */
function layOut(files: Partial<Record<'stat' | 'status', string | null | undefined>> = {}): void {
  for (const [name, text] of Object.entries({ ...real, ...files })) {
    const path = join(procRoot, String(target.pid), name);
    if (text === null) mkdirSync(path);
    else if (text !== undefined) writeFileSync(path, text);
  }
}

const statWith = (change: (stat: string) => string) => () => ({ stat: change(real.stat) });
const statusWith = (uids: string) => () => ({ status: real.status.replace(/^Uid:.*$/m, `Uid:\t${uids}`) });
const ownUids = (): string => [1, 2, 3, 4].map(() => target.uid).join('\t');
const otherUidAt = (index: number): string =>
  ownUids()
    .split('\t')
    .map((uid, at) => (at === index ? '4242' : uid))
    .join('\t');

describe('sendSignal', () => {
  it('signals the process if everything is as expected', async () => {
    layOut();
    expect(sendSignal(procRoot, target, 'SIGKILL')).toEqual({ state: 'sent' });
    await exited;
  });

  it.each([
    ['its pid was reused', statWith((stat) => stat.replace(` ${target.startTicks} `, ` ${target.startTicks + 1} `))],
    ['it is a zombie', statWith((stat) => stat.replace(/\) \w /, ') Z '))],
    ['it is not there', () => ({ stat: undefined, status: undefined })],
    ['it vanishes after its start time was read', () => ({ status: undefined })],
  ])('sends nothing and says gone if %s', (_, files) => {
    layOut(files());
    expect(sendSignal(procRoot, target, 'SIGKILL')).toEqual({ state: 'gone' });
    expect(isAlive(target)).toBe(true);
  });

  it.each([
    ['its stat cannot be read', () => ({ stat: null }), /it is unknown/],
    ['its stat cannot be parsed', () => ({ stat: 'odd' }), /it is unknown/],
    ['its status cannot be read', () => ({ status: null }), /it is unknown/],
    ['its status has no uids', () => ({ status: 'Name:\tsleep\n' }), /it is unknown/],
    ['it has executed another program', statWith((stat) => stat.replace('(sleep)', '(sudo)')), /its name is sudo now/],
    ['all its uids are root now', statusWith('0\t0\t0\t0'), /no longer runs under uid/],
  ])('sends nothing and refuses if %s', (name, files, why) => {
    // Without the change of the uids nothing would be tested as root.
    if (name.includes('root')) target = { ...target, uid: 12_345 };
    layOut(files());
    expect(sendSignal(procRoot, target, 'SIGKILL')).toEqual({ state: 'refused', why: expect.stringMatching(why) });
    expect(isAlive(target)).toBe(true);
  });

  it.each(['real', 'effective', 'saved', 'file system'].map((name, index) => [name, index] as const))(
    'sends nothing and refuses if the %s uid alone is another one',
    (_, index) => {
      layOut(statusWith(otherUidAt(index))());
      expect(sendSignal(procRoot, target, 'SIGKILL')).toMatchObject({ state: 'refused' });
      expect(isAlive(target)).toBe(true);
    },
  );
});

describe('targetOf', () => {
  it('returns what the process is now', () => {
    layOut();
    expect(targetOf(procRoot, target, target.uid)).toEqual(target);
  });

  it.each([
    ['it runs under another uid', statusWith('4242\t4242\t4242\t4242')],
    ['its pid was reused', statWith((stat) => stat.replace(` ${target.startTicks} `, ` ${target.startTicks + 1} `))],
    ['it is a zombie', statWith((stat) => stat.replace(/\) \w /, ') Z '))],
    ['it is not there', () => ({ stat: undefined, status: undefined })],
    ['its status cannot be read', () => ({ status: null })],
  ])('returns null if %s', (_, files) => {
    layOut(files());
    expect(targetOf(procRoot, target, target.uid)).toBeNull();
  });
});

describe('hasExited', () => {
  it.each([
    ['true for a zombie', statWith((stat) => stat.replace(/\) \w /, ') Z ')), true],
    ['true for a process that is not there', () => ({ stat: undefined }), true],
    ['false for a running process', () => ({}), false],
    ['false if the kernel does not say', () => ({ stat: null }), false],
  ])('is %s', (_, files, expected) => {
    layOut(files());
    expect(hasExited(procRoot, target)).toBe(expected);
  });
});

describe('waitForExit', () => {
  it('returns nothing once all have exited, long before the timeout', async () => {
    const startedMs = performance.now();
    setTimeout(() => child.kill('SIGKILL'), 30);
    expect(await waitForExit('/proc', [target], 30_000, null)).toEqual([]);
    expect(performance.now() - startedMs).toBeLessThan(10_000);
  });

  it('returns the processes that still run after the timeout', async () => {
    expect(await waitForExit('/proc', [target], 20, null)).toEqual([target]);
  });

  it('returns the processes that still run when it is aborted', async () => {
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 20);
    const startedMs = performance.now();
    expect(await waitForExit('/proc', [target], 30_000, abort.signal)).toEqual([target]);
    expect(performance.now() - startedMs).toBeLessThan(10_000);
  });
});
