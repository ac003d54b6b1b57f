import { mkdirSync, mkdtempSync, rmSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fail, ok } from '../../src/files.ts';
import type { Evidence } from '../../src/judge/evidence.ts';
import { openTurn } from '../../src/judge/rules.ts';
import type { Candidate, ClayLook, Keeper } from '../../src/observe/candidates.ts';
import { collectEvidence, withClaysWord } from '../../src/observe/collect.ts';
import type { FactsByProcess } from '../../src/observe/facts.ts';
import type { Moment } from '../../src/observe/host.ts';
import { readStat } from '../../src/proc/stat.ts';
import { CLAY_PID, DAY, HOUR, MINUTE, only, SECOND, SESSION } from './evidence.ts';
import { type FakeProc, type FakeProcess, fakeProc, tcpRow, unixRow } from './fake-proc.ts';

const uid = process.getuid?.() ?? 0;
const PID = 16_246;
/** A machine that has been up for a day; the process began 10 hours ago. */
const AT: Moment = { wallMs: Date.parse('2026-11-22T12:00:00Z'), monotonicMs: DAY, uptimeMs: DAY };
const START_TICKS = (14 * HOUR) / 10;
const STARTED_AT_MS = AT.wallMs - 10 * HOUR;

let dir: string;
let home: string;
let cwd: string;
let proc: FakeProc;
let facts: FactsByProcess;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-collect-'));
  home = join(dir, '.clay');
  cwd = join(dir, 'projects/alpha');
  mkdirSync(join(home, 'sessions'), { recursive: true });
  mkdirSync(cwd, { recursive: true });
  proc = fakeProc();
  facts = new Map();
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
  proc.end();
});

const host = () => ({ procRoot: proc.root, units: { ticksPerSecond: 100, pageBytes: 4096 } });

/** An idle 0.2.92, as captured. */
const put = (overrides: Partial<FakeProcess> = {}): void =>
  proc.put({
    ...{ pid: PID, uid, cwd, startTicks: START_TICKS, ownTicks: 138, reapedTicks: 16 },
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
    ...{ pid: PID, sessionId: SESSION, cwd, startedAt: STARTED_AT_MS + 300, kind: 'interactive' },
    ...overrides,
  });
const ENDED = '{"type":"meta"}\n{"type":"user_message","text":"x"}\n{"type":"done","code":0}\n';
const OPEN = '{"type":"meta"}\n{"type":"user_message","text":"x"}\n{"type":"permission_request"}\n';
const journal = (content = ENDED, atMs = AT.wallMs - HOUR, folder = encoded()): string =>
  write(`${home}/sessions/${folder}/${SESSION}.jsonl`, content, atMs);
const transcript = (content = '{}\n', atMs = AT.wallMs - HOUR): string =>
  write(`.claude/projects/${encoded()}/${SESSION}.jsonl`, content, atMs);

const clay = (overrides: Partial<ClayLook> = {}): ClayLook => ({
  daemon: {
    ...{ pid: CLAY_PID, startTicks: 5, uid, home, socketPath: join(home, 'daemon.sock') },
    ...{ libDir: '/usr/lib/node_modules/clay-server/lib', projects: [{ slug: 'alpha', path: cwd }] },
  },
  answer: ok({ ok: true, pid: CLAY_PID, projects: [project('alpha', cwd)] }),
  blind: null,
  ...overrides,
});
const project = (slug: string, path: string, isProcessing = false) => ({
  ...{ slug, path, isProcessing, pendingPermissions: 0 },
});
const withProjects = (...projects: readonly ReturnType<typeof project>[]): Partial<ClayLook> => ({
  answer: ok({ ok: true, pid: CLAY_PID, projects: [...projects] }),
});

function candidate(look = clay(), expected = { uid, ppid: CLAY_PID }): Candidate {
  const stat = readStat(proc.root, PID);
  if (!stat.ok) throw new Error(stat.failure.detail);
  return { stat: stat.value, keeper: { state: 'living', look }, expected };
}
const collect = (of = candidate(), at = AT): Evidence => only(collectEvidence(host(), [of], facts, at));

