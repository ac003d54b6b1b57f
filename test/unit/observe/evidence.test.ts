import { mkdirSync, mkdtempSync, rmSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BUDGET_EXHAUSTED, newUserBudgets } from '../../../src/fs/user-budget.ts';
import { openTurn } from '../../../src/judge/clay-activity.ts';
import type { Evidence } from '../../../src/judge/evidence.ts';
import type { Candidate } from '../../../src/observe/candidates.ts';
import type { ObservedClock } from '../../../src/observe/clock.ts';
import { collectEvidence, refreshClayEvidence } from '../../../src/observe/evidence.ts';
import type { ClayOwner, ClayProbe } from '../../../src/observe/probe.ts';
import { newProcessCache, type ProcessCache } from '../../../src/observe/process-cache.ts';
import { readStat } from '../../../src/proc/stat.ts';
import { fail, ok } from '../../../src/result.ts';
import { INSTALLATION } from '../../helpers/assessment.ts';
import { noLimits } from '../../helpers/budget.ts';
import { CLAY_PID, cpuPart, DAY, HOUR, MINUTE, SECOND, SESSION, single } from '../../helpers/evidence.ts';
import { type FakeProc, type FakeProcess, fakeProc, mountRow, tcpRow, unixRow } from '../../helpers/fake-proc.ts';

const uid = process.getuid?.() ?? 0;
const PID = 16_246;
/** A machine that has been up for a day; the process began 10 hours ago. */
const AT: ObservedClock = { wallMs: Date.parse('2026-11-22T12:00:00Z'), monotonicMs: DAY, uptimeMs: DAY };
const START_TICKS = (14 * HOUR) / 10;
const STARTED_AT_MS = AT.wallMs - 10 * HOUR;

let dir: string;
let home: string;
let cwd: string;
let proc: FakeProc;
let cache: ProcessCache;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-collect-'));
  home = join(dir, '.clay');
  cwd = join(dir, 'projects/alpha');
  mkdirSync(join(home, 'sessions'), { recursive: true });
  mkdirSync(cwd, { recursive: true });
  proc = fakeProc();
  cache = newProcessCache(proc.root);
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
  proc.end();
});

/** An idle 0.2.92, as captured. */
const put = (overrides: Partial<FakeProcess> = {}): void =>
  proc.put({
    pid: PID,
    uid,
    cwd,
    startTicks: START_TICKS,
    ownTicks: 138,
    reapedTicks: 16,
    environ: {
      HOME: dir,
      CLAY_HOME: home,
      CLAUDE_AGENT_SDK_VERSION: '0.2.92',
      CLAUDE_CODE_ENTRYPOINT: 'sdk-ts',
    },
    fds: { 0: 'socket:[29392]', 1: 'socket:[29394]', 2: '/dev/null' },
    unix: [unixRow(29_392), unixRow(29_394)],
    ...overrides,
  });

const write = (path: string, content: unknown, atMs?: number): string => {
  const full = path.startsWith('/') ? path : join(dir, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, typeof content === 'string' ? content : JSON.stringify(content));
  if (atMs !== undefined) utimesSync(full, atMs / 1000, atMs / 1000);
  return full;
};
const encoded = (path = cwd): string => path.replace(/[^a-zA-Z0-9]/g, '-');
const sessionFile = (overrides: Readonly<Record<string, unknown>> = {}): string =>
  write(`.claude/sessions/${PID}.json`, {
    pid: PID,
    sessionId: SESSION,
    cwd,
    startedAt: STARTED_AT_MS + 300,
    kind: 'interactive',
    ...overrides,
  });
const ENDED = '{"type":"meta"}\n{"type":"user_message","text":"x"}\n{"type":"done","code":0}\n';
const OPEN = '{"type":"meta"}\n{"type":"user_message","text":"x"}\n{"type":"permission_request"}\n';
const journal = (content = ENDED, atMs = AT.wallMs - HOUR, folder = encoded()): string =>
  write(`${home}/sessions/${folder}/${SESSION}.jsonl`, content, atMs);
const transcript = (content = '{}\n', atMs = AT.wallMs - HOUR): string =>
  write(`.claude/projects/${encoded()}/${SESSION}.jsonl`, content, atMs);

