import { appendFileSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type IdleOrphan, judge, type Tracking } from '../../../src/judge/judge.ts';
import type { Candidate } from '../../../src/observe/candidates.ts';
import { type ObservedClock, readClock } from '../../../src/observe/clock.ts';
import { collectEvidence } from '../../../src/observe/evidence.ts';
import type { ClayProbe } from '../../../src/observe/probe.ts';
import { newProcessCache } from '../../../src/observe/process-cache.ts';
import { readStat } from '../../../src/proc/stat.ts';
import {
  prepareRecheck,
  type RecheckContext,
  recheckBeforeKill,
  recheckBeforeTerm,
} from '../../../src/reap/recheck.ts';
import { INSTALLATION } from '../../helpers/assessment.ts';
import { noLimits } from '../../helpers/budget.ts';
import { CLAY_PID, DAY, HOUR, LIMITS, SESSION } from '../../helpers/evidence.ts';
import { type FakeProc, type FakeProcess, fakeProc, tcpRow, unixRow } from '../../helpers/fake-proc.ts';

const PID = 16_246;
const uid = process.getuid?.() ?? 0;
/** The machine has been up for a day; the process began 10 hours ago. */
const START_TICKS = (14 * HOUR) / 10;

let dir: string;
let home: string;
let cwd: string;
let proc: FakeProc;
let server: Server | null;
/** What Clay says of its one project. */
let inTurn: boolean;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-recheck-'));
  home = join(dir, '.clay');
  cwd = join(dir, 'projects/alpha');
  mkdirSync(cwd, { recursive: true });
  proc = fakeProc();
  proc.write('uptime', `${DAY / 1000}.00 1.00\n`);
  inTurn = false;
  put();
  write(
    `.claude/sessions/${PID}.json`,
    JSON.stringify({ pid: PID, sessionId: SESSION, cwd, startedAt: startedAtMs() }),
  );
  write(journalPath(), '{"type":"meta"}\n{"type":"user_message","text":"x"}\n{"type":"done","code":0}\n', HOUR);
  write(`.claude/projects/${encodedCwd()}/${SESSION}.jsonl`, '{}\n', HOUR);
  server = await startClay();
});
afterEach(async () => {
  await stopClay();
  proc.end();
  rmSync(dir, { recursive: true, force: true });
});

const startedAtMs = (): number => Date.now() - 10 * HOUR + 300;
const encodedCwd = (): string => cwd.replace(/[^a-zA-Z0-9]/g, '-');
const journalPath = (): string => join(home, 'sessions', encodedCwd(), `${SESSION}.jsonl`);
const socketPath = (): string => join(home, 'daemon.sock');

function put(overrides: Partial<FakeProcess> = {}): void {
  proc.put({
    pid: PID,
    uid,
    cwd,
    startTicks: START_TICKS,
    environ: { HOME: dir, CLAY_HOME: home, CLAUDE_AGENT_SDK_VERSION: '0.2.92', CLAUDE_CODE_ENTRYPOINT: 'sdk-ts' },
    fds: { 0: 'socket:[29392]' },
    unix: [unixRow(29_392)],
    ...overrides,
  });
}

function write(path: string, text: string, ageMs = 0): void {
  const full = path.startsWith('/') ? path : join(dir, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, text);
  const changedAt = (Date.now() - ageMs) / 1000;
  utimesSync(full, changedAt, changedAt);
}

async function startClay(): Promise<Server> {
  const answering = createServer((connection) => {
    const projects = [{ slug: 'alpha', path: cwd, isProcessing: inTurn, pendingPermissions: 0 }];
    connection.on('error', () => {});
    connection.on('data', () => connection.write(`${JSON.stringify({ ok: true, pid: CLAY_PID, projects })}\n`));
  });
  await new Promise<void>((resolve) => answering.listen(socketPath(), resolve));
  return answering;
}
async function stopClay(): Promise<void> {
  const stopping = server;
  server = null;
  if (stopping) await new Promise((resolve) => stopping.close(resolve));
}