describe('an idle process', () => {
  it('of SDK 0.2.92', () => {
    put();
    sessionFile();
    const path = journal();
    transcript(undefined, AT.wallMs - 2 * HOUR);
    expect(collect()).toEqual({
      ...{ id: { pid: PID, startTicks: START_TICKS }, ppid: CLAY_PID, uid },
      ...{ startedAtMs: STARTED_AT_MS, ageMs: 10 * HOUR, rssBytes: 47_467 * 4096, cwd, sdkVersion: '0.2.92' },
      ...{ hasTerminal: false, cpuMs: 1540, cpuMsByProcess: new Map([[`${PID}:${START_TICKS}`, 1380]]) },
      ...{ socketFds: 2, connections: [], children: 0, descendants: [], tools: [] },
      ...{ sessionId: SESSION, status: null, waitingFor: null, statusUpdatedAtMs: null },
      ...{ transcriptChangedAtMs: AT.wallMs - 2 * HOUR, alarm: null },
      journal: { state: 'found', path, turn: 'ended', decidedBy: 'done', changedAtMs: AT.wallMs - HOUR },
      clay: { state: 'answered', pid: CLAY_PID, home, busyProjects: [] },
      project: { slug: 'alpha', path: cwd, inTurn: false },
      ...{ doubts: [], unreadable: false },
    });
  });
  it('of SDK 0.3.330, with its socket and its status', () => {
    put({
      fds: { 0: 'socket:[1]', 1: 'socket:[2]', 2: 'socket:[3]', 5: 'socket:[3]', 6: 'socket:[2]', 11: 'socket:[4]' },
      unix: [1, 2, 3, 4].map(unixRow),
    });
    sessionFile({ procStart: String(START_TICKS), status: 'idle', statusUpdatedAt: AT.wallMs - MINUTE });
    expect(collect()).toMatchObject({
      ...{ socketFds: 6, connections: [], status: 'idle', statusUpdatedAtMs: AT.wallMs - MINUTE, doubts: [] },
    });
  });
  it('may have a terminal', () => {
    put({ ttyNr: 34_816 });
    expect(collect().hasTerminal).toBe(true);
  });
  it('of an SDK that writes no session file cannot be tied to its conversation', () => {
    put();
    journal();
    transcript();
    expect(collect()).toMatchObject({
      ...{ sessionId: null, journal: { state: 'unknown' }, transcriptChangedAtMs: null, doubts: [] },
      // But to its project.
      project: { slug: 'alpha' },
    });
  });
});

describe('connections', () => {
  it('are found by the sockets', () => {
    put({ fds: { 0: 'socket:[29392]', 18: 'socket:[30740]' }, tcp: [tcpRow(30_740)] });
    expect(collect().connections).toEqual([{ inode: 30_740, local: '0100007F:A12C', remote: '0100007F:0FAA' }]);
  });
  it('that cannot be told are a doubt', () => {
    put({ fds: { 18: 'socket:[30740]' } });
    expect(collect()).toMatchObject({ connections: [], doubts: [expect.stringContaining('descriptor 18')] });
  });
});

describe('doubts', () => {
  it.each([
    ['another user', { uid: uid + 1 }, /does not run under uid/],
    ['another pid namespace', { pids: [PID, 7] }, /another pid namespace/],
    ['another parent', { ppid: 1 }, /its parent is 1, not/],
    ['a person’s own entrypoint', { environ: { CLAUDE_CODE_ENTRYPOINT: 'cli' } }, /CLAUDE_CODE_ENTRYPOINT .* is cli/],
    ['no entrypoint', { environ: {} }, /CLAUDE_CODE_ENTRYPOINT .* is not set/],
    ['another program by now', { comm: 'bash' }, /its name is bash now/],
  ])('%s', (_, overrides, words) => {
    put(overrides);
    expect(collect()).toMatchObject({ doubts: [expect.stringMatching(words)], unreadable: false });
  });
  it('what may not be read is one, and is said to be unreadable', () => {
    put();
    sessionFile();
    rmSync(join(proc.root, `${PID}/fd`), { recursive: true });
    writeFileSync(join(proc.root, `${PID}/fd`), '');
    rmSync(join(proc.root, `${PID}/environ`));
    mkdirSync(join(proc.root, `${PID}/environ`));
    const evidence = collect();
    expect(evidence.unreadable).toBe(true);
    expect(evidence.doubts).toHaveLength(2);
  });
  it.each(['cwd', 'environ', 'status', 'fd', 'task'])('without %s there is no evidence free of doubt', (file) => {
    put();
    const of = candidate();
    rmSync(join(proc.root, `${PID}/${file}`), { recursive: true });
    const evidence = collectEvidence(host(), [of], facts, AT);
    expect(evidence.every(({ doubts }) => doubts.length > 0)).toBe(true);
  });
  it('the blindness of its Clay’s look is one', () => {
    put();
    expect(collect(candidate(clay({ blind: 'CAP_KILL is missing' })))).toMatchObject({
      doubts: ['CAP_KILL is missing'],
      unreadable: true,
    });
  });
  it('a session file of an earlier process is one', () => {
    put();
    sessionFile({ procStart: '5' });
    expect(collect()).toMatchObject({ sessionId: null, doubts: [expect.stringContaining('procStart')] });
  });
  it('a start in the future is one', () => {
    put({ startTicks: (DAY + HOUR) / 10 });
    expect(collect()).toMatchObject({ ageMs: 0, doubts: [expect.stringContaining('future')] });
  });
  it('several are told together', () => {
    put({ uid: uid + 1, ppid: 1, environ: {} });
    expect(collect().doubts).toHaveLength(3);
  });
});

