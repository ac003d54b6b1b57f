import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findHooks, type ProcessTree, readProcessTree } from '../../../src/observe/process-tree.ts';
import { readStat } from '../../../src/proc/stat.ts';
import { noLimit } from '../../helpers/budget.ts';
import { cpuPart } from '../../helpers/evidence.ts';
import { type FakeProc, type FakeProcess, fakeProc } from '../../helpers/fake-proc.ts';

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

function read(): ProcessTree {
  const tree = tryRead();
  if (!tree.ok) throw new Error(tree.failure.detail);
  return tree.value;
}
function tryRead() {
  const stat = readStat(proc.root, HEAD);
  if (!stat.ok) throw new Error('no head');
  return readProcessTree(proc.root, stat.value, noLimit);
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

describe('readProcessTree', () => {
  it('returns an empty tree for a process without children', () => {
    put({ ownTicks: 138, reapedTicks: 16 });
    expect(read()).toEqual({
      children: 0,
      descendants: [],
      tools: [],
      cpuParts: new Map([[`${HEAD}:135996`, cpuPart(HEAD, { [`${HEAD}:135996`]: 1380 }, 160)]]),
    });
  });
  it('finds the descendants of all threads, nearest first', () => {
    put(
      { children: [[2], [3]] },
      { pid: 2, startTicks: 20, children: [[4]] },
      { pid: 3, startTicks: 30, children: [[]] },
      { pid: 4, startTicks: 40, children: [[5]] },
      { pid: 5, startTicks: 50 },
    );
    const tree = read();
    expect(tree.children).toBe(2);
    expect(tree.descendants).toEqual([
      { pid: 2, startTicks: 20 },
      { pid: 3, startTicks: 30 },
      { pid: 4, startTicks: 40 },
      { pid: 5, startTicks: 50 },
    ]);
  });
  it('adds up the CPU time of claude, and of each child with everything below it', () => {
    put(
      { children: [[2, 4]], ownTicks: 100, reapedTicks: 10 },
      { pid: 2, startTicks: 20, ownTicks: 5, reapedTicks: 2, children: [[3]] },
      { pid: 3, startTicks: 30, ownTicks: 1 },
      { pid: 4, startTicks: 40, ownTicks: 9 },
    );
    expect([...read().cpuParts]).toEqual([
      [`${HEAD}:135996`, cpuPart(HEAD, { [`${HEAD}:135996`]: 1000 }, 100)],
      ['2:20', cpuPart(2, { '2:20': 50, '3:30': 10 }, 20)],
      ['4:40', cpuPart(4, { '4:40': 90 })],
    ]);
  });
  it('recognises a tool by its session at any depth', () => {
    put({ children: [[2]] }, { pid: 2, children: [[3]] }, { pid: 3, session: 3 });
    expect(read().tools).toEqual([{ pid: 3, why: 'own session' }]);
  });
  it('recognises a tool in the same session by its command line', () => {
    put({ children: [[2]] }, { pid: 2, cmdline: TOOL_SHELL });
    expect(read().tools).toEqual([{ pid: 2, why: 'tool shell' }]);
  });
  it('does not report MCP servers and their descendants as tools', () => {
    put(
      { children: [[2], [3]] },
      { pid: 2, cmdline: ['npm', 'exec', '@modelcontextprotocol/server-filesystem'], children: [[4]] },
      { pid: 3, cmdline: ['node', '/srv/mcp/index.js'] },
      { pid: 4, cmdline: ['node', 'server-filesystem', '/srv'] },
    );
    expect(read().tools).toEqual([]);
  });
  it('compares with the session of the root process, which is that of Clay', () => {
    put({ session: 1363, children: [[2]] }, { pid: 2, session: 1363 });
    expect(read().tools).toEqual([]);
  });
  it('does not report a zombie as a tool, but counts its CPU time', () => {
    put({ children: [[2]], ownTicks: 1 }, { pid: 2, state: 'Z', session: 2, startTicks: 20, ownTicks: 7 });
    expect(read().tools).toEqual([]);
    expect(read().cpuParts.get('2:20')?.cpuMs).toBe(70);
  });
  it('omits processes that have exited meanwhile', () => {
    put({ children: [[2, 3]] }, { pid: 3, session: 3 });
    expect(read()).toMatchObject({ descendants: [{ pid: 3 }], tools: [{ pid: 3 }] });
    rmSync(join(proc.root, '3/task'), { recursive: true });
    expect(read()).toMatchObject({ descendants: [{ pid: 3 }] });
  });
  it('returns a failure if the root process is gone', () => {
    put({});
    const stat = readStat(proc.root, HEAD);
    proc.remove(HEAD);
    expect(stat.ok && readProcessTree(proc.root, stat.value, noLimit)).toMatchObject({
      ok: false,
      failure: { code: 'not-found' },
    });
  });
  it('treats an unreadable descendant as a possible tool', () => {
    put({ children: [[2]] }, { pid: 2 });
    proc.write('2/stat', 'odd');
    const tree = tryRead();
    // What is not known may be a tool.
    expect(tree.ok && tree.value.tools.length === 0).toBe(false);
  });
  it('returns no part of a tree that exceeds the limit', () => {
    // The same one again and again stands in for as many.
    put({ children: [Array.from({ length: 4200 }, () => 2)] }, { pid: 2 });
    const tree = tryRead();
    expect(tree.ok && tree.value.tools.length === 0).toBe(false);
  });
});

describe('findHooks', () => {
  const HOOK = { CLAUDE_PROJECT_DIR: '/srv/projects/alpha', PATH: '/usr/bin' };
  const hooks = () => findHooks(proc.root, read(), noLimit);
  it('finds processes with the environment variable of hooks, at any depth', () => {
    put({ children: [[2]] }, { pid: 2, environ: HOOK, children: [[3]] }, { pid: 3, environ: HOOK });
    expect(hooks()).toEqual([
      { pid: 2, why: 'hook' },
      { pid: 3, why: 'hook' },
    ]);
  });
  it('does not report MCP servers as hooks', () => {
    const environ = { PATH: '/usr/bin', X_CLAUDE_PROJECT_DIR: '1', X: 'CLAUDE_PROJECT_DIR=/srv' };
    put({ children: [[2]] }, { pid: 2, environ });
    expect(hooks()).toEqual([]);
  });
  it('does not report a tool twice', () => {
    put({ children: [[2]] }, { pid: 2, session: 2, environ: HOOK });
    expect(hooks()).toEqual([]);
  });
  it('treats a process with an unreadable environment as a hook', () => {
    put({ children: [[2]] }, { pid: 2 });
    const tree = read();
    proc.write('2/environ', 'x'.repeat(200_000));
    expect(findHooks(proc.root, tree, noLimit)).toEqual([{ pid: 2, why: 'hook' }]);
    proc.remove(2);
    expect(findHooks(proc.root, tree, noLimit)).toEqual([]);
  });
});