const probe = (): ClayProbe => ({
  daemon: {
    pid: CLAY_PID,
    startTicks: 5,
    uid,
    home,
    socketPath: socketPath(),
    installation: INSTALLATION,
    insideTool: false,
    projects: [{ slug: 'alpha', path: cwd }],
  },
  status: {
    ok: true,
    value: {
      ok: true,
      pid: CLAY_PID,
      projects: [{ slug: 'alpha', path: cwd, isProcessing: false, pendingPermissions: 0 }],
    },
  },
  permissionProblem: null,
});

/** Judges the process as the service does, in two sweeps, half a minute apart. */
function assess(owner: Candidate['owner'] = { state: 'alive', probe: probe() }) {
  const stat = readStat(proc.root, PID);
  if (!stat.ok) throw new Error(stat.failure.detail);
  const candidates: Candidate[] = [
    { stat: stat.value, owner, expectedIdentity: { uid, ppid: CLAY_PID }, inTerminal: false, unplaced: null },
  ];
  const cache = newProcessCache(proc.root);
  const at: ObservedClock = readClock(proc.root);
  const earlier = { ...at, wallMs: at.wallMs - 30_000, monotonicMs: at.monotonicMs - 30_000 };
  let previous: ReadonlyMap<string, Tracking> = new Map();
  previous = judge(
    collectEvidence(proc.root, candidates, cache, earlier, noLimits),
    previous,
    LIMITS,
    earlier,
  ).tracking;
  const evidence = collectEvidence(proc.root, candidates, cache, at, noLimits);
  const [orphan] = judge(evidence, previous, LIMITS, at).judgements;
  if (orphan?.verdict !== 'reap') throw new Error(`it was judged ${JSON.stringify(orphan?.reasons)}`);
  const clays = owner.state === 'alive' ? [owner.probe] : [];
  return { assessed: { clays, candidates, evidence, cache, budgets: noLimits, policy: LIMITS, previous }, orphan };
}

/** Assesses, applies `change`, and prepares the rechecks. */
async function prepare(change: () => unknown = () => {}): Promise<{ context: RecheckContext; orphan: IdleOrphan }> {
  const { assessed, orphan } = assess();
  await change();
  return { context: await prepareRecheck(proc.root, assessed, [orphan]), orphan };
}

const startTurn = (): void => appendFileSync(journalPath(), '{"type":"user_message","text":"go on"}\n');
const sparedBecause = (because: string, why: RegExp) => ({
  outcome: 'spared',
  because,
  why: expect.stringMatching(why),
});

