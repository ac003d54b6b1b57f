import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Host } from '../../src/observe/host.ts';
import { sendSignal } from '../../src/reap/signals.ts';
import { identify, isAlive, type ProcessId } from '../support/processes.ts';

let root = '';
let id: ProcessId;
let stat = '';
let end: () => Promise<void>;

beforeEach(() => {
  const child = spawn('sleep', ['86400'], { stdio: 'ignore' });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const found = identify(child.pid ?? 0);
  if (!found) throw new Error('it did not start');
  id = found;
  stat = readFileSync(`/proc/${id.pid}/stat`, 'utf8');
  root = mkdtempSync(join(tmpdir(), 'signals-'));
  mkdirSync(join(root, String(id.pid)));
  end = async () => {
    child.kill('SIGKILL');
    await exited;
    rmSync(root, { recursive: true });
  };
});
afterEach(() => end());

/** Sends SIGKILL to a process of which the kernel says this; undefined: nothing at all. */
function sendWhile(says: string | null | undefined): string {
  const path = join(root, String(id.pid), 'stat');
  if (says === null) mkdirSync(path);
  else if (says !== undefined) writeFileSync(path, says);
  return sendSignal({ procRoot: root } as Host, id, 'SIGKILL');
}

describe('sendSignal', () => {
  it('sends it to the very process', () => expect(sendWhile(stat)).toBe('sent'));
  it.each([
    ['the pid is another process’s', () => stat.replace(` ${id.startTicks} `, ` ${id.startTicks + 1} `), 'gone'],
    ['it is a zombie', () => stat.replace(/\) \w /, ') Z '), 'gone'],
    ['it is not there', () => undefined, 'gone'],
    ['the kernel does not tell', () => null, 'unproven'],
    ['the kernel tells something odd', () => 'odd', 'unproven'],
  ])('sends nothing while %s', (_, says, outcome) => {
    expect(sendWhile(says())).toBe(outcome);
    expect(isAlive(id)).toBe(true);
  });
});
