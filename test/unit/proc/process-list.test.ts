import { spawn } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listFromProc, listProcesses } from '../../../src/proc/process-list.ts';
import { noLimits } from '../../helpers/budget.ts';
import { type FakeProc, fakeProc } from '../../helpers/fake-proc.ts';

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});
afterEach(() => proc.end());

describe('listFromProc', () => {
  const list = (isWanted: (cmd: string) => boolean = () => true) => listFromProc(proc.root, isWanted, noLimits);

  it('lists processes with parent and command line', () => {
    proc.put({ pid: 5, ppid: 1, cmdline: ['/usr/bin/node', '/srv/lib/daemon.js', '--port', '2633'] });
    proc.put({ pid: 6, ppid: 5 });
    expect(list()).toEqual({
      ok: true,
      value: [
        { pid: 5, ppid: 1, cmd: '/usr/bin/node /srv/lib/daemon.js --port 2633' },
        { pid: 6, ppid: 5, cmd: 'claude' },
      ],
    });
  });
  it('keeps only the command lines that are wanted', () => {
    proc.put({ pid: 5, ppid: 1, cmdline: ['a'] });
    proc.put({ pid: 6, ppid: 1, cmdline: ['b'] });
    expect(list((cmd) => cmd === 'b')).toMatchObject({ value: [{ cmd: '' }, { cmd: 'b' }] });
  });
  it('reads no command line of a kernel thread', () => {
    proc.put({
      pid: 2,
      cmdline: ['/srv/lib/daemon.js'],
      stat: '2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 31',
    });
    expect(list()).toEqual({ ok: true, value: [{ pid: 2, ppid: 0, cmd: '' }] });
  });
  it('reads no more than 4 kB of a command line', () => {
    proc.put({ pid: 5, cmdline: ['x'.repeat(1024 * 1024)] });
    expect(list()).toMatchObject({ value: [{ cmd: 'x'.repeat(4096) }] });
  });
  it('ignores files that are no processes, and processes that have exited', () => {
    proc.write('uptime', '1 1\n');
    proc.write('7/cmdline', 'claude\0');
    expect(list()).toEqual({ ok: true, value: [] });
  });
  it('fails if /proc cannot be listed', () => {
    proc.end();
    expect(list()).toMatchObject({ ok: false, failure: { code: 'not-found' } });
  });
});

describe('listProcesses', () => {
  it.each([true, false])('finds a running process of this machine, with ps: %s', async (withPs) => {
    const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)', 'lib/daemon.js']);
    try {
      const listed = await listProcesses('/proc', {
        withPs,
        isWanted: (cmd) => cmd.includes('lib/daemon.js'),
        budgets: noLimits,
      });
      const entry = listed.ok ? listed.value.find(({ pid }) => pid === child.pid) : null;
      expect(entry).toMatchObject({ ppid: process.pid, cmd: expect.stringMatching(/lib\/daemon\.js$/) });
    } finally {
      child.kill('SIGKILL');
    }
  });
});