describe('who vanishes', () => {
  it('is left out without a word', () => {
    put();
    const of = candidate();
    proc.remove(PID);
    expect(collectEvidence(host(), [of], facts, AT)).toEqual([]);
  });
  it('is left out if its pid is another’s by now', () => {
    put();
    const of = candidate();
    put({ startTicks: START_TICKS + 5, environ: {} });
    expect(collectEvidence(host(), [of], facts, AT)).toEqual([]);
  });
  it('is left out when it is a zombie', () => {
    put();
    const of = candidate();
    put({ state: 'Z', environ: {} });
    expect(collectEvidence(host(), [of], facts, AT)).toEqual([]);
  });
  it('is forgotten', () => {
    put();
    const of = candidate();
    collect(of);
    expect(facts.size).toBe(1);
    collectEvidence(host(), [], facts, AT);
    expect(facts.size).toBe(0);
  });
});

describe('the journal', () => {
  it('is found in the folder names of older installs, and of no install at all', () => {
    put();
    sessionFile();
    const older = journal(ENDED, AT.wallMs, cwd.replace(/[/.]/g, '-'));
    expect(collect().journal).toMatchObject({ state: 'found', path: older });
    unlinkSync(older);
    const odd = journal(OPEN, AT.wallMs, 'elsewhere');
    expect(collect().journal).toMatchObject({ state: 'found', path: odd, turn: 'open' });
  });
  it('is missing when the conversation is deleted', () => {
    put();
    sessionFile();
    expect(collect().journal).toEqual({ state: 'missing' });
  });
  it('is unknown to a Clay that keeps its journals elsewhere', () => {
    put();
    sessionFile();
    rmSync(join(home, 'sessions'), { recursive: true });
    expect(collect().journal).toEqual({ state: 'unknown' });
  });
  it('that cannot be read is unknown, and a doubt', () => {
    put();
    sessionFile();
    mkdirSync(join(home, 'sessions', encoded(), `${SESSION}.jsonl`), { recursive: true });
    expect(collect()).toMatchObject({
      journal: { state: 'unknown' },
      doubts: [expect.stringContaining('regular file')],
    });
  });
});

describe('a wall clock that was set forward after the process began', () => {
  // It began at the same tick of the kernel, but by the clock of then an hour earlier than it now seems.
  const began = STARTED_AT_MS - HOUR;
  it('makes its own turn no earlier process’s', () => {
    put();
    sessionFile({ procStart: String(START_TICKS), startedAt: began + 300 });
    journal(OPEN, began + 10 * MINUTE);
    expect(openTurn(collect())).not.toBeNull();
  });
  it('still leaves a turn to the earlier process that left it open', () => {
    put();
    sessionFile({ procStart: String(START_TICKS), startedAt: began + 300 });
    journal(OPEN, began - 10 * MINUTE);
    expect(openTurn(collect())).toBeNull();
  });
});