const clay = (overrides: Partial<ClayProbe> = {}): ClayProbe => ({
  daemon: {
    pid: CLAY_PID,
    startTicks: 5,
    uid,
    home,
    socketPath: join(home, 'daemon.sock'),
    installation: INSTALLATION,
    insideTool: false,
    projects: [{ slug: 'alpha', path: cwd }],
  },
  status: ok({ ok: true, pid: CLAY_PID, projects: [project('alpha', cwd)] }),
  permissionProblem: null,
  ...overrides,
});
const project = (slug: string, path: string, isProcessing = false) => ({
  slug,
  path,
  isProcessing,
  pendingPermissions: 0,
});
const withProjects = (...projects: readonly ReturnType<typeof project>[]): Partial<ClayProbe> => ({
  status: ok({ ok: true, pid: CLAY_PID, projects: [...projects] }),
});

function candidate(look = clay(), expected = { uid, ppid: CLAY_PID }): Candidate {
  const stat = readStat(proc.root, PID);
  if (!stat.ok) throw new Error(stat.failure.detail);
  const owner = { state: 'alive', probe: look } as const;
  return { stat: stat.value, owner, expectedIdentity: expected, inTerminal: false, unplaced: null };
}
const collect = (of = candidate(), at = AT): Evidence => single(collectEvidence(proc.root, [of], cache, at, noLimits));

describe('collectEvidence: an idle process', () => {
  it('reads everything about an idle process of SDK 0.2.92', () => {
    put();
    sessionFile();
    const path = journal();
    transcript(undefined, AT.wallMs - 2 * HOUR);
    expect(collect()).toEqual({
      id: { pid: PID, startTicks: START_TICKS },
      ppid: CLAY_PID,
      comm: 'claude',
      uid,
      startedAtMs: STARTED_AT_MS,
      ageMs: 10 * HOUR,
      reclaimableBytes: expect.any(Number),
      rssBytes: 47_467 * 4096,
      cwd,
      sdkVersion: '0.2.92',
      claudeRelease: null,
      unknownSessionFields: [],
      hasTerminal: false,
      cpuParts: new Map([[`${PID}:${START_TICKS}`, cpuPart(PID, { [`${PID}:${START_TICKS}`]: 1380 }, 160)]]),
      loadPerCore: 0.5 / availableParallelism(),
      socketFds: 2,
      connections: [],
      children: 0,
      descendants: [],
      tools: [],
      sessionId: SESSION,
      doubtfulSessionId: null,
      status: null,
      waitingFor: null,
      statusUpdatedAtMs: null,
      transcriptChangedAtMs: AT.wallMs - 2 * HOUR,
      schedule: null,
      journal: { state: 'found', path, turn: 'ended', decidedBy: 'done', changedAtMs: AT.wallMs - HOUR, unknown: null },
      journalDiskIsFull: false,
      clay: { state: 'answered', pid: CLAY_PID, home, busyProjects: [] },
      project: { slug: 'alpha', path: cwd, inTurn: false },
      issues: [],
      unreadable: false,
    });
  });
  it('reads the listening socket and the status of an idle process of SDK 0.3.330', () => {
    put({
      fds: { 0: 'socket:[1]', 1: 'socket:[2]', 2: 'socket:[3]', 5: 'socket:[3]', 6: 'socket:[2]', 11: 'socket:[4]' },
      unix: [1, 2, 3, 4].map(unixRow),
    });
    sessionFile({ procStart: String(START_TICKS), status: 'idle', statusUpdatedAt: AT.wallMs - MINUTE });
    expect(collect()).toMatchObject({
      socketFds: 6,
      connections: [],
      status: 'idle',
      statusUpdatedAtMs: AT.wallMs - MINUTE,
      issues: [],
    });
  });
  it('reports a controlling terminal', () => {
    put({ ttyNr: 34_816, environ: {} });
    expect(collect({ ...candidate(), inTerminal: true })).toMatchObject({ hasTerminal: true, issues: [] });
  });
  it('returns the release of Claude, and fields of its session file that are not known', () => {
    put();
    sessionFile({ version: '2.1.400', mood: 'good' });
    expect(collect()).toMatchObject({ claudeRelease: '2.1.400', unknownSessionFields: ['mood'] });
  });
  it('has no conversation for an SDK that writes no session file', () => {
    put();
    journal();
    transcript();
    expect(collect()).toMatchObject({
      sessionId: null,
      journal: { state: 'unknown' },
      transcriptChangedAtMs: null,
      issues: [],
      // But to its project.
      project: { slug: 'alpha' },
    });
  });
});

describe('collectEvidence: connections', () => {
  it('finds connections by the sockets of the process', () => {
    put({ fds: { 0: 'socket:[29392]', 18: 'socket:[30740]' }, tcp: [tcpRow(30_740)] });
    expect(collect().connections).toEqual([{ inode: 30_740, local: '0100007F:A12C', remote: '0100007F:0FAA' }]);
  });
  it('records an issue if connections cannot be determined', () => {
    put({ fds: { 18: 'socket:[30740]' } });
    expect(collect()).toMatchObject({ connections: [], issues: [expect.stringContaining('descriptor 18')] });
  });
});

