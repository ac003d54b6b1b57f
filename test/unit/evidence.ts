import type { CpuUse } from '../../src/judge/cpu.ts';
import type { Evidence } from '../../src/judge/evidence.ts';
import { type Judgement, judge, type Watch } from '../../src/judge/judge.ts';
import type { Limits, Now } from '../../src/judge/limits.ts';
import type { Case } from '../../src/judge/rules.ts';

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** The moment at which everything below is looked at, unless a test says otherwise. */
export const NOW: Now = { wallMs: Date.parse('2026-11-22T12:00:00Z'), monotonicMs: 5 * DAY };

/** Both clocks, so much later (or earlier). */
export const later = (ms: number, now: Now = NOW): Now => ({
  wallMs: now.wallMs + ms,
  monotonicMs: now.monotonicMs + ms,
});

/** The defaults. */
export const LIMITS: Limits = {
  gracePeriodMs: 5 * MINUTE,
  parkedAfterMs: 30 * MINUTE,
  maxParked: null,
  minAgeMs: MINUTE,
  cpuIdleBelow: 1,
  staleConnectionAfterMs: HOUR,
  protectedProjects: [],
  protectedSessions: [],
};

export const SESSION = 'cd7ece16-29e6-474a-94b5-bd0998c39c7c';
export const CLAY_PID = 16199;
export const CLAY_HOME = '/home/ada/.clay';
export const JOURNAL = `${CLAY_HOME}/sessions/-srv-projects-alpha/${SESSION}.jsonl`;

/** A process's CPU time, its own and that of nobody else. */
export const cpuTime = (
  ms: number,
  id = { pid: 16246, startTicks: 135_996 },
): Pick<Evidence, 'cpuMs' | 'cpuMsByProcess'> => ({
  cpuMs: ms,
  cpuMsByProcess: new Map([[`${id.pid}:${id.startTicks}`, ms]]),
});

/**
 * A `claude` of SDK 0.2.92 whose turn was over an hour ago, in a project at rest: the leak. Nothing protects it, and it
 * is idle for longer than any wait.
 */
export function idleEvidence(overrides: Partial<Evidence> = {}): Evidence {
  const id = overrides.id ?? { pid: 16_246, startTicks: 135_996 };
  return {
    id,
    ppid: CLAY_PID,
    uid: 1000,
    startedAtMs: NOW.wallMs - DAY,
    ageMs: DAY,
    rssBytes: 194_424_832,
    cwd: '/srv/projects/alpha',
    sdkVersion: '0.2.92',
    doubts: [],
    unreadable: false,
    hasTerminal: false,
    ...cpuTime(1380, id),
    socketFds: 2,
    connections: [],
    children: 0,
    descendants: [],
    tools: [],
    sessionId: SESSION,
    status: null,
    waitingFor: null,
    statusUpdatedAtMs: null,
    transcriptChangedAtMs: NOW.wallMs - HOUR,
    alarm: null,
    journal: { state: 'found', path: JOURNAL, turn: 'ended', decidedBy: 'done', changedAtMs: NOW.wallMs - HOUR },
    clay: { state: 'answered', pid: CLAY_PID, home: CLAY_HOME, busyProjects: [] },
    project: { slug: 'alpha', path: '/srv/projects/alpha', inTurn: false },
    ...overrides,
  };
}

/** Idle since that moment, by all that is written down. */
export const idleSince = (wallMs: number): Partial<Evidence> => ({
  transcriptChangedAtMs: wallMs,
  journal: { state: 'found', path: JOURNAL, turn: 'ended', decidedBy: 'done', changedAtMs: wallMs },
});

/** A process of a conversation of its own, or of `sessionId`. */
export function processNumber(number: number, overrides: Partial<Evidence> = {}): Evidence {
  return idleEvidence({
    id: { pid: 20_000 + number, startTicks: 200_000 + number },
    sessionId: `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`,
    ...overrides,
  });
}

/** A CPU measurement that is none. */
export const QUIET: CpuUse = { percent: 0, overMs: 30 * SECOND, busy: false };

/** What a rule looks at, for an idle process. */
export const caseOf = (overrides: Partial<Evidence> = {}, more: Partial<Omit<Case, 'evidence'>> = {}): Case => ({
  evidence: idleEvidence(overrides),
  cpu: QUIET,
  connectionsAreStale: false,
  newerPid: null,
  limits: LIMITS,
  now: NOW,
  ...more,
});

/** Looks at processes again and again, as the service does. */
export type Watcher = {
  readonly look: (evidence: readonly Evidence[], now: Now) => Judgement[];
  /** The same, of one process. */
  readonly lookAt: (evidence: Evidence, now: Now) => Judgement;
};

export function watcher(limits: Limits = LIMITS): Watcher {
  let watches: ReadonlyMap<string, Watch> = new Map();
  const look = (evidence: readonly Evidence[], now: Now): Judgement[] => {
    const judged = judge(evidence, watches, limits, now);
    watches = judged.watches;
    return judged.judgements;
  };
  return { look, lookAt: (evidence, now) => only(look([evidence], now)) };
}

/** The one element of a list. */
export function only<T>(list: readonly T[]): T {
  const [first] = list;
  if (first === undefined || list.length !== 1) throw new Error(`one was expected, not ${list.length}`);
  return first;
}

/**
 * Judges what is there at {@link NOW} after a look three seconds before, in which CPU use began to be measured. What the
 * first look saw is the same, but for `firstLook`.
 */
export function judgeNow(
  evidence: readonly Evidence[],
  limits: Limits = LIMITS,
  firstLook: (each: Evidence) => Evidence = (each) => each,
): Judgement[] {
  const { look } = watcher(limits);
  look(evidence.map(firstLook), later(-3 * SECOND));
  return look(evidence, NOW);
}

/** The codes of what protects, in the order of the table; empty for an orphan. */
export const codesOf = (judgement: Judgement): string[] => judgement.reasons.map(({ code }) => code);