describe('the project', () => {
  const inTurn = (...args: Parameters<typeof project>) => project(args[0], args[1], true);
  it('is told by the folder of the journal', () => {
    put({ cwd: dir });
    sessionFile();
    journal();
    expect(collect(candidate(clay(withProjects(inTurn('alpha', cwd), project('all', dir)))))).toMatchObject({
      project: { slug: 'alpha', inTurn: true },
      clay: { busyProjects: ['alpha'] },
    });
  });
  it('is else told by the working directory: the innermost one counts', () => {
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
  it('is not told by a directory that only begins alike', () => {
    put({ cwd: `${cwd}-old` });
    expect(collect().project).toBeNull();
  });
  it('is none where Clay has none of it', () => {
    put({ cwd: '/srv/elsewhere' });
    expect(collect(candidate(clay(withProjects(inTurn('beta', '/srv/beta')))))).toMatchObject({
      project: null,
      clay: { busyProjects: ['beta'] },
    });
  });
  it('is in a turn if any is whose folder has the same name', () => {
    put();
    sessionFile();
    journal();
    const twin = cwd.replace('projects/alpha', 'projects-alpha');
    expect(collect(candidate(clay(withProjects(project('alpha', cwd), inTurn('twin', twin))))).project?.inTurn).toBe(
      true,
    );
  });
  it('is, of two whose folders have the same name, the one that it works in', () => {
    const twin = cwd.replace('projects/alpha', 'projects-alpha');
    put({ cwd: twin });
    sessionFile();
    journal(ENDED, AT.wallMs, encoded(twin));
    const projects = [project('alpha', cwd), project('twin', twin)];
    expect(collect(candidate(clay(withProjects(...projects)))).project?.slug).toBe('twin');
  });
  it('counts as in a turn while a permission is asked for', () => {
    put();
    const asked = { ...project('alpha', cwd), pendingPermissions: 1 };
    expect(collect(candidate(clay(withProjects(asked)))).project?.inTurn).toBe(true);
  });
  it('is known from daemon.json while Clay is silent', () => {
    put();
    expect(collect(candidate(clay({ answer: fail('odd', 'no answer within 2 s') })))).toMatchObject({
      project: { slug: 'alpha', inTurn: false },
      clay: { state: 'silent', error: 'no answer within 2 s' },
    });
  });
  it('of an abandoned process is what the daemon.json of its dead Clay says', () => {
    put({ ppid: 1 });
    const keeper: Keeper = { state: 'dead', home, uid };
    const of = { ...candidate(), keeper, expected: { uid, ppid: 1 } };
    expect(collect(of)).toMatchObject({ clay: { state: 'dead', home }, project: null });
    write(`${home}/daemon.json`, { pid: 5, projects: [{ slug: 'alpha', path: cwd }] });
    expect(collect(of)).toMatchObject({ project: { slug: 'alpha', inTurn: false }, doubts: [] });
  });
});

describe('alarms', () => {
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
  const alarmOf = (content: string, sdk = '0.3.330'): string | null => {
    put({
      environ: { HOME: dir, CLAY_HOME: home, CLAUDE_AGENT_SDK_VERSION: sdk, CLAUDE_CODE_ENTRYPOINT: 'sdk-ts' },
    });
    sessionFile();
    transcript(content);
    facts.clear();
    return collect().alarm;
  };
  const earlier = new Date(STARTED_AT_MS - HOUR).toISOString();

  it.each(['0.2.92', '0.3.330'])('that are still to come protect: %s', (sdk) => {
    expect(alarmOf(once(AT.wallMs + HOUR), sdk)).toContain('2026-11-22T13:00:00.000Z');
    expect(alarmOf(once(AT.wallMs - HOUR), sdk)).toBeNull();
    expect(alarmOf('{}\n', sdk)).toBeNull();
  });
  it('fire some time late', () => {
    expect(alarmOf(once(AT.wallMs - 2 * MINUTE + SECOND))).not.toBeNull();
    expect(alarmOf(once(AT.wallMs - 2 * MINUTE))).toBeNull();
    expect(alarmOf(wake(AT.wallMs - MINUTE))).not.toBeNull();
    expect(alarmOf(wake(AT.wallMs - HOUR))).toBeNull();
  });
  it('of an earlier process are forgotten by 0.2.92', () => {
    expect(alarmOf(once(AT.wallMs + HOUR, earlier), '0.2.92')).toBeNull();
  });
  it('of an earlier process: 0.3.330 takes up cron entries again, and no wake-ups', () => {
    expect(alarmOf(once(AT.wallMs + HOUR, earlier))).not.toBeNull();
    expect(alarmOf(wake(AT.wallMs + HOUR, earlier))).toBeNull();
  });
  it('of which one is past and one is to come protect', () => {
    const other = once(AT.wallMs + HOUR)
      .replaceAll('toolu_1', 'toolu_2')
      .replaceAll('"id":"a"', '"id":"b"');
    expect(alarmOf(`${once(AT.wallMs - HOUR)}${other}`)).toContain('13:00');
  });
  it('without an end protect for ever', () => {
    expect(alarmOf(call('CronCreate', { cron: '3 4 * * *' }, { id: 'a', recurring: true, maxAgeMs: 0 }))).toMatch(
      /\(CronCreate\)$/,
    );
  });
  it.each([1e300, 8.64e15 + 1, -1e300])('at a time that no calendar has are taken for what they are: %d', (atMs) => {
    expect(() => alarmOf(once(atMs))).not.toThrow();
    expect(() => alarmOf(wake(atMs))).not.toThrow();
    expect(alarmOf(once(atMs)) === null).toBe(atMs < 0);
  });
  it('of agents below it count, too: 0.2.92 lets them set entries, and its own process waits for them', () => {
    put();
    sessionFile();
    transcript();
    // Measured: the call stands in the agent's own transcript alone.
    write(`.claude/projects/${encoded()}/${SESSION}/subagents/agent-a6736c74ccd196287.jsonl`, once(AT.wallMs + HOUR));
    expect(collect().alarm).not.toBeNull();
  });
  it('are in the time zone of their process, whichever the reaper’s own is', () => {
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
      const at = (hours: number): Moment => ({
        ...AT,
        wallMs: AT.wallMs + hours * HOUR,
        uptimeMs: AT.uptimeMs + hours * HOUR,
      });
      expect(collect(candidate(), at(6)).alarm).not.toBeNull();
      expect(collect(candidate(), at(24)).alarm).toBeNull();
    } finally {
      if (zone === undefined) delete process.env.TZ;
      else process.env.TZ = zone;
    }
  });
  it('in the project’s file protect the process that keeps them', () => {
    put();
    write(`${cwd}/.claude/scheduled_tasks.lock`, { pid: PID, procStart: String(START_TICKS) });
    write(`${cwd}/.claude/scheduled_tasks.json`, { tasks: [{ id: 'a' }] });
    expect(collect().alarm).toContain('scheduled_tasks.json');
  });
});

describe('withClaysWord', () => {
  it('asks again for the journal and the project, and keeps the rest', () => {
    put();
    sessionFile();
    const path = journal();
    const before = collect();
    proc.remove(PID);
    unlinkSync(join(dir, `.claude/sessions/${PID}.json`));
    write(path, OPEN, AT.wallMs);
    const look = clay(withProjects(project('alpha', cwd, true)));
    expect(withClaysWord(before, { state: 'living', look })).toEqual({
      ...before,
      journal: { ...before.journal, turn: 'open', decidedBy: 'permission_request', changedAtMs: AT.wallMs },
      clay: { state: 'answered', pid: CLAY_PID, home, busyProjects: ['alpha'] },
      project: { slug: 'alpha', path: cwd, inTurn: true },
    });
  });
  it('says if Clay is silent, and forgets doubts about the process itself', () => {
    put({ uid: uid + 1 });
    const before = collect();
    expect(before.doubts).toHaveLength(1);
    const look = clay({ answer: fail('odd', 'x') });
    expect(withClaysWord(before, { state: 'living', look })).toMatchObject({ doubts: [], clay: { state: 'silent' } });
  });
});

describe('many processes', () => {
  it('are collected side by side, in their order', () => {
    put();
    sessionFile();
    proc.put({ ...{ pid: 7, uid, cwd, startTicks: 77 }, environ: { CLAUDE_CODE_ENTRYPOINT: 'sdk-ts' } });
    const first = candidate();
    const other = readStat(proc.root, 7);
    if (!other.ok) throw new Error('not there');
    const evidence = collectEvidence(host(), [{ ...first, stat: other.value }, first], facts, AT);
    expect(evidence.map(({ id, sessionId }) => [id.pid, sessionId])).toEqual([
      [7, null],
      [PID, SESSION],
    ]);
    expect([...facts].map(([pid, { startTicks }]) => [pid, startTicks])).toEqual([
      [7, 77],
      [PID, START_TICKS],
    ]);
  });
});