describe('collectEvidence: issues', () => {
  it.each([
    ['another user', { uid: uid + 1 }, /does not run under uid/],
    ['another pid namespace', { pids: [PID, 7] }, /another pid namespace/],
    ['another parent', { ppid: 1 }, /its parent is 1, not/],
    ['a person’s own entrypoint', { environ: { CLAUDE_CODE_ENTRYPOINT: 'cli' } }, /CLAUDE_CODE_ENTRYPOINT .* is cli/],
    ['no entrypoint', { environ: {} }, /CLAUDE_CODE_ENTRYPOINT .* is not set/],
    ['another name and no session file', { comm: 'bash' }, /neither its name, bash, nor a session file/],
    [
      'a program that a tool of another claude started',
      { environ: { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts', CLAUDECODE: '1' } },
      /CLAUDECODE is in its environment/,
    ],
  ])('%s', (_, overrides, words) => {
    put(overrides);
    expect(collect()).toMatchObject({ issues: [expect.stringMatching(words)], unreadable: false });
  });
  it('records why a process could not be placed, and that alone', () => {
    put({ comm: 'helper', environ: {} });
    expect(collect({ ...candidate(), unplaced: 'no known worker' }).issues).toEqual(['no known worker']);
  });
  it('has no issue with a claude of any name that has a session file of its own', () => {
    put({ comm: '2.1.141' });
    sessionFile();
    expect(collect()).toMatchObject({ comm: '2.1.141', issues: [] });
  });
  it('has no issue with CLAUDECODE below a daemon that a tool has started', () => {
    put({ environ: { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts', CLAUDECODE: '1' } });
    const { daemon } = clay();
    expect(collect(candidate(clay({ daemon: { ...daemon, insideTool: true } }))).issues).toEqual([]);
  });
  it('records what may not be read as unreadable', () => {
    put();
    sessionFile();
    rmSync(join(proc.root, `${PID}/fd`), { recursive: true });
    writeFileSync(join(proc.root, `${PID}/fd`), '');
    rmSync(join(proc.root, `${PID}/environ`));
    mkdirSync(join(proc.root, `${PID}/environ`));
    const evidence = collect();
    expect(evidence.unreadable).toBe(true);
    expect(evidence.issues).toHaveLength(2);
  });
  it.each(['cwd', 'environ', 'status', 'fd', 'task'])('records an issue if %s is missing', (file) => {
    put();
    const of = candidate();
    rmSync(join(proc.root, `${PID}/${file}`), { recursive: true });
    const evidence = collectEvidence(proc.root, [of], cache, AT, noLimits);
    expect(evidence.every(({ issues }) => issues.length > 0)).toBe(true);
  });
  it('records a folder of Claude that is another one for the process than here', () => {
    put({ mounts: [mountRow('0:51', '/', '/')] });
    expect(collect().issues).toEqual([
      `${dir}/.claude is another folder for it than here (mount namespaces): mount the same one here`,
      expect.stringContaining('nothing is opened in there'),
    ]);
  });
  it('records the permission problem of its Clay', () => {
    put();
    expect(collect(candidate(clay({ permissionProblem: 'CAP_KILL is missing' })))).toMatchObject({
      issues: ['CAP_KILL is missing'],
      unreadable: true,
    });
  });
  it('records the session file of an earlier process', () => {
    put();
    sessionFile({ procStart: '5' });
    expect(collect()).toMatchObject({ sessionId: null, issues: [expect.stringContaining('procStart')] });
  });
  it('records a start in the future', () => {
    put({ startTicks: (DAY + HOUR) / 10 });
    expect(collect()).toMatchObject({ ageMs: 0, issues: [expect.stringContaining('future')] });
  });
  it('records several issues together', () => {
    put({ uid: uid + 1, ppid: 1, environ: {} });
    expect(collect().issues).toHaveLength(3);
  });
});

describe('collectEvidence: a process that vanishes', () => {
  it('leaves out a process that is gone when its sockets are looked up', () => {
    put();
    const of = candidate();
    const connectionsOf = () => {
      proc.remove(PID);
      return fail('invalid', 'descriptor 0 is a socket that is in no table');
    };
    expect(collectEvidence(proc.root, [of], cache, AT, noLimits, { connectionsOf })).toEqual([]);
  });
  it('leaves out a process that has exited', () => {
    put();
    const of = candidate();
    proc.remove(PID);
    expect(collectEvidence(proc.root, [of], cache, AT, noLimits)).toEqual([]);
  });
  it('leaves out a process whose pid belongs to another one by now', () => {
    put();
    const of = candidate();
    put({ startTicks: START_TICKS + 5, environ: {} });
    expect(collectEvidence(proc.root, [of], cache, AT, noLimits)).toEqual([]);
  });
  it('leaves out a zombie', () => {
    put();
    const of = candidate();
    put({ state: 'Z', environ: {} });
    expect(collectEvidence(proc.root, [of], cache, AT, noLimits)).toEqual([]);
  });
  it('forgets processes that are no candidates any more', () => {
    put();
    const of = candidate();
    collect(of);
    expect(cache.lastSources(of.stat)).not.toBeNull();
    collectEvidence(proc.root, [], cache, AT, noLimits);
    expect(cache.lastSources(of.stat)).toBeNull();
  });
});

describe('collectEvidence: the journal', () => {
  it('finds journals under legacy and unknown folder names', () => {
    put();
    sessionFile();
    const older = journal(ENDED, AT.wallMs, cwd.replace(/[/.]/g, '-'));
    expect(collect().journal).toMatchObject({ state: 'found', path: older });
    unlinkSync(older);
    const odd = journal(OPEN, AT.wallMs, 'elsewhere');
    expect(collect().journal).toMatchObject({ state: 'found', path: odd, turn: 'open' });
  });
  it('reports a missing journal for a deleted conversation', () => {
    put();
    sessionFile();
    expect(collect().journal).toEqual({ state: 'missing' });
  });
  describe('of a process without a session file, as before 0.2.92', () => {
    const other = (name: string, content: string, atMs?: number, folder = encoded()): string =>
      write(`${home}/sessions/${folder}/${name}.jsonl`, content, atMs);

    it('takes a turn that is open in any journal of its project for its own', () => {
      put();
      other('a', ENDED);
      other('b', OPEN, AT.wallMs - HOUR);
      const evidence = collect();
      expect(evidence.journal).toMatchObject({ state: 'found', turn: 'open' });
      expect(openTurn(evidence)).toMatch(/^a journal of its project in Clay has a turn open/);
    });

    it('reads no more journals than the budget of their user allows, and does not say so of each', () => {
      put();
      for (let at = 0; at < 60; at++) other(`j${at}`, ENDED);
      const budgets = newUserBudgets({ ms: 1e9, bytes: 1e9, items: 100 }, null);
      const { journal: found, issues } = single(collectEvidence(proc.root, [candidate()], cache, AT, budgets));
      expect(found).toEqual({ state: 'unknown' });
      expect(new Set(issues)).toEqual(new Set([BUDGET_EXHAUSTED]));
      // Of the journals and of the transcripts, not of each.
      expect(issues).toHaveLength(2);
    });

    it('finds that turn in the folder of an older Clay, too', () => {
      const odd = join(dir, 'projects/al_pha');
      mkdirSync(odd);
      put({ cwd: odd });
      other('b', OPEN, AT.wallMs - HOUR, odd.replace(/[/.]/g, '-'));
      expect(openTurn(collect())).not.toBeNull();
    });

    const cronEntry = (conversation: string, setAtMs: number): void => {
      const [timestamp, id] = [new Date(setAtMs).toISOString(), 'toolu_1'];
      const input = { cron: '0 4 * * *', prompt: 'look again', recurring: true };
      const call = { type: 'tool_use', id, name: 'CronCreate', input };
      const answer = { type: 'tool_result', tool_use_id: id, content: 'scheduled' };
      const records = [
        { type: 'assistant', message: { role: 'assistant', content: [call] }, timestamp },
        { type: 'user', message: { role: 'user', content: [answer] }, toolUseResult: { id: 'cron' }, timestamp },
      ];
      const text = records.map((record) => `${JSON.stringify(record)}\n`).join('');
      write(`.claude/projects/${encoded()}/${conversation}.jsonl`, text, setAtMs);
    };

    it('takes a cron entry that any conversation of its project has set for its own', () => {
      put();
      cronEntry('a', AT.wallMs - HOUR);
      expect(collect().schedule).toMatch(/CronCreate/);
    });

    it('knows nothing of cron entries from before it began', () => {
      put();
      cronEntry('a', STARTED_AT_MS - HOUR);
      expect(collect()).toMatchObject({ schedule: null, issues: [] });
    });

    it('knows nothing of journals without an open turn, of other projects, and from before it began', () => {
      put();
      other('a', ENDED);
      other('b', OPEN, AT.wallMs - HOUR, 'another-project');
      other('c', OPEN, STARTED_AT_MS - HOUR);
      expect(collect()).toMatchObject({ journal: { state: 'unknown' }, issues: [] });
    });
  });

  it('reports an unknown journal if Clay keeps its journals elsewhere', () => {
    put();
    sessionFile();
    rmSync(join(home, 'sessions'), { recursive: true });
    expect(collect().journal).toEqual({ state: 'unknown' });
  });
  it('reports an unknown journal and an issue if it cannot be read', () => {
    put();
    sessionFile();
    mkdirSync(join(home, 'sessions', encoded(), `${SESSION}.jsonl`), { recursive: true });
    expect(collect()).toMatchObject({
      journal: { state: 'unknown' },
      issues: [expect.stringContaining('regular file')],
    });
  });
});

describe('collectEvidence: a journal with two messages before the end of its turn', () => {
  const SENT = AT.wallMs - HOUR;
  const rows = (...records: readonly unknown[]): string =>
    records.map((record) => `${JSON.stringify(record)}\n`).join('');
  const message = (_ts: number) => ({ type: 'user_message', text: 'x', _ts });
  const RESENT = rows({ type: 'meta' }, message(SENT), message(SENT + 5000), { type: 'done', _ts: SENT + 6000 });
  const queue = (operation: string) => ({
    type: 'queue-operation',
    operation,
    timestamp: new Date(SENT + 5100).toISOString(),
  });
  const prepare = (...operations: readonly string[]): void => {
    put();
    sessionFile();
    journal(RESENT);
    transcript(rows(...operations.map(queue), { type: 'assistant' }));
  };

  it('has its turn ended if the transcript shows that no message waits, also before SIGKILL', () => {
    prepare('enqueue', 'dequeue');
    const before = collect();
    expect(before.journal).toMatchObject({ state: 'found', turn: 'ended', decidedBy: 'done' });
    const refreshed = refreshClayEvidence(before, { state: 'alive', probe: clay() }, noLimits);
    expect(refreshed.journal).toEqual(before.journal);
    journal(RESENT + rows(message(AT.wallMs), message(AT.wallMs), { type: 'done', _ts: AT.wallMs }), AT.wallMs);
    expect(refreshClayEvidence(before, { state: 'alive', probe: clay() }, noLimits).journal).toMatchObject({
      turn: 'unclear',
    });
  });
  it.each([
    ['shows one that waits', ['enqueue', 'dequeue', 'enqueue']],
    ['says nothing of it', []],
  ])('stays unclear if the transcript %s', (_, operations) => {
    prepare(...operations);
    expect(collect().journal).toMatchObject({ turn: 'unclear', decidedBy: 'messages queued behind the turn' });
  });
});

describe('collectEvidence: a wall clock set forward after the start of the process', () => {
  // It began at the same tick of the kernel, but by the clock of then an hour earlier than it now seems.
  const began = STARTED_AT_MS - HOUR;
  it('keeps the turn of the process its own', () => {
    put();
    sessionFile({ procStart: String(START_TICKS), startedAt: began + 300 });
    journal(OPEN, began + 10 * MINUTE);
    expect(openTurn(collect())).not.toBeNull();
  });
  it('attributes a turn that an earlier process left open to that process', () => {
    put();
    sessionFile({ procStart: String(START_TICKS), startedAt: began + 300 });
    journal(OPEN, began - 10 * MINUTE);
    expect(openTurn(collect())).toBeNull();
  });
});

describe('collectEvidence: a wall clock that was set after a process of SDK 0.2.92 began', () => {
  /** The same moment, seen with a wall clock that was set by so much since the process began. */
  const clockSetBy = (ms: number): ObservedClock => ({ ...AT, wallMs: AT.wallMs + ms });
  const STEPS = [3_000, HOUR, 365 * DAY, -6 * MINUTE, -HOUR, -365 * DAY];

  it.each(STEPS)('ties the process to its conversation if it was seen before the clock was set by %d ms', (ms) => {
    put();
    sessionFile();
    journal();
    collect();
    expect(collect(undefined, clockSetBy(ms))).toMatchObject({ sessionId: SESSION, issues: [] });
  });
  it.each(STEPS)('does not tie it, and has no issue, if the clock was set by %d ms before', (ms) => {
    put();
    sessionFile();
    journal();
    expect(collect(undefined, clockSetBy(ms))).toMatchObject({
      sessionId: null,
      doubtfulSessionId: SESSION,
      issues: [],
      journal: { state: 'found', turn: 'ended' },
    });
  });
  it('still shows the open turn and the schedule of a conversation that may be its own', () => {
    put();
    sessionFile();
    journal(OPEN, STARTED_AT_MS + HOUR);
    expect(openTurn(collect(undefined, clockSetBy(DAY)))).not.toBeNull();
  });
  it('does not take a conversation that may be its own for deleted', () => {
    put();
    sessionFile();
    mkdirSync(join(home, 'sessions'), { recursive: true });
    expect(collect(undefined, clockSetBy(DAY)).journal).toEqual({ state: 'unknown' });
  });
  it('does not take the project of a conversation that may be its own', () => {
    put({ cwd: dir });
    sessionFile();
    journal();
    const look = clay(withProjects(project('alpha', cwd), project('all', dir, true)));
    expect(collect(candidate(look), clockSetBy(DAY)).project).toMatchObject({ slug: 'all', inTurn: true });
  });
});

describe('collectEvidence: hooks', () => {
  const below = (session: number): void => {
    put({ children: [[2]] });
    proc.put({ pid: 2, ppid: PID, session, comm: 'sh', environ: { CLAUDE_PROJECT_DIR: cwd } });
  };
  const sameSession = (): number => candidate().stat.session;
  it.each([
    ['a release without session files', null],
    ['0.2.92, which does not write its release', {}],
    ['2.1.133', { version: '2.1.133' }],
    ['a release that is not understood', { version: 'next' }],
  ])('counts an asynchronous hook as a tool: %s', (_, fields) => {
    put();
    below(sameSession());
    if (fields) sessionFile({ procStart: String(START_TICKS), ...fields });
    expect(collect().tools).toEqual([{ pid: 2, why: 'hook' }]);
  });
  it.each(['2.1.141', '2.1.330', '3.0.0'])('does not take an MCP server of %s for a hook', (version) => {
    put();
    below(sameSession());
    sessionFile({ procStart: String(START_TICKS), version });
    expect(collect().tools).toEqual([]);
  });
});

describe('collectEvidence: the project', () => {
  const inTurn = (...args: Parameters<typeof project>) => project(args[0], args[1], true);
  it('takes the project from the folder of the journal', () => {
    put({ cwd: dir });
    sessionFile();
    journal();
    expect(collect(candidate(clay(withProjects(inTurn('alpha', cwd), project('all', dir)))))).toMatchObject({
      project: { slug: 'alpha', inTurn: true },
      clay: { busyProjects: ['alpha'] },
    });
  });
  it('takes the innermost project of the working directory if there is no journal', () => {
    put({ cwd: join(cwd, 'web/src') });
    const projects = [
      project('all', dir),
      inTurn('web', join(cwd, 'web')),
      project('alpha', cwd),
      project('we', `${cwd}/we`),
    ];
    expect(collect(candidate(clay(withProjects(...projects)))).project).toEqual({
      slug: 'web',
      path: join(cwd, 'web'),
      inTurn: true,
    });
  });
  it('does not match a directory that only begins like a project', () => {
    put({ cwd: `${cwd}-old` });
    expect(collect().project).toBeNull();
  });
  it('has no project if Clay has none for it', () => {
    put({ cwd: '/srv/elsewhere' });
    expect(collect(candidate(clay(withProjects(inTurn('beta', '/srv/beta')))))).toMatchObject({
      project: null,
      clay: { busyProjects: ['beta'] },
    });
  });
  it('is in a turn if any project with the same folder name is', () => {
    put();
    sessionFile();
    journal();
    const twin = cwd.replace('projects/alpha', 'projects-alpha');
    expect(collect(candidate(clay(withProjects(project('alpha', cwd), inTurn('twin', twin))))).project?.inTurn).toBe(
      true,
    );
  });
  it('chooses the project that the process works in among those with the same folder name', () => {
    const twin = cwd.replace('projects/alpha', 'projects-alpha');
    put({ cwd: twin });
    sessionFile();
    journal(ENDED, AT.wallMs, encoded(twin));
    const projects = [project('alpha', cwd), project('twin', twin)];
    expect(collect(candidate(clay(withProjects(...projects)))).project?.slug).toBe('twin');
  });
  it('counts a project with a pending permission as in a turn', () => {
    put();
    const asked = { ...project('alpha', cwd), pendingPermissions: 1 };
    expect(collect(candidate(clay(withProjects(asked)))).project?.inTurn).toBe(true);
  });
  it('takes projects from daemon.json while Clay does not answer', () => {
    put();
    expect(collect(candidate(clay({ status: fail('invalid', 'no answer within 2 s') })))).toMatchObject({
      project: { slug: 'alpha', inTurn: false },
      clay: { state: 'unreachable', error: 'no answer within 2 s' },
    });
  });
  it('takes the project of an abandoned process from the daemon.json of its dead Clay', () => {
    put({ ppid: 1 });
    const owner: ClayOwner = { state: 'dead', home, uid };
    const of = { ...candidate(), owner, expectedIdentity: { uid, ppid: 1 } };
    expect(collect(of)).toMatchObject({ clay: { state: 'dead', home }, project: null });
    write(`${home}/daemon.json`, { pid: 5, projects: [{ slug: 'alpha', path: cwd }] });
    expect(collect(of)).toMatchObject({ project: { slug: 'alpha', inTurn: false }, issues: [] });
  });
});

describe('collectEvidence: scheduled runs', () => {
  const CALL_AT = new Date(STARTED_AT_MS + HOUR).toISOString();
  const call = (name: string, input: object, toolUseResult: object, at = CALL_AT): string =>
    [
      { timestamp: at, message: { content: [{ type: 'tool_use', id: 'toolu_1', name, input }] } },
      { timestamp: at, message: { content: [{ type: 'tool_result', tool_use_id: 'toolu_1' }] }, toolUseResult },
    ]
      .map((record) => `${JSON.stringify(record)}\n`)
      .join('');
  const once = (atMs: number, setAt = CALL_AT): string =>
    call('CronCreate', { cron: '0 0 1 1 *' }, { id: 'a', recurring: false, nextFireAt: atMs }, setAt);
  const wake = (atMs: number, setAt = CALL_AT): string =>
    call('ScheduleWakeup', { delaySeconds: 60 }, { scheduledFor: atMs }, setAt);
  const pendingSchedule = (content: string, sdk = '0.3.330'): string | null => {
    put({
      environ: { HOME: dir, CLAY_HOME: home, CLAUDE_AGENT_SDK_VERSION: sdk, CLAUDE_CODE_ENTRYPOINT: 'sdk-ts' },
    });
    sessionFile();
    transcript(content);
    cache = newProcessCache(proc.root);
    return collect().schedule;
  };
  const earlier = new Date(STARTED_AT_MS - HOUR).toISOString();

  it.each(['0.2.92', '0.3.330'])('reports a run that is still to come: SDK %s', (sdk) => {
    expect(pendingSchedule(once(AT.wallMs + HOUR), sdk)).toContain('2026-11-22T13:00:00.000Z');
    expect(pendingSchedule(once(AT.wallMs - HOUR), sdk)).toBeNull();
    expect(pendingSchedule('{}\n', sdk)).toBeNull();
  });
  it('allows for runs that are late', () => {
    expect(pendingSchedule(once(AT.wallMs - 2 * MINUTE + SECOND))).not.toBeNull();
    expect(pendingSchedule(once(AT.wallMs - 2 * MINUTE))).toBeNull();
    expect(pendingSchedule(wake(AT.wallMs - MINUTE))).not.toBeNull();
    expect(pendingSchedule(wake(AT.wallMs - HOUR))).toBeNull();
  });
  it('ignores runs that an earlier process of 0.2.92 scheduled', () => {
    expect(pendingSchedule(once(AT.wallMs + HOUR, earlier), '0.2.92')).toBeNull();
  });
  it('reports cron entries, but not wake-ups, that an earlier process of 0.3.330 scheduled', () => {
    expect(pendingSchedule(once(AT.wallMs + HOUR, earlier))).not.toBeNull();
    expect(pendingSchedule(wake(AT.wallMs + HOUR, earlier))).toBeNull();
  });
  it.each([
    [
      'MCP tool "m/wait" is still running after 2s. It was moved to the background as task k1 and keeps',
      'MCP tool call',
    ],
    ['Async agent launched successfully.\nagentId: k1 (…)\nYou will be notified automatically when', 'agent works'],
  ])('reports what it left in the background, not what an earlier process left: %s', (text, expected) => {
    const left = (at: string): string =>
      call('Agent', {}, {}, at).replace(
        '"tool_use_id":"toolu_1"',
        `"tool_use_id":"toolu_1","content":${JSON.stringify([{ type: 'text', text }])}`,
      );
    expect(pendingSchedule(left(CALL_AT))).toContain(expected);
    expect(pendingSchedule(left(earlier))).toBeNull();
  });
  it('reports the run that is to come if another one is past', () => {
    const other = once(AT.wallMs + HOUR)
      .replaceAll('toolu_1', 'toolu_2')
      .replaceAll('"id":"a"', '"id":"b"');
    expect(pendingSchedule(`${once(AT.wallMs - HOUR)}${other}`)).toContain('13:00');
  });
  it('reports a run without an end', () => {
    expect(
      pendingSchedule(call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: true, maxAgeMs: 0 })),
    ).toMatch(/\(CronCreate\)$/);
  });
  it.each([1e300, 8.64e15 + 1, -1e300])('handles a time that no Date can hold: %d', (atMs) => {
    expect(() => pendingSchedule(once(atMs))).not.toThrow();
    expect(() => pendingSchedule(wake(atMs))).not.toThrow();
    expect(pendingSchedule(once(atMs)) === null).toBe(atMs < 0);
  });
  it('reports runs that subagents scheduled: the process waits for them (0.2.92)', () => {
    put();
    sessionFile();
    transcript();
    // Measured: the call stands in the agent's own transcript alone.
    write(`.claude/projects/${encoded()}/${SESSION}/subagents/agent-a6736c74ccd196287.jsonl`, once(AT.wallMs + HOUR));
    expect(collect().schedule).not.toBeNull();
  });
  it('reads cron expressions in the time zone of the process', () => {
    const zone = process.env.TZ;
    process.env.TZ = 'UTC';
    try {
      put({
        environ: {
          HOME: dir,
          CLAUDE_AGENT_SDK_VERSION: '0.2.92',
          CLAUDE_CODE_ENTRYPOINT: 'sdk-ts',
          TZ: 'America/New_York',
        },
      });
      sessionFile();
      // At 17:00 there, which is 22:00 here; 0.2.92 does not write down when that is.
      transcript(call('CronCreate', { cron: '0 17 22 11 *', recurring: false }, { id: 'a', recurring: false }));
      const at = (hours: number): ObservedClock => ({
        ...AT,
        wallMs: AT.wallMs + hours * HOUR,
        uptimeMs: AT.uptimeMs + hours * HOUR,
      });
      expect(collect(candidate(), at(6)).schedule).not.toBeNull();
      expect(collect(candidate(), at(24)).schedule).toBeNull();
    } finally {
      if (zone === undefined) delete process.env.TZ;
      else process.env.TZ = zone;
    }
  });
  it('reports durable tasks for the process that holds their lock', () => {
    put();
    write(`${cwd}/.claude/scheduled_tasks.lock`, { pid: PID, procStart: String(START_TICKS) });
    write(`${cwd}/.claude/scheduled_tasks.json`, { tasks: [{ id: 'a' }] });
    expect(collect().schedule).toContain('scheduled_tasks.json');
  });
});

describe('refreshClayEvidence', () => {
  it('reads the journal and the project again and keeps the rest', () => {
    put();
    sessionFile();
    const path = journal();
    const before = collect();
    proc.remove(PID);
    unlinkSync(join(dir, `.claude/sessions/${PID}.json`));
    write(path, OPEN, AT.wallMs);
    const look = clay(withProjects(project('alpha', cwd, true)));
    expect(refreshClayEvidence(before, { state: 'alive', probe: look }, noLimits)).toEqual({
      ...before,
      journal: { ...before.journal, turn: 'open', decidedBy: 'permission_request', changedAtMs: AT.wallMs },
      clay: { state: 'answered', pid: CLAY_PID, home, busyProjects: ['alpha'] },
      project: { slug: 'alpha', path: cwd, inTurn: true },
    });
  });
  it('reports that Clay does not answer, and drops issues of the process itself', () => {
    put({ uid: uid + 1 });
    const before = collect();
    expect(before.issues).toHaveLength(1);
    const look = clay({ status: fail('invalid', 'x') });
    expect(refreshClayEvidence(before, { state: 'alive', probe: look }, noLimits)).toMatchObject({
      issues: [],
      clay: { state: 'unreachable' },
    });
  });
});

describe('refreshClayEvidence of a process without a session file', () => {
  it('finds a turn that has begun in any journal of its project', () => {
    put();
    const before = collect();
    expect(before).toMatchObject({ sessionId: null, journal: { state: 'unknown' } });
    proc.remove(PID);
    write(`${home}/sessions/${encoded()}/b.jsonl`, OPEN, AT.wallMs);
    const refreshed = refreshClayEvidence(before, { state: 'alive', probe: clay() }, noLimits);
    expect(openTurn(refreshed)).toMatch(/^a journal of its project in Clay has a turn open/);
  });
});

describe('collectEvidence: several processes', () => {
  it('collects several processes in the order of the candidates', () => {
    put();
    sessionFile();
    proc.put({ pid: 7, uid, cwd, startTicks: 77, environ: { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts' } });
    const first = candidate();
    const other = readStat(proc.root, 7);
    if (!other.ok) throw new Error('not there');
    const evidence = collectEvidence(proc.root, [{ ...first, stat: other.value }, first], cache, AT, noLimits);
    expect(evidence.map(({ id, sessionId }) => [id.pid, sessionId])).toEqual([
      [7, null],
      [PID, SESSION],
    ]);
  });
});