describe('recheckBeforeTerm', () => {
  it('lets the signal proceed if nothing has changed, and returns the descendants of now', async () => {
    const { context, orphan } = await prepare(() => {
      put({ children: [[17_000]] });
      proc.put({ pid: 17_000, comm: 'node', ppid: PID, uid, startTicks: 9_000_000, ownTicks: 0 });
    });
    expect(recheckBeforeTerm(context, orphan)).toEqual({
      recheck: 'proceed',
      descendants: [{ pid: 17_000, startTicks: 9_000_000 }],
    });
  });

  it.each<[string, () => void]>([
    ['exited', () => proc.remove(PID)],
    ['given its pid to another process', () => put({ startTicks: START_TICKS + 1 })],
    ['become a zombie', () => put({ state: 'Z' })],
  ])('says gone if the process has %s', async (_, change) => {
    const { context, orphan } = await prepare(change);
    expect(recheckBeforeTerm(context, orphan)).toEqual({ recheck: 'gone', descendants: [] });
  });

  it('returns gone if the process is none of the candidates', async () => {
    const { context, orphan } = await prepare();
    const assessed = { ...context.assessed, candidates: [] };
    expect(recheckBeforeTerm({ ...context, assessed }, orphan)).toEqual({ recheck: 'gone', descendants: [] });
  });

  it.each<[string, () => void, RegExp]>([
    ['a turn begins', startTurn, /^turn: /],
    [
      'its session file says busy',
      () =>
        write(
          `.claude/sessions/${PID}.json`,
          JSON.stringify({ pid: PID, sessionId: SESSION, cwd, startedAt: startedAtMs(), status: 'busy' }),
        ),
      /^busy: /,
    ],
    [
      'its transcript is written to',
      () => write(`.claude/projects/${encodedCwd()}/${SESSION}.jsonl`, '{}\n{}\n'),
      /something has just happened/,
    ],
    ['it uses CPU', () => put({ ownTicks: 100_000 }), /^cpu: /],
    [
      'it opens a connection',
      () => put({ fds: { 0: 'socket:[29392]', 5: 'socket:[777]' }, tcp: [tcpRow(777)] }),
      /^connection: /,
    ],
    [
      'a unix socket of it turns out to be a TCP connection',
      () => put({ unix: [unixRow(29_392)], tcp: [tcpRow(29_392)] }),
      /^connection: /,
    ],
    [
      'a tool starts below it',
      () => {
        put({ children: [[17_000]] });
        proc.put({ pid: 17_000, comm: 'bash', ppid: PID, uid, session: 17_000, ownTicks: 0 });
      },
      /^tool: /,
    ],
    ['it executes another program', () => put({ comm: 'bash' }), /its name is bash now/],
    ['it runs under another uid', () => put({ uid: uid + 1 }), /does not run under uid/],
    ['another process becomes its parent', () => put({ ppid: 1 }), /its parent is 1/],
    ['its stat cannot be parsed', () => proc.write(`${PID}/stat`, 'odd'), /^stat /],
    ['its descriptors cannot be read', () => rmSync(join(proc.root, `${PID}/fd`), { recursive: true }), /unverified/],
    ['the time is unknown', () => rmSync(join(proc.root, 'uptime')), /the time is unknown/],
    ['its conversation is deleted', () => rmSync(journalPath()), /no longer parked, but deleted/],
  ])('spares the process if %s', async (_, change, why) => {
    const { context, orphan } = await prepare(change);
    expect(recheckBeforeTerm(context, orphan).recheck).toEqual(sparedBecause('active', why));
  });

  it('spares the process if it has not been idle for the wait that the first judgement applied', async () => {
    const { context, orphan } = await prepare();
    const longer = { ...orphan, waitMs: 2 * HOUR };
    expect(recheckBeforeTerm(context, longer).recheck).toEqual(sparedBecause('active', /something has just happened/));
  });

  it('spares the process if its Clay no longer answers', async () => {
    const { context, orphan } = await prepare(stopClay);
    expect(recheckBeforeTerm(context, orphan).recheck).toEqual(sparedBecause('unreachable', /^api: /));
  });
});

describe('recheckBeforeKill', () => {
  it('lets the signal proceed although the session file is gone and the process uses CPU', async () => {
    const { context, orphan } = await prepare(() => {
      rmSync(join(dir, `.claude/sessions/${PID}.json`));
      put({ ownTicks: 100_000 });
    });
    expect(await recheckBeforeKill(context, orphan)).toBe('proceed');
  });

  it('asks Clay again instead of believing the answer from before SIGTERM', async () => {
    const { context, orphan } = await prepare();
    inTurn = true;
    rmSync(journalPath());
    expect(await recheckBeforeKill(context, orphan)).toEqual(sparedBecause('active', /alpha is in a turn/));
  });

  it('spares the process if a turn has begun in its conversation', async () => {
    const { context, orphan } = await prepare();
    startTurn();
    expect(await recheckBeforeKill(context, orphan)).toEqual(sparedBecause('active', /turn open/));
  });

  it('spares the process if its Clay no longer answers', async () => {
    const { context, orphan } = await prepare();
    await stopClay();
    expect(await recheckBeforeKill(context, orphan)).toEqual(sparedBecause('unreachable', /Clay's API/));
  });

  it('asks no Clay about an abandoned process', async () => {
    const { assessed, orphan } = assess({ state: 'dead', home, uid });
    await stopClay();
    const context = await prepareRecheck(proc.root, assessed, [orphan]);
    expect(await recheckBeforeKill(context, orphan)).toBe('proceed');
  });

  it('returns gone if the process has exited', async () => {
    const { context, orphan } = await prepare();
    proc.remove(PID);
    expect(await recheckBeforeKill(context, orphan)).toBe('gone');
  });
});
