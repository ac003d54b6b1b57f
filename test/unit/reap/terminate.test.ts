import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type IdleOrphan, judge, type Tracking } from '../../../src/judge/judge.ts';
import type { Policy } from '../../../src/judge/policy.ts';
import type { Candidate } from '../../../src/observe/candidates.ts';
import { type ObservedClock, readClock } from '../../../src/observe/clock.ts';
import { collectEvidence } from '../../../src/observe/evidence.ts';
import { newProcessCache } from '../../../src/observe/process-cache.ts';
import { readStat } from '../../../src/proc/stat.ts';
import { reap } from '../../../src/reap/reap.ts';
import { prepareRecheck, type RecheckContext } from '../../../src/reap/recheck.ts';
import { terminate } from '../../../src/reap/terminate.ts';
import { noLimits } from '../../helpers/budget.ts';
import { LIMITS, SESSION } from '../../helpers/evidence.ts';
import { childrenOf, identify, isAlive, kill, type ProcessId } from '../../helpers/processes.ts';
import { waitFor } from '../../helpers/wait-for.ts';

/** Real processes named claude, whose Clay is dead and which nothing protects: every signal of these tests is a real one. */
const POLICY: Policy = { ...LIMITS, gracePeriodMs: 0, parkedAfterMs: 0, minAgeMs: 0, cpuIdleBelow: 1_000 };
const uid = process.getuid?.() ?? 0;
const PROC = '/proc';

let dir: string;
const started: ChildProcess[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-terminate-'));
  copyFileSync('/bin/sh', join(dir, 'claude'));
  execFileSync('mkfifo', [join(dir, 'fifo')]);
});
afterEach(async () => {
  for (const child of started.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
  }
  rmSync(dir, { recursive: true, force: true });
});

/** Starts a shell named claude that runs `script`, and waits until it says that it is ready. */
async function startClaude(script: string): Promise<ProcessId> {
  const env = { HOME: dir, PATH: process.env.PATH, CLAUDE_CODE_ENTRYPOINT: 'sdk-ts' };
  const child = spawn(join(dir, 'claude'), ['-c', script], { env, cwd: dir, stdio: ['ignore', 'pipe', 'ignore'] });
  started.push(child);
  let output = '';
  child.stdout?.on('data', (data) => {
    output += data;
  });
  await waitFor('claude is ready', () => output.includes('ready'));
  const id = identify(child.pid ?? 0);
  if (!id) throw new Error('claude did not start');
  return id;
}

/** Waits for ever without a child: nobody writes to that FIFO. */
const WAIT = 'while :; do read line <fifo; done';
const ENDS_ON_SIGTERM = `trap exit TERM; echo ready; ${WAIT}`;
const IGNORES_SIGTERM = `trap '' TERM; echo ready; ${WAIT}`;

const candidateOf = ({ pid }: ProcessId): Candidate => {
  const stat = readStat(PROC, pid);
  if (!stat.ok) throw new Error(stat.failure.detail);
  return {
    stat: stat.value,
    owner: { state: 'dead', home: join(dir, '.clay'), uid },
    expectedIdentity: { uid, ppid: process.pid },
    inTerminal: false,
    unplaced: null,
  };
};

/** Judges the process as the service does, in two sweeps, and prepares the rechecks. */
async function assess(id: ProcessId): Promise<{ context: RecheckContext; orphan: IdleOrphan }> {
  const candidates = [candidateOf(id)];
  const cache = newProcessCache(PROC);
  const at: ObservedClock = readClock(PROC);
  const earlier = { ...at, wallMs: at.wallMs - 30_000, monotonicMs: at.monotonicMs - 30_000 };
  let previous: ReadonlyMap<string, Tracking> = new Map();
  previous = judge(collectEvidence(PROC, candidates, cache, earlier, noLimits), previous, POLICY, earlier).tracking;
  const evidence = collectEvidence(PROC, candidates, cache, at, noLimits);
  const [orphan] = judge(evidence, previous, POLICY, at).judgements;
  if (orphan?.verdict !== 'reap') throw new Error(`it was judged ${JSON.stringify(orphan)}`);
  const assessed = { clays: [], candidates, evidence, cache, budgets: noLimits, policy: POLICY, previous };
  return { context: await prepareRecheck(PROC, assessed, [orphan]), orphan };
}

