import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Family, readFamily } from '../../src/observe/family.ts';
import { readStat } from '../../src/proc/stat.ts';
import { type FakeProc, type FakeProcess, fakeProc } from './fake-proc.ts';

const TOOL_SHELL = [
  '/bin/bash',
  '-c',
  "source /home/ada/.claude/shell-snapshots/snapshot-bash-1795341932025-qjfhlz.sh 2>/dev/null || true && eval 'sleep 900' < /dev/null && pwd -P >| /tmp/claude-c78f-cwd",
];
const HEAD = 16_484;

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});
afterEach(() => proc.end());

function read(): Family {
  const family = tryRead();
  if (!family.ok) throw new Error(family.failure.detail);
  return family.value;
}
function tryRead() {
  const stat = readStat(proc.root, HEAD);
  if (!stat.ok) throw new Error('no head');
  return readFamily({ procRoot: proc.root, units: { ticksPerSecond: 100, pageBytes: 4096 } }, stat.value);
}
/** The head, and processes below it, each with its children. */
function put(head: Partial<FakeProcess>, ...others: readonly FakeProcess[]): void {
  proc.put({ pid: HEAD, session: 16_199, ...head });
  const all = [{ pid: HEAD, ...head }, ...others];
  const parentOf = (pid: number): number => all.find(({ children }) => children?.flat().includes(pid))?.pid ?? 1;
  for (const other of others) {
    const usual = { comm: 'bash', session: 16_199, cmdline: ['npm', 'exec', 'server'], ppid: parentOf(other.pid) };
    proc.put({ ...usual, ...other });
  }
}

describe('readFamily', () => {
  it('of one without children', () => {
    put({ ownTicks: 138, reapedTicks: 16 });
    expect(read()).toEqual({
      children: 0,
      descendants: [],
      tools: [],
      cpuMs: 1540,
      cpuMsByProcess: new Map([[`${HEAD}:135996`, 1380]]),
    });
  });
  it('finds all below it, nearest first, whichever thread began them', () => {
    put(
      { children: [[2], [3]] },
      { pid: 2, startTicks: 20, children: [[4]] },
      { pid: 3, startTicks: 30, children: [[]] },
      { pid: 4, startTicks: 40, children: [[5]] },
      { pid: 5, startTicks: 50 },
    );
    const family = read();
    expect(family.children).toBe(2);
    expect(family.descendants).toEqual([
      { pid: 2, startTicks: 20 },
      { pid: 3, startTicks: 30 },
      { pid: 4, startTicks: 40 },
      { pid: 5, startTicks: 50 },
    ]);
  });
  it('adds up the CPU time of the living and of the dead that were waited for', () => {
    put(
      { children: [[2]], ownTicks: 100, reapedTicks: 10 },
      { pid: 2, startTicks: 20, ownTicks: 5, reapedTicks: 2, children: [[3]] },
      { pid: 3, startTicks: 30, ownTicks: 1 },
    );
    const family = read();
    expect(family.cpuMs).toBe(1180);
    expect([...family.cpuMsByProcess]).toEqual([
      [`${HEAD}:135996`, 1000],
      ['2:20', 50],
      ['3:30', 10],
    ]);
  });
  it('knows a tool by its session, wherever it is', () => {
    put({ children: [[2]] }, { pid: 2, children: [[3]] }, { pid: 3, session: 3 });
    expect(read().tools).toEqual([{ pid: 3, why: 'own session' }]);
  });
  it('knows a tool by its command line, if it shares the session', () => {
    put({ children: [[2]] }, { pid: 2, cmdline: TOOL_SHELL });
    expect(read().tools).toEqual([{ pid: 2, why: 'tool shell' }]);
  });
  it('does not take MCP servers and all below them for tools', () => {
    put(
      { children: [[2], [3]] },
      { pid: 2, cmdline: ['npm', 'exec', '@modelcontextprotocol/server-filesystem'], children: [[4]] },
      { pid: 3, cmdline: ['node', '/srv/mcp/index.js'] },
      { pid: 4, cmdline: ['node', 'server-filesystem', '/srv'] },
    );
    expect(read().tools).toEqual([]);
  });
  it('goes by the session of the head, which is that of Clay', () => {
    put({ session: 1363, children: [[2]] }, { pid: 2, session: 1363 });
    expect(read().tools).toEqual([]);
  });
  it('does not take a dead tool for one that runs, but counts its time', () => {
    put({ children: [[2]], ownTicks: 1 }, { pid: 2, state: 'Z', session: 2, startTicks: 20, ownTicks: 7 });
    expect(read()).toMatchObject({ tools: [], cpuMs: 80 });
  });
  it('leaves out who vanished meanwhile', () => {
    put({ children: [[2, 3]] }, { pid: 3, session: 3 });
    expect(read()).toMatchObject({ descendants: [{ pid: 3 }], tools: [{ pid: 3 }] });
    rmSync(join(proc.root, '3/task'), { recursive: true });
    expect(read()).toMatchObject({ descendants: [{ pid: 3 }] });
  });
  it('says if the head has vanished', () => {
    put({});
    const stat = readStat(proc.root, HEAD);
    proc.remove(HEAD);
    const host = { procRoot: proc.root, units: { ticksPerSecond: 100, pageBytes: 4096 } };
    expect(stat.ok && readFamily(host, stat.value)).toMatchObject({ ok: false, failure: { why: 'gone' } });
  });
  it('takes a descendant that it cannot read for what it may be', () => {
    put({ children: [[2]] }, { pid: 2 });
    proc.write('2/stat', 'odd');
    const family = tryRead();
    // What is not known may be a tool.
    expect(family.ok && family.value.tools.length === 0).toBe(false);
  });
  it('does not take the first of very many for all of them', () => {
    // The same one again and again stands in for as many.
    put({ children: [Array.from({ length: 4200 }, () => 2)] }, { pid: 2 });
    const family = tryRead();
    expect(family.ok && family.value.tools.length === 0).toBe(false);
  });
});
