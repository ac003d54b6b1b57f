import type { Assessment } from '../../src/assess.ts';
import type { Installation } from '../../src/clay/installation.ts';
import type { Evidence } from '../../src/judge/evidence.ts';
import type { IdleOrphan, Judgement } from '../../src/judge/judge.ts';
import type { ReasonCode } from '../../src/judge/rules.ts';
import type { ObservedClay } from '../../src/observe/candidates.ts';
import { newProcessCache } from '../../src/observe/process-cache.ts';
import type { Outcome, ReapResult } from '../../src/reap/result.ts';
import { fail, ok } from '../../src/result.ts';
import { noLimits } from './budget.ts';
import { CLAY_HOME, CLAY_PID, HOUR, LIMITS, MINUTE, NOW, ruleInput } from './evidence.ts';

/** Where Clay is installed. */
export const INSTALLATION: Installation = {
  folder: '/usr/lib/node_modules/clay-server',
  packageName: 'clay-server',
  release: '2.41.1',
};

/** A Clay that answers and whose processes can be read; `error`: what was wrong with its answer. */
export function clayLook({
  pid = CLAY_PID,
  startTicks = 1000,
  home = CLAY_HOME,
  error = null,
  blind = null,
}: {
  readonly pid?: number;
  readonly startTicks?: number;
  readonly home?: string;
  readonly error?: string | null;
  readonly blind?: string | null;
} = {}): ObservedClay {
  const alpha = { slug: 'alpha', path: '/srv/projects/alpha', isProcessing: false, pendingPermissions: 0 };
  const beta = { slug: 'beta', path: '/srv/projects/beta', isProcessing: false, pendingPermissions: 1 };
  return {
    daemon: {
      pid,
      startTicks,
      uid: 1000,
      home,
      socketPath: `${home}/daemon.sock`,
      installation: INSTALLATION,
      insideTool: false,
      projects: [],
    },
    status: error === null ? ok({ ok: true, pid, projects: [alpha, beta] }) : fail('invalid', error),
    permissionProblem: blind,
    children: { terminals: 0, unplaced: 0, others: 0, unknownShape: null },
  };
}

/** An assessment with one Clay and no process, unless something is given. */
export function lookWith(overrides: Partial<Assessment> = {}): Assessment {
  return {
    at: { ...NOW, uptimeMs: 10 * HOUR },
    clays: [clayLook()],
    candidates: [],
    homes: [],
    inContainers: null,
    withoutHome: [],
    scanNote: null,
    leftAlone: [],
    budgets: noLimits,
    hint: null,
    searchedProcesses: true,
    evidence: (overrides.judgements ?? []).map(({ evidence }) => evidence),
    cache: newProcessCache('/nowhere'),
    judgements: [],
    policy: LIMITS,
    pressure: null,
    previous: new Map(),
    ...overrides,
  };
}

/** A protected process. */
export const protectedBy = (codes: readonly ReasonCode[], overrides: Partial<Evidence> = {}): Judgement => ({
  ...ruleInput(overrides, { cpu: { percent: 3.1234, overMs: 3000, busy: null } }),
  verdict: 'protected',
  reasons: codes.map((code) => ({ code, detail: `because of ${code}` })),
});

/** An idle orphan. */
export const orphan = (
  overrides: Partial<Pick<IdleOrphan, 'verdict' | 'orphan' | 'idleMs' | 'waitMs'>> = {},
  evidence: Partial<Evidence> = {},
): IdleOrphan => ({
  ...ruleInput(evidence, { cpu: { percent: 0, overMs: 3000, busy: null } }),
  verdict: 'reap',
  reasons: [],
  orphan: 'parked',
  idleMs: HOUR,
  waitMs: 30 * MINUTE,
  ...overrides,
});

/** Every way in which the end of a process can come out. */
export const ENDINGS: Readonly<Record<Outcome['outcome'], Outcome>> = {
  terminated: { outcome: 'terminated', signal: 'SIGTERM' },
  killed: { outcome: 'killed', signal: 'SIGKILL', leftovers: 2 },
  survived: { outcome: 'survived', signal: 'SIGKILL', why: 'it is still there after SIGKILL' },
  vanished: { outcome: 'vanished' },
  spared: { outcome: 'spared', why: 'busy: its session file says "busy"', because: 'active' },
};

export const reapedAs = (outcome: Outcome['outcome'], judgement: IdleOrphan = orphan()): ReapResult => ({
  judgement,
  result: ENDINGS[outcome],
});