describe('terminate', () => {
  it('ends a process with SIGTERM', async () => {
    const id = await startClaude(ENDS_ON_SIGTERM);
    const { context, orphan } = await assess(id);
    expect(await terminate(context, orphan, 20_000, null)).toEqual({ outcome: 'terminated', signal: 'SIGTERM' });
    expect(isAlive(id)).toBe(false);
  });

  it('has sent SIGTERM before its first await', async () => {
    const id = await startClaude(ENDS_ON_SIGTERM);
    const { context, orphan } = await assess(id);
    const result = terminate(context, orphan, 20_000, null);
    // From here on only the kernel and the process itself do anything.
    expect(orphan.evidence.id).toEqual(id);
    const deadline = performance.now() + 10_000;
    while (isAlive(id) && performance.now() < deadline);
    expect(isAlive(id)).toBe(false);
    await result;
  });

  it('kills a process that ignores SIGTERM once kill_after is over, and not before', async () => {
    const id = await startClaude(IGNORES_SIGTERM);
    const { context, orphan } = await assess(id);
    const startedMs = performance.now();
    expect(await terminate(context, orphan, 300, null)).toMatchObject({ outcome: 'killed', signal: 'SIGKILL' });
    expect(performance.now() - startedMs).toBeGreaterThan(290);
    expect(isAlive(id)).toBe(false);
  });

  it.each([
    ['ends on SIGTERM', ':'],
    ['ignores SIGTERM', "''"],
  ])(
    'ends a descendant that outlives a SIGKILL and %s',
    async (_, trap) => {
      // An ignored signal stays ignored in the child, a handled one does not.
      const id = await startClaude(`trap ${trap} TERM; sleep 60 & echo ready; ${WAIT}`);
      const [child] = childrenOf(id.pid).flatMap((pid) => identify(pid) ?? []);
      const { context, orphan } = await assess(id);
      expect(await terminate(context, orphan, 100, null)).toEqual({
        outcome: 'killed',
        signal: 'SIGKILL',
        leftovers: 1,
      });
      expect(child && isAlive(child)).toBe(false);
    },
    20_000,
  );

  it('reports a process that was gone before anything was sent as vanished', async () => {
    const id = await startClaude(ENDS_ON_SIGTERM);
    const { context, orphan } = await assess(id);
    kill(id);
    await waitFor('it is gone', () => !isAlive(id));
    expect(await terminate(context, orphan, 1_000, null)).toEqual({ outcome: 'vanished' });
  });

  it('spares a process that a recheck protects, and sends nothing', async () => {
    const id = await startClaude(ENDS_ON_SIGTERM);
    const { context, orphan } = await assess(id);
    const assessed = { ...context.assessed, policy: { ...POLICY, minAgeMs: 3_600_000 } };
    expect(await terminate({ ...context, assessed }, orphan, 100, null)).toMatchObject({
      outcome: 'spared',
      why: expect.stringContaining('young'),
      because: 'active',
    });
    expect(isAlive(id)).toBe(true);
  });

  it('spares a process in whose conversation a turn begins after SIGTERM, and says so', async () => {
    const id = await startClaude(IGNORES_SIGTERM);
    const { context, orphan } = await assess(id);
    // The session file is gone, as after SIGTERM: only what was known before leads to the journal.
    const folder = join(dir, '.clay/sessions/of-another-project');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${SESSION}.jsonl`), '{"type":"meta"}\n{"type":"user_message","text":"go on"}\n');
    const evidence = { ...orphan.evidence, sessionId: SESSION };
    expect(await terminate(context, { ...orphan, evidence }, 100, null)).toEqual({
      outcome: 'spared',
      why: expect.stringMatching(/^after SIGTERM: .*turn open/),
      because: 'active',
    });
    expect(isAlive(id)).toBe(true);
  });

  it('sends no signal at all when it is aborted before the first', async () => {
    const id = await startClaude(ENDS_ON_SIGTERM);
    const { context, orphan } = await assess(id);
    const settings = { procRoot: PROC, killAfterMs: 60_000, maxKillsPerSweep: 1 };
    expect(await reap(settings, context.assessed, [orphan], { abort: AbortSignal.abort() })).toEqual([]);
    expect(isAlive(id)).toBe(true);
    expect(await reap(settings, context.assessed, [orphan])).toMatchObject([{ result: { outcome: 'terminated' } }]);
  });
  it('leaves a process to its SIGTERM when it is aborted, without SIGKILL', async () => {
    const id = await startClaude(IGNORES_SIGTERM);
    const { context, orphan } = await assess(id);
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 100);
    const startedMs = performance.now();
    expect(await terminate(context, orphan, 60_000, abort.signal)).toBeNull();
    expect(performance.now() - startedMs).toBeLessThan(10_000);
    expect(isAlive(id)).toBe(true);
  });
});
