import type { CpuUse } from '../../src/judge/cpu.ts';
import type { CpuPart, Evidence } from '../../src/judge/evidence.ts';
import { type Judgement, judge, type Tracking } from '../../src/judge/judge.ts';
import type { Clock, Policy } from '../../src/judge/policy.ts';
import type { RuleInput } from '../../src/judge/rules.ts';
import { keyOf } from '../../src/proc/process-id.ts';

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** The time of the evidence below, unless a test gives another. */
export const NOW: Clock = { wallMs: Date.parse('2026-11-22T12:00:00Z'), monotonicMs: 5 * DAY };

/** Both clocks, so much later (or earlier). */
export const later = (ms: number, now: Clock = NOW): Clock => ({
  wallMs: now.wallMs + ms,
  monotonicMs: now.monotonicMs + ms,
});

/** The defaults. */
export const LIMITS: Policy = {
  gracePeriodMs: 5 * MINUTE,
  parkedAfterMs: 30 * MINUTE,
  maxParked: null,
  minAgeMs: MINUTE,
  cpuIdleBelow: 5,
  staleConnectionAfterMs: HOUR,
  protectedProjects: [],
  protectedSessions: [],
};

export const SESSION = 'cd7ece16-29e6-474a-94b5-bd0998c39c7c';
export const CLAY_PID = 16199;
export const CLAY_HOME = '/home/ada/.clay';
export const JOURNAL = `${CLAY_HOME}/sessions/-srv-projects-alpha/${SESSION}.jsonl`;

/** A process's CPU time, its own and that of nobody else. */
export const cpuTime = (ms: number, id = { pid: 16246, startTicks: 135_996 }): Pick<Evidence, 'cpuParts'> => ({
  cpuParts: new Map([[keyOf(id), cpuPart(id.pid, { [keyOf(id)]: ms })]]),
});

/** A part with the CPU time (ms) of each living process in it, and of the dead that they waited for. */
export const cpuPart = (pid: number, living: Readonly<Record<string, number>>, reapedMs = 0): CpuPart => ({
  pid,
  cpuMs: reapedMs + Object.values(living).reduce((sum, ms) => sum + ms, 0),
  ownMsByProcess: new Map(Object.entries(living)),
});

/** The CPU time of all parts, ms. */
export const cpuMsOf = ({ cpuParts }: Evidence): number =>
  [...cpuParts.values()].reduce((sum, part) => sum + part.cpuMs, 0);

/**
 * A `claude` of SDK 0.2.92 whose turn was over an hour ago, in a project at rest: the leak. Nothing protects it, and it
 * is idle for longer than any wait.
 */
export function idleEvidence(overrides: Partial<Evidence> = {}): Evidence {
  const id = overrides.id ?? { pid: 16_246, startTicks: 135_996 };
  return {
    id,
    ppid: CLAY_PID,
    comm: 'claude',
    uid: 1000,
    startedAtMs: NOW.wallMs - DAY,
    ageMs: DAY,
    rssBytes: 194_424_832,
    reclaimableBytes: overrides.rssBytes ?? 194_424_832,
    cwd: '/srv/projects/alpha',
    sdkVersion: '0.2.92',
    claudeRelease: null,
    unknownSessionFields: [],
    issues: [],
    unreadable: false,
    hasTerminal: false,
    ...cpuTime(1380, id),
    loadPerCore: 0.5,
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
    transcriptChangedAtMs: NOW.wallMs - HOUR,
    schedule: null,
    journal: { state: 'found', path: JOURNAL, turn: 'ended', decidedBy: 'done', changedAtMs: NOW.wallMs - HOUR },
    journalDiskIsFull: false,
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
export const QUIET: CpuUse = { percent: 0, overMs: 30 * SECOND, busy: null };

/** The input of a rule for an idle process. */
export const ruleInput = (
  overrides: Partial<Evidence> = {},
  more: Partial<Omit<RuleInput, 'evidence'>> = {},
): RuleInput => ({
  evidence: idleEvidence(overrides),
  cpu: QUIET,
  connectionsAreStale: false,
  futureIsSettled: false,
  streamsUnseen: false,
  supersededBy: null,
  policy: LIMITS,
  now: NOW,
  ...more,
});

/** Judges processes sweep by sweep, as the service does. */
export type Sweeps = {
  readonly judgeAll: (evidence: readonly Evidence[], now: Clock) => Judgement[];
  /** The same, of one process. */
  readonly judgeSingle: (evidence: Evidence, now: Clock) => Judgement;
};

export function newSweeps(limits: Policy = LIMITS): Sweeps {
  let tracking: ReadonlyMap<string, Tracking> = new Map();
  const judgeAll = (evidence: readonly Evidence[], now: Clock): Judgement[] => {
    const judged = judge(evidence, tracking, limits, now);
    tracking = judged.tracking;
    return judged.judgements;
  };
  return { judgeAll, judgeSingle: (evidence, now) => single(judgeAll([evidence], now)) };
}

/** The one element of a list. */
export function single<T>(list: readonly T[]): T {
  const [first] = list;
  if (first === undefined || list.length !== 1) throw new Error(`one was expected, not ${list.length}`);
  return first;
}

/**
 * Judges the evidence at {@link NOW}, after a sweep three seconds before, which starts the CPU measurement. The evidence of
 * that first sweep is the same, changed by `firstEvidence`.
 */
export function judgeNow(
  evidence: readonly Evidence[],
  limits: Policy = LIMITS,
  firstEvidence: (evidence: Evidence) => Evidence = (evidence) => evidence,
): Judgement[] {
  const { judgeAll } = newSweeps(limits);
  judgeAll(evidence.map(firstEvidence), later(-3 * SECOND));
  return judgeAll(evidence, NOW);
}

/** The codes of what protects, in the order of the table; empty for an orphan. */
export const codesOf = (judgement: Judgement): string[] => judgement.reasons.map(({ code }) => code);
