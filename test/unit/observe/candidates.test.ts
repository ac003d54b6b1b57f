import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { candidatesOf, type ObservedClay } from '../../../src/observe/candidates.ts';
import { newProcessCache } from '../../../src/observe/process-cache.ts';
import { clayLook } from '../../helpers/assessment.ts';
import { noLimits } from '../../helpers/budget.ts';
import { CLAY_PID } from '../../helpers/evidence.ts';
import { type FakeProc, type FakeProcess, fakeProc } from '../../helpers/fake-proc.ts';

const LIB = '/usr/lib/node_modules/clay-server/lib';
const SDK = { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts', CLAUDE_AGENT_SDK_VERSION: '0.2.141' };
/** A terminal: 136:0, /dev/pts/0. */
const PTS = 34_816;
const NOW_MS = 1_000_000;
const MIN_AGE_MS = 60_000;

let proc: FakeProc;
let home: string;
beforeEach(() => {
  proc = fakeProc();
  home = mkdtempSync(join(tmpdir(), 'clay-reaper-user-'));
});
afterEach(() => {
  proc.end();
  rmSync(home, { recursive: true, force: true });
});

const asUser = clayLook();
const asRoot: ObservedClay = { ...asUser, daemon: { ...asUser.daemon, uid: 0 } };
const find = (clay = asUser) => {
  const context = {
    procRoot: proc.root,
    cache: newProcessCache(proc.root),
    budgets: noLimits,
    uptimeMs: NOW_MS,
    minAgeMs: MIN_AGE_MS,
  };
  const found = candidatesOf(context, clay);
  if (!found.ok) throw new Error(found.failure.detail);
  return found.value;
};
const pidsOf = (clay = asUser): number[] => find(clay).candidates.map(({ stat }) => stat.pid);
const daemon = (children: readonly number[], overrides: Partial<FakeProcess> = {}): void =>
  proc.put({ pid: CLAY_PID, startTicks: 1000, comm: 'node', session: CLAY_PID, children: [children], ...overrides });
const claude = (pid: number, overrides: Partial<FakeProcess> = {}): void =>
  proc.put({ pid, ppid: CLAY_PID, session: CLAY_PID, startTicks: 1100, environ: SDK, ...overrides });
/** Any other child: its program has nothing to do with Claude. */
const other = (pid: number, overrides: Partial<FakeProcess> = {}): void =>
  proc.put({
    pid,
    ppid: CLAY_PID,
    session: CLAY_PID,
    startTicks: 1100,
    comm: 'node',
    cmdline: ['node', 'x.js'],
    ...overrides,
  });
const worker = (pid: number, children: readonly number[], overrides: Partial<FakeProcess> = {}): void =>
  other(pid, {
    uid: 1001,
    cmdline: ['node', `${LIB}/sdk-worker.js`, '/tmp/w.sock'],
    children: [children],
    ...overrides,
  });

describe('candidatesOf: children of the daemon', () => {
  it.each(['claude', '2.1.141', 'node', 'bun'])('finds a child named %s that the Agent SDK started', (comm) => {
    daemon([101]);
    claude(101, { comm });
    expect(find()).toMatchObject({
      candidates: [
        { stat: { pid: 101 }, expectedIdentity: { uid: 1000, ppid: CLAY_PID }, inTerminal: false, unplaced: null },
      ],
      children: { terminals: 0, unplaced: 0, others: 0, unknownShape: null },
    });
  });
  it('finds the children of all threads, without the dead', () => {
    proc.put({ pid: CLAY_PID, startTicks: 1000, children: [[101, 102], [103]] });
    claude(101);
    claude(102, { state: 'Z' });
    claude(103);
    expect(pidsOf()).toEqual([101, 103]);
  });
  it('ignores a child that has not executed its program yet', () => {
    daemon([101]);
    other(101, { comm: 'claude', environ: {}, startTicks: (NOW_MS - MIN_AGE_MS) / 10 + 1 });
    expect(find()).toMatchObject({ candidates: [], children: { others: 0, unknownShape: null } });
  });
  it('returns no candidates of a daemon that is gone or whose pid belongs to another process', () => {
    expect(find().candidates).toEqual([]);
    daemon([101], { startTicks: 9999 });
    claude(101);
    expect(find().candidates).toEqual([]);
  });
  it('fails if the children cannot be read', () => {
    daemon([]);
    rmSync(join(proc.root, `${CLAY_PID}/task/${CLAY_PID}/children`));
    proc.write(`${CLAY_PID}/task/${CLAY_PID}/children/x`, '');
    const context = {
      procRoot: proc.root,
      cache: newProcessCache(proc.root),
      budgets: noLimits,
      uptimeMs: NOW_MS,
      minAgeMs: MIN_AGE_MS,
    };
    expect(candidatesOf(context, asUser)).toMatchObject({ ok: false, failure: { code: 'io' } });
  });
});

describe('candidatesOf: a wrapper of claude', () => {
  const STDIN = { '0': 'socket:[4711]' };
  const sessionFileOf = (pid: number): void => {
    mkdirSync(join(home, '.claude/sessions'), { recursive: true });
    writeFileSync(join(home, `.claude/sessions/${pid}.json`), '{}');
  };
  const wrapper = (overrides: Partial<FakeProcess> = {}): void =>
    claude(101, { comm: 'bash', environ: { ...SDK, HOME: home }, fds: STDIN, children: [[102]], ...overrides });
  const real = (overrides: Partial<FakeProcess> = {}): void =>
    claude(102, { ppid: 101, environ: { ...SDK, HOME: home }, fds: STDIN, ...overrides });

  it.each(['bash', 'claude', 'volta-shim'])('is passed over for what runs below %s on the same stdin', (comm) => {
    daemon([101]);
    wrapper({ comm });
    real();
    sessionFileOf(102);
    expect(find()).toMatchObject({
      candidates: [{ stat: { pid: 102 }, expectedIdentity: { uid: 1000, ppid: 101 }, unplaced: null }],
      children: { unplaced: 0, others: 0, unknownShape: null },
    });
  });
  it('is passed over below a worker too', () => {
    daemon([300], { uid: 0 });
    worker(300, [101]);
    wrapper({ ppid: 300, uid: 1001 });
    real({ uid: 1001 });
    sessionFileOf(102);
    expect(find(asRoot).candidates).toMatchObject([
      { stat: { pid: 102 }, expectedIdentity: { uid: 1001, ppid: 101 }, unplaced: null },
    ]);
  });
  it('cannot be placed if the claude below has another stdin', () => {
    daemon([101]);
    wrapper();
    real({ fds: { '0': 'socket:[4712]' } });
    sessionFileOf(102);
    expect(find().candidates).toMatchObject([{ stat: { pid: 101 }, unplaced: expect.stringContaining('pid 102') }]);
  });
  it('cannot be placed if the stdin of both is a file', () => {
    daemon([101]);
    wrapper({ fds: { '0': '/dev/null' } });
    real({ fds: { '0': '/dev/null' } });
    sessionFileOf(102);
    expect(find().candidates).toMatchObject([{ stat: { pid: 101 }, unplaced: expect.stringContaining('pid 102') }]);
  });
  it.each([
    ['has a session file itself', () => sessionFileOf(101), {}],
    ['runs a claude that a tool started', () => {}, { environ: { ...SDK, CLAUDECODE: '1' } }],
    ['runs something without a session file', () => rmSync(join(home, '.claude/sessions/102.json')), {}],
  ])('is the candidate itself if it %s', (_, prepare, overrides) => {
    daemon([101]);
    wrapper();
    sessionFileOf(102);
    prepare();
    real('environ' in overrides ? { environ: { ...overrides.environ, HOME: home } } : {});
    expect(find().candidates).toMatchObject([{ stat: { pid: 101 }, unplaced: null }]);
  });
});

describe('candidatesOf: workers', () => {
  it.each(['sdk-worker.js', 'yoke/adapters/claude-worker.js', 'a/third/one.js'])(
    'finds the children of a worker that runs lib/%s, under the uid of the worker',
    (script) => {
      daemon([300, 301], { uid: 0 });
      worker(300, [401], { cmdline: ['node', `${LIB}/${script}`, '/tmp/w.sock'] });
      worker(301, [402], { uid: 70_000, cmdline: ['node', `${LIB}/${script}`, '/tmp/v.sock'] });
      claude(401, { ppid: 300, uid: 1001 });
      claude(402, { ppid: 301, uid: 70_000 });
      expect(find(asRoot).candidates).toMatchObject([
        { stat: { pid: 401 }, expectedIdentity: { uid: 1001, ppid: 300 }, unplaced: null },
        { stat: { pid: 402 }, expectedIdentity: { uid: 70_000, ppid: 301 }, unplaced: null },
      ]);
    },
  );
  it('does not take a worker for a claude that has inherited the environment of one', () => {
    daemon([300], { uid: 0, environ: SDK });
    worker(300, [401], { environ: SDK });
    claude(401, { ppid: 300, uid: 1001 });
    expect(pidsOf(asRoot)).toEqual([401]);
  });
  it('does not accept a worker of another user below a daemon that is not root’s', () => {
    daemon([300]);
    worker(300, [401]);
    claude(401, { ppid: 300, uid: 1001 });
    expect(find().candidates).toMatchObject([{ unplaced: expect.stringContaining('pid 300') }]);
  });
  it('accepts a worker without a claude', () => {
    daemon([300], { uid: 0 });
    worker(300, []);
    expect(find(asRoot)).toMatchObject({ candidates: [], children: { others: 0, unknownShape: null } });
  });
});

describe('candidatesOf: terminals', () => {
  it('lists a claude in a terminal of Clay as terminal, however it was started', () => {
    daemon([500], { uid: 0 });
    proc.put({ pid: 500, ppid: CLAY_PID, comm: 'bash', session: 500, ttyNr: PTS, uid: 1001, children: [[501]] });
    proc.put({ pid: 501, ppid: 500, session: 500, ttyNr: PTS, uid: 1001, children: [[502]] });
    proc.put({ pid: 502, ppid: 501, session: 500, ttyNr: PTS, uid: 1001 });
    expect(find(asRoot)).toMatchObject({
      candidates: [
        { stat: { pid: 501 }, expectedIdentity: { uid: 1001, ppid: 500 }, inTerminal: true, unplaced: null },
      ],
      children: { terminals: 1, others: 0, unknownShape: null },
    });
  });
  it('lists a claude of another name in a terminal by its session file', () => {
    mkdirSync(join(home, '.claude/sessions'), { recursive: true });
    writeFileSync(join(home, '.claude/sessions/501.json'), '{}');
    daemon([500]);
    proc.put({ pid: 500, ppid: CLAY_PID, comm: 'bash', session: 500, ttyNr: PTS, children: [[501, 502]] });
    proc.put({ pid: 501, ppid: 500, comm: '2.1.141', session: 500, ttyNr: PTS, environ: { HOME: home } });
    proc.put({ pid: 502, ppid: 500, comm: 'vi', session: 500, ttyNr: PTS, environ: { HOME: home } });
    expect(find().candidates).toMatchObject([{ stat: { pid: 501 }, inTerminal: true }]);
  });
  it('never takes a shell on a terminal for a claude, whatever its environment says', () => {
    daemon([500]);
    proc.put({ pid: 500, ppid: CLAY_PID, comm: 'bash', session: 500, ttyNr: PTS, environ: SDK });
    expect(find()).toMatchObject({ candidates: [], children: { terminals: 1, unknownShape: null } });
  });
  it('does not take the claude of a daemon in the foreground for one in a terminal', () => {
    daemon([101], { session: 50, ttyNr: PTS });
    claude(101, { session: 50, ttyNr: PTS });
    expect(find()).toMatchObject({ candidates: [{ inTerminal: false }], children: { terminals: 0 } });
  });
});

describe('candidatesOf: processes that cannot be placed', () => {
  it.each([
    ['without an entrypoint', {}, 'CLAUDE_CODE_ENTRYPOINT in its environment is not set'],
    ['with another entrypoint', { CLAUDE_CODE_ENTRYPOINT: 'cli' }, 'is cli: the Agent SDK did not start it'],
  ])('lists a child named claude %s', (_, environ, words) => {
    daemon([101]);
    claude(101, { environ });
    expect(find().candidates).toMatchObject([{ stat: { pid: 101 }, unplaced: expect.stringContaining(words) }]);
  });
  it('lists what the Agent SDK started below an unknown helper, and nothing below a claude', () => {
    daemon([101, 600]);
    claude(101, { children: [[102]] });
    claude(102, { ppid: 101, comm: 'node' });
    other(600, { comm: 'helper', children: [[601]] });
    claude(601, { ppid: 600, comm: 'node' });
    expect(find()).toMatchObject({
      candidates: [
        { stat: { pid: 101 } },
        { stat: { pid: 601 }, unplaced: expect.stringContaining('pid 600 (helper)') },
      ],
      children: { unplaced: 1, others: 1, unknownShape: null },
    });
  });
  it('ignores a claude below an unknown helper that has just started', () => {
    daemon([600]);
    other(600, { comm: 'su', children: [[601]] });
    claude(601, { ppid: 600, startTicks: NOW_MS / 10 - 1 });
    expect(find().candidates).toEqual([]);
  });
  it('describes what it saw if nothing of it was understood', () => {
    daemon([600, 601]);
    other(600, { comm: 'helper', children: [[602]] });
    other(601, { comm: 'other' });
    claude(602, { ppid: 600, comm: 'node' });
    expect(find().children.unknownShape).toMatch(
      /^Clay 16199 has processes of a shape .*node \(pid 602, below pid 600\).*helper \(pid 600.*Clay 2\.41\.1, Agent SDK 0\.2\.141/,
    );
  });
  it('describes children of which only the command line has to do with Claude', () => {
    daemon([600]);
    other(600, { comm: 'node', cmdline: ['node', '/opt/claude-next/cli.js'] });
    expect(find().children).toMatchObject({ unplaced: 0, others: 1, unknownShape: expect.stringContaining('pid 600') });
  });
  it('counts MCP servers and other agents, and does not report them as an unknown shape', () => {
    daemon([600, 601]);
    other(600, { comm: 'codex', cmdline: ['codex', 'app-server'] });
    other(601, { cmdline: ['npx', '@modelcontextprotocol/server-everything'] });
    expect(find()).toMatchObject({ candidates: [], children: { others: 2, unknownShape: null } });
  });
  it('stops searching beyond a limit of processes', () => {
    daemon([600]);
    const descendants = Array.from({ length: 100 }, (_, number) => 700 + number);
    other(600, { children: [descendants] });
    for (const pid of descendants) other(pid, { ppid: 600 });
    claude(799, { ppid: 600 });
    expect(find().candidates).toEqual([]);
  });
});
