import { fail, ok } from '../../src/files.ts';
import type { Evidence } from '../../src/judge/evidence.ts';
import type { IdleOrphan, Judgement } from '../../src/judge/judge.ts';
import type { ReasonCode } from '../../src/judge/rules.ts';
import type { ClayLook } from '../../src/observe/candidates.ts';
import type { Ending } from '../../src/reap/end-process.ts';
import type { Look, Reaped } from '../../src/sweep.ts';
import { CLAY_HOME, CLAY_PID, HOUR, idleEvidence, LIMITS, MINUTE, NOW } from './evidence.ts';

/** A Clay that answers and can be looked after; `error`: what was wrong with its answer. */
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
} = {}): ClayLook {
  const alpha = { slug: 'alpha', path: '/srv/projects/alpha', isProcessing: false, pendingPermissions: 0 };
  const beta = { slug: 'beta', path: '/srv/projects/beta', isProcessing: false, pendingPermissions: 1 };
  return {
    daemon: {
      ...{ pid, startTicks, uid: 1000, home, socketPath: `${home}/daemon.sock` },
      ...{ libDir: '/usr/lib/node_modules/clay-server/lib', projects: [] },
    },
    answer: error === null ? ok({ ok: true, pid, projects: [alpha, beta] }) : fail('odd', error),
    blind,
  };
}

/** A look with one Clay in which nothing was found, unless something is given. */
export function lookWith(overrides: Partial<Look> = {}): Look {
  return {
    at: { ...NOW, uptimeMs: 10 * HOUR },
    clays: [clayLook()],
    candidates: [],
    homes: [],
    tableNote: null,
    evidence: (overrides.judgements ?? []).map(({ evidence }) => evidence),
    facts: new Map(),
    judgements: [],
    limits: LIMITS,
    pressure: null,
    watchesBefore: new Map(),
    ...overrides,
  };
}

/** A protected process. */
export const protectedBy = (codes: readonly ReasonCode[], overrides: Partial<Evidence> = {}): Judgement => ({
  evidence: idleEvidence(overrides),
  cpu: { percent: 3.1234, overMs: 3000, busy: false },
  verdict: 'protected',
  reasons: codes.map((code) => ({ code, detail: `because of ${code}` })),
});

/** An idle orphan. */
export const orphan = (
  overrides: Partial<Pick<IdleOrphan, 'verdict' | 'orphan' | 'idleMs' | 'waitMs'>> = {},
  evidence: Partial<Evidence> = {},
): IdleOrphan => ({
  ...{ evidence: idleEvidence(evidence), cpu: { percent: 0, overMs: 3000, busy: false } },
  ...{ verdict: 'reap', reasons: [], orphan: 'parked', idleMs: HOUR, waitMs: 30 * MINUTE },
  ...overrides,
});

/** Every way in which the end of a process can come out. */
export const ENDINGS: Readonly<Record<Ending['outcome'], Ending>> = {
  terminated: { outcome: 'terminated', signal: 'SIGTERM' },
  killed: { outcome: 'killed', signal: 'SIGKILL', leftovers: 2 },
  survived: { outcome: 'survived', signal: 'SIGKILL', why: 'it is still there after SIGKILL' },
  vanished: { outcome: 'vanished' },
  spared: { outcome: 'spared', why: 'busy: its session file says "busy"', because: 'woke' },
};

export const reapedAs = (outcome: Ending['outcome'], judgement: IdleOrphan = orphan()): Reaped => ({
  judgement,
  ending: ENDINGS[outcome],
});
