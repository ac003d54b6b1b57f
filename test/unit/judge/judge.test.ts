import { describe, expect, it } from 'vitest';
import type { Evidence } from '../../../src/judge/evidence.ts';
import { type Judgement, judge } from '../../../src/judge/judge.ts';
import { PROTECTION_RULES, type ReasonCode } from '../../../src/judge/rules.ts';
import { keyOf } from '../../../src/proc/process-id.ts';
import {
  CLAY_HOME,
  codesOf,
  cpuMsOf,
  cpuTime,
  DAY,
  HOUR,
  idleEvidence,
  idleSince,
  JOURNAL,
  judgeNow,
  LIMITS,
  later,
  MINUTE,
  NOW,
  newSweeps,
  processNumber,
  SECOND,
  SESSION,
  single,
} from '../../helpers/evidence.ts';
import { canHoldTogether, PROTECTIONS, type Protection } from '../../helpers/protections.ts';

const POLL = 30 * SECOND;
const dead: Partial<Evidence> = { clay: { state: 'dead', home: CLAY_HOME } };

const idleMs = (judgement: Judgement): number => {
  if (judgement.verdict === 'protected') throw new Error(`protected: ${codesOf(judgement)}`);
  return judgement.idleMs;
};
const orphanOf = (judgement: Judgement): string =>
  judgement.verdict === 'protected' ? `protected ${codesOf(judgement)}` : `${judgement.verdict} ${judgement.orphan}`;

/** The process is idle in the first sweep, and as `protections` make it in the second. */
function judgeProtected(
  idle: Evidence,
  protections: readonly Protection[],
  others: readonly Evidence[] = [],
): Judgement {
  const now = protections.reduce((evidence, protection) => protection.evidence(evidence), idle);
  const limits = protections.reduce((all, protection) => protection.limits?.(all) ?? all, LIMITS);
  const { judgeAll } = newSweeps(limits);
  judgeAll([idle, ...others], later(-3 * SECOND));
  const found = judgeAll([now, ...others], NOW).find((judgement) => keyOf(judgement.evidence.id) === keyOf(idle.id));
  if (!found) throw new Error('it was not judged');
  return found;
}

describe('one process', () => {
  it('is reaped if it was idle for long and nothing protects it', () => {
    expect(single(judgeNow([idleEvidence()]))).toMatchObject({
      verdict: 'reap',
      orphan: 'parked',
      reasons: [],
      idleMs: HOUR,
      waitMs: 30 * MINUTE,
    });
  });
  it('is protected in the first sweep, in which CPU use cannot be measured', () => {
    const { judgements } = judge([idleEvidence()], new Map(), LIMITS, NOW);
    expect(single(judgements)).toMatchObject({
      verdict: 'protected',
      cpu: null,
      reasons: [{ code: 'cpu', detail: expect.stringContaining('not measured') }],
    });
  });
  it('is tracked by pid and start time: a new process with the same pid starts from zero', () => {
    const { judgeSingle } = newSweeps();
    judgeSingle(idleEvidence(), later(-3 * SECOND));
    const other = judgeSingle(idleEvidence({ id: { pid: 16_246, startTicks: 7_777_777 } }), NOW);
    expect(other).toMatchObject({
      cpu: null,
      reasons: [{ code: 'cpu', detail: expect.stringContaining('not measured') }],
    });
  });
  it('is no longer tracked when it is gone', () => {
    const first = judge([processNumber(1), processNumber(2)], new Map(), LIMITS, NOW);
    expect([...first.tracking.keys()]).toEqual(['20001:200001', '20002:200002']);
    const second = judge([processNumber(2)], first.tracking, LIMITS, later(POLL));
    expect([...second.tracking.keys()]).toEqual(['20002:200002']);
  });
  it('is returned with its evidence', () => {
    const evidence = idleEvidence();
    expect(single(judgeNow([evidence])).evidence).toBe(evidence);
  });
});

describe('each protection', () => {
  it('covers every rule code', () => {
    expect(new Set(PROTECTIONS.map(({ code }) => code))).toEqual(new Set(PROTECTION_RULES.map(({ code }) => code)));
  });
  it.each(PROTECTIONS.map((protection) => [protection.code, protection.name, protection] as const))(
    '%s protects by itself: %s',
    (code, _, protection) => {
      const judgement = judgeProtected(idleEvidence(), [protection]);
      expect(judgement.verdict).toBe('protected');
      expect(codesOf(judgement)).toEqual([code]);
      expect(judgement).not.toHaveProperty('orphan');
    },
  );
});

describe('each pair of protections', () => {
  const pairs = PROTECTIONS.flatMap((one, at) =>
    PROTECTIONS.slice(at + 1)
      .filter((other) => canHoldTogether(one.code, other.code))
      .map((other) => [`${one.code} (${one.name})`, `${other.code} (${other.name})`, one, other] as const),
  );
  it.each(pairs)('%s and %s: neither hides the other', (_, __, one, other) => {
    const judgement = judgeProtected(idleEvidence(), [one, other]);
    expect(judgement.verdict).toBe('protected');
    expect(new Set(codesOf(judgement))).toEqual(new Set([one.code, other.code]));
  });
  it('all protections at once are all reported', () => {
    const all = PROTECTIONS.filter(({ code }) => code !== 'waiting' && code !== 'api');
    expect(codesOf(judgeProtected(idleEvidence(), all))).toEqual(
      PROTECTION_RULES.map(({ code }) => code).filter((code) => code !== 'waiting' && code !== 'api'),
    );
  });
});

describe('each protection of each kind of orphan', () => {
  const newer = processNumber(1, { sessionId: SESSION });
  const kinds: readonly [string, Evidence, readonly Evidence[], readonly ReasonCode[]][] = [
    ['superseded', idleEvidence(), [newer], []],
    // Its journal is gone, so no turn can be open in it.
    ['deleted', idleEvidence({ journal: { state: 'missing' } }), [], ['turn']],
    // Nobody answers for a Clay that is dead.
    ['abandoned', idleEvidence(dead), [], ['processing', 'api']],
    ['parked', idleEvidence(), [], []],
  ];
  it.each(kinds)('%s is reaped if nothing protects it', (kind, idle, others) => {
    expect(orphanOf(judgeProtected(idle, [], others))).toBe(`reap ${kind}`);
  });
  const pairs = kinds.flatMap(([kind, idle, others, not]) =>
    PROTECTIONS.filter(({ code }) => !not.includes(code)).map(
      (protection) => [kind, protection.code, protection.name, idle, others, protection] as const,
    ),
  );
  it.each(pairs)('%s is protected by %s (%s)', (_, code, __, idle, others, protection) => {
    const judgement = judgeProtected(idle, [protection], others);
    expect(judgement.verdict).toBe('protected');
    expect(codesOf(judgement)).toEqual([code]);
  });
});

describe('the wait', () => {
  const newer = processNumber(1, { sessionId: SESSION });
  const since = (ms: number): Partial<Evidence> => idleSince(NOW.wallMs - ms);
  const kinds: readonly [string, number, (ms: number) => Evidence, readonly Evidence[]][] = [
    ['superseded', 5 * MINUTE, (ms) => idleEvidence(since(ms)), [newer]],
    [
      'deleted',
      5 * MINUTE,
      (ms) => idleEvidence({ journal: { state: 'missing' }, transcriptChangedAtMs: NOW.wallMs - ms }),
      [],
    ],
    ['abandoned', 5 * MINUTE, (ms) => idleEvidence({ ...since(ms), ...dead }), []],
    ['parked', 30 * MINUTE, (ms) => idleEvidence(since(ms)), []],
  ];
  it.each(kinds)('of a %s process is over after %d ms, and not 1 ms earlier', (kind, waitMs, idle, others) => {
    const judged = (ms: number): Judgement | undefined => judgeNow([idle(ms), ...others])[0];
    expect(judged(waitMs - 1)).toMatchObject({ verdict: 'grace', orphan: kind, idleMs: waitMs - 1, waitMs });
    expect(judged(waitMs)).toMatchObject({ verdict: 'reap', orphan: kind, idleMs: waitMs, waitMs });
  });
  it('of a parked process may be "never"', () => {
    const limits = { ...LIMITS, parkedAfterMs: Number.POSITIVE_INFINITY };
    const [first] = judgeNow([idleEvidence(idleSince(0))], limits);
    expect(first).toMatchObject({ verdict: 'grace', orphan: 'parked', waitMs: Number.POSITIVE_INFINITY });
    expect(judgeNow([idleEvidence({ ...idleSince(0), ...dead })], limits)[0]).toMatchObject({ verdict: 'reap' });
  });
  it('may be zero without weakening any protection', () => {
    const limits = { ...LIMITS, gracePeriodMs: 0, parkedAfterMs: 0 };
    const justNow = idleEvidence(idleSince(NOW.wallMs));
    expect(orphanOf(single(judgeNow([justNow], limits)))).toBe('reap parked');
    expect(codesOf(single(judgeNow([{ ...justNow, ageMs: 59_999 }], limits)))).toEqual(['young']);
    expect(codesOf(single(judgeNow([{ ...justNow, status: 'waiting' }], limits)))).toEqual(['waiting']);
  });
  it('counts from the latest recorded activity', () => {
    const latest = NOW.wallMs - 10 * MINUTE;
    const old = NOW.wallMs - DAY;
    const at = (transcript: number, journal: number, status: number): number =>
      idleMs(
        single(
          judgeNow([
            idleEvidence({
              transcriptChangedAtMs: transcript,
              journal: { state: 'found', path: JOURNAL, turn: 'ended', decidedBy: 'done', changedAtMs: journal },
              status: 'idle',
              statusUpdatedAtMs: status,
            }),
          ]),
        ),
      );
    expect([at(latest, old, old), at(old, latest, old), at(old, old, latest)]).toEqual([
      10 * MINUTE,
      10 * MINUTE,
      10 * MINUTE,
    ]);
  });
});

describe('superseded', () => {
  const old = idleEvidence();
  const kinds = (...evidence: Evidence[]): string[] =>
    judgeNow(evidence).map((judgement) => (judgement.verdict === 'protected' ? 'protected' : judgement.orphan));
  const newer = (overrides: Partial<Evidence> = {}): Evidence => processNumber(1, { sessionId: SESSION, ...overrides });

  it('is the older process of a conversation, in any order of the evidence', () => {
    expect(kinds(old, newer())).toEqual(['superseded', 'parked']);
    expect(kinds(newer(), old)).toEqual(['parked', 'superseded']);
  });
  it('is every process but the newest', () => {
    const third = processNumber(2, { sessionId: SESSION });
    expect(kinds(old, third, newer())).toEqual(['superseded', 'parked', 'superseded']);
  });
  it('depends on the start time, because pids are reused', () => {
    expect(kinds(old, newer({ id: { pid: 300, startTicks: 900_000 } }))).toEqual(['superseded', 'parked']);
  });
  it('is the one with the lower pid of two that began in the same tick', () => {
    expect(kinds(newer({ id: { pid: 16_247, startTicks: 135_996 } }), old)).toEqual(['parked', 'superseded']);
  });
  it('does not apply across users: a session file cannot end the process of another user', () => {
    expect(kinds(old, newer({ uid: 1001 }))).toEqual(['parked', 'parked']);
  });
  it('does not apply across Clays', () => {
    const elsewhere = { state: 'answered', pid: 7, home: '/home/ada/other', busyProjects: [] } as const;
    expect(kinds(old, newer({ clay: elsewhere }))).toEqual(['parked', 'parked']);
  });
  it('does not apply without a conversation', () => {
    const lost = { sessionId: null, journal: { state: 'unknown' } } as const;
    expect(kinds({ ...old, ...lost }, newer(lost))).toEqual(['parked', 'parked']);
  });
  it('also applies if the newer process is protected', () => {
    expect(kinds(old, newer({ hasTerminal: true }))).toEqual(['superseded', 'protected']);
  });
});

describe('max_parked', () => {
  /** Parked and idle for so many minutes each, in the order given. */
  const parked = (minutes: readonly number[], overrides: Partial<Evidence> = {}): Evidence[] =>
    minutes.map((idleMinutes, number) =>
      processNumber(number, { ...idleSince(NOW.wallMs - idleMinutes * MINUTE), ...overrides }),
    );
  const judged = (evidence: readonly Evidence[], maxParked: number | null, more = {}): string[] =>
    judgeNow(evidence, { ...LIMITS, maxParked, ...more }).map((judgement) =>
      judgement.verdict === 'protected' ? 'protected' : `${judgement.verdict} ${judgement.waitMs / MINUTE}`,
    );

  it('lets the longest idle ones wait only the grace period', () => {
    expect(judged(parked([10, 20, 15, 3]), 2)).toEqual(['grace 30', 'reap 5', 'reap 5', 'grace 30']);
  });
  it('never ends a process before the grace period', () => {
    expect(judged(parked([1, 2, 3]), 0)).toEqual(['grace 5', 'grace 5', 'grace 5']);
    expect(judged(parked([4, 5, 6]), 0)).toEqual(['grace 5', 'reap 5', 'reap 5']);
  });
  it('changes nothing up to the limit or without a limit', () => {
    expect(judged(parked([10, 20]), 2)).toEqual(['grace 30', 'grace 30']);
    expect(judged(parked([10, 20]), null)).toEqual(['grace 30', 'grace 30']);
  });
  it('shortens parked_after = "never"', () => {
    expect(judged(parked([10, 20]), 1, { parkedAfterMs: Number.POSITIVE_INFINITY })).toEqual([
      'grace Infinity',
      'reap 5',
    ]);
  });
  it('never makes a wait longer', () => {
    expect(judged(parked([1, 2]), 0, { parkedAfterMs: MINUTE })).toEqual(['reap 1', 'reap 1']);
  });
  it('counts each Clay separately', () => {
    const clay = { state: 'answered', pid: 7, home: '/home/bob/.clay', busyProjects: [] } as const;
    const others = parked([10, 20]).map((evidence) => ({
      ...evidence,
      id: { ...evidence.id, pid: evidence.id.pid + 500 },
      clay,
    }));
    expect(judged([...parked([10, 20]), ...others], 2)).toEqual(['grace 30', 'grace 30', 'grace 30', 'grace 30']);
    expect(judged([...parked([10, 20]), ...others], 1)).toEqual(['grace 30', 'reap 5', 'grace 30', 'reap 5']);
  });
  it('counts a Clay in dev mode separately from the ordinary one of the same home', () => {
    const clay = { state: 'answered', pid: 7, home: CLAY_HOME, busyProjects: [] } as const;
    const dev = [10, 20].map((idleMinutes, at) =>
      processNumber(500 + at, { ...idleSince(NOW.wallMs - idleMinutes * MINUTE), clay }),
    );
    expect(judged([...parked([10, 20]), ...dev], 2)).toEqual(['grace 30', 'grace 30', 'grace 30', 'grace 30']);
  });
  it('does not count protected processes or other orphans', () => {
    const [first, second, third] = parked([10, 20, 25]) as [Evidence, Evidence, Evidence];
    const working = { ...second, hasTerminal: true };
    const abandoned: Evidence = { ...third, clay: { state: 'dead', home: CLAY_HOME } };
    expect(judged([first, working, abandoned], 1)).toEqual(['grace 30', 'protected', 'reap 5']);
    const deleted = { ...first, journal: { state: 'missing' } as const };
    expect(judged([deleted, third], 1)).toEqual(['reap 5', 'grace 30']);
  });
  it('chooses the same ones of equally idle processes, in any order', () => {
    const equal = parked([10, 10, 10]);
    const surplus = (evidence: readonly Evidence[]): number[] =>
      judgeNow(evidence, { ...LIMITS, maxParked: 1 })
        .filter((judgement) => judgement.verdict === 'reap')
        .map((judgement) => judgement.evidence.id.pid)
        .sort();
    const expected = surplus(equal);
    expect(expected).toHaveLength(2);
    expect(surplus([...equal].reverse())).toEqual(expected);
    expect(surplus([equal[1], equal[2], equal[0]] as Evidence[])).toEqual(expected);
  });
});

describe('idle time', () => {
  it('grows from sweep to sweep', () => {
    const { judgeSingle } = newSweeps();
    const evidence = idleEvidence(idleSince(NOW.wallMs));
    judgeSingle(evidence, NOW);
    expect(idleMs(judgeSingle(evidence, later(POLL)))).toBe(POLL);
    expect(idleMs(judgeSingle(evidence, later(2 * POLL)))).toBe(2 * POLL);
  });
  it.each(
    PROTECTIONS.filter(({ limits }) => !limits).map(
      (protection) => [protection.code, protection.name, protection] as const,
    ),
  )('starts again from zero after one sweep with %s (%s)', (_, __, { evidence }) => {
    const { judgeSingle } = newSweeps();
    // Idle by all that is written down, so that only the service has seen what happened.
    const idle = idleEvidence({ ...idleSince(NOW.wallMs - DAY), startedAtMs: NOW.wallMs - 2 * DAY });
    judgeSingle(idle, later(-2 * POLL));
    expect(judgeSingle(idle, later(-POLL)).verdict).toBe('reap');
    expect(judgeSingle(evidence(idle), NOW).verdict).toBe('protected');
    const again = { ...idle, ...cpuTime(cpuMsOf(evidence(idle))) };
    const after = judgeSingle(again, later(POLL));
    expect(after.verdict).toBe('grace');
    expect(idleMs(after)).toBeLessThanOrEqual(POLL);
    for (let poll = 2; poll < 60; poll++) expect(judgeSingle(again, later(poll * POLL)).verdict).toBe('grace');
    expect(judgeSingle(again, later(62 * POLL)).verdict).toBe('reap');
  });
  it.each(
    PROTECTIONS.filter(({ limits, code }) => !limits && code !== 'cpu').map(
      (protection) => [protection.code, protection.name, protection] as const,
    ),
  )('begins when a sweep first finds it without %s (%s), even if the records are hours old', (_, __, { evidence }) => {
    const { judgeSingle } = newSweeps();
    const idle = idleEvidence({ ...idleSince(NOW.wallMs - DAY), startedAtMs: NOW.wallMs - 2 * DAY });
    expect(judgeSingle(evidence(idle), NOW).verdict).toBe('protected');
    expect(judgeSingle(idle, later(POLL))).toMatchObject({ verdict: 'grace', idleMs: 0 });
    expect(judgeSingle(idle, later(POLL + 30 * MINUTE - 1)).verdict).toBe('grace');
    expect(judgeSingle(idle, later(POLL + 30 * MINUTE)).verdict).toBe('reap');
  });
  it('does not include the time since a sweep in which it was at work', () => {
    const { judgeSingle } = newSweeps({ ...LIMITS, gracePeriodMs: POLL, parkedAfterMs: POLL });
    const idle = idleEvidence({ sessionId: null, journal: { state: 'unknown' }, transcriptChangedAtMs: null });
    judgeSingle(idle, later(-POLL));
    judgeSingle({ ...idle, tools: [{ pid: 5, why: 'own session' }] }, NOW);
    expect(orphanOf(judgeSingle(idle, later(POLL)))).toBe('grace parked');
    expect(orphanOf(judgeSingle(idle, later(2 * POLL)))).toBe('reap parked');
  });
  it('is shortened by any new record', () => {
    const { judgeSingle } = newSweeps();
    judgeSingle(idleEvidence(), later(-POLL));
    expect(judgeSingle(idleEvidence(), NOW).verdict).toBe('reap');
    const spoken = idleEvidence(idleSince(NOW.wallMs + 20 * SECOND));
    expect(judgeSingle(spoken, later(POLL))).toMatchObject({ verdict: 'grace', idleMs: 10 * SECOND });
    expect(idleMs(judgeSingle(spoken, later(2 * POLL)))).toBe(40 * SECOND);
  });
  it('survives a restart of the service if it is recorded', () => {
    const evidence = idleEvidence(idleSince(NOW.wallMs - 40 * MINUTE));
    const restarted = newSweeps();
    restarted.judgeSingle(evidence, NOW);
    expect(restarted.judgeSingle(evidence, later(3 * SECOND))).toMatchObject({
      verdict: 'reap',
      idleMs: 40 * MINUTE + 3 * SECOND,
    });
  });
  it('is only the observed time for a process without a session file', () => {
    const { judgeSingle } = newSweeps();
    // Nothing of a conversation can be its own, were it ever so old.
    const evidence = idleEvidence({ sessionId: null, journal: { state: 'unknown' }, transcriptChangedAtMs: null });
    judgeSingle(evidence, NOW);
    expect(judgeSingle(evidence, later(POLL))).toMatchObject({ verdict: 'grace', idleMs: POLL });
    expect(judgeSingle(evidence, later(30 * MINUTE - 1)).verdict).toBe('grace');
    expect(judgeSingle(evidence, later(30 * MINUTE)).verdict).toBe('reap');
  });
  it('stays zero if nothing of its conversation is recorded', () => {
    const { judgeSingle } = newSweeps();
    const evidence = idleEvidence({ journal: { state: 'unknown' }, transcriptChangedAtMs: null });
    for (let poll = 0; poll < 200; poll++) expect(judgeSingle(evidence, later(poll * POLL)).verdict).not.toBe('reap');
  });
  it('is at most the age if the conversation is deleted without a record', () => {
    const deleted = { journal: { state: 'missing' }, transcriptChangedAtMs: null } as const;
    expect(single(judgeNow([idleEvidence({ ...deleted, ageMs: 4 * MINUTE })]))).toMatchObject({
      verdict: 'grace',
      orphan: 'deleted',
      idleMs: 4 * MINUTE,
    });
    expect(orphanOf(single(judgeNow([idleEvidence({ ...deleted, ageMs: 5 * MINUTE })])))).toBe('reap deleted');
  });
});

describe('clocks', () => {
  const fresh = idleEvidence(idleSince(NOW.wallMs));
  it('a wall clock set forward adds no idle time', () => {
    const { judgeSingle } = newSweeps();
    judgeSingle(fresh, NOW);
    const set = { wallMs: NOW.wallMs + 10 * DAY, monotonicMs: NOW.monotonicMs + POLL };
    expect(judgeSingle(fresh, set)).toMatchObject({ verdict: 'grace', idleMs: POLL });
  });
  it('a night of suspension adds no idle time: the monotonic clock stands still', () => {
    const { judgeSingle } = newSweeps();
    judgeSingle(fresh, NOW);
    judgeSingle(fresh, later(POLL));
    const morning = { wallMs: NOW.wallMs + 8 * HOUR, monotonicMs: NOW.monotonicMs + 2 * POLL };
    expect(judgeSingle(fresh, morning)).toMatchObject({ verdict: 'grace', idleMs: 2 * POLL });
  });
  it.each([
    ['2 seconds after the last activity', HOUR + 3 * SECOND],
    ['an hour', 2 * HOUR],
    ['a year', 365 * DAY],
  ])('a wall clock set back (%s) protects for 10 minutes, then the wait begins', (_, back) => {
    const { judgeSingle } = newSweeps();
    const sweep = (ms: number): Judgement => {
      const now = later(ms);
      const evidence = idleEvidence({ ageMs: DAY + ms, startedAtMs: now.wallMs - back - DAY - ms });
      return judgeSingle(evidence, { ...now, wallMs: now.wallMs - back });
    };
    const verdicts = new Map<string, number>();
    for (let ms = 0; ms <= HOUR; ms += POLL) {
      const { verdict } = sweep(ms);
      if (!verdicts.has(verdict)) verdicts.set(verdict, ms);
    }
    expect([...verdicts.keys()]).toEqual(['protected', 'grace', 'reap']);
    expect(verdicts.get('reap')).toBe((verdicts.get('grace') ?? 0) + 30 * MINUTE);
    expect(verdicts.get('grace')).toBeLessThanOrEqual(10 * MINUTE);
  });
  it('a process that writes in the future is not reaped', () => {
    const { judgeSingle } = newSweeps();
    for (let ms = 0; ms <= 2 * HOUR; ms += POLL) {
      const judgement = judgeSingle(idleEvidence(idleSince(NOW.wallMs + 365 * DAY + ms)), later(ms));
      expect(codesOf(judgement)).toContain('unverified');
    }
  });
  it('a wall clock set back by less than the idle time only shortens it', () => {
    const { judgeSingle } = newSweeps();
    judgeSingle(idleEvidence(), NOW);
    const back = { wallMs: NOW.wallMs - 50 * MINUTE, monotonicMs: NOW.monotonicMs + POLL };
    expect(judgeSingle(idleEvidence(), back)).toMatchObject({ verdict: 'grace', idleMs: 10 * MINUTE });
  });
  it('a monotonic clock that seems to run backwards adds no idle time', () => {
    const { judgeSingle } = newSweeps();
    judgeSingle(fresh, NOW);
    const odd = { wallMs: NOW.wallMs + POLL, monotonicMs: NOW.monotonicMs - HOUR };
    expect(idleMs(judgeSingle(fresh, odd))).toBe(0);
  });
});

describe('stale connections', () => {
  const stream = { inode: 30_740, local: '0100007F:B630', remote: '0100007F:0FAA' };
  const listening = (overrides: Partial<Evidence> = {}): Evidence =>
    idleEvidence({ ...idleSince(NOW.wallMs - DAY), connections: [stream], ...overrides });
  /** Looks every 30 s from `from` up to and including `to`; gives the last judgement. */
  const watch = (
    { judgeSingle }: ReturnType<typeof newSweeps>,
    evidence: Evidence,
    from: number,
    to: number,
  ): Judgement | undefined => {
    let last: Judgement | undefined;
    for (let at = from; at <= to; at += POLL) last = judgeSingle(evidence, later(at));
    return last;
  };

  it('protect until they have been unchanged for stale_connection_after', () => {
    const service = newSweeps();
    // The first sweep measures no CPU use, so it is unknown whether anything else is active.
    watch(service, listening(), 0, HOUR - POLL);
    expect(codesOf(service.judgeSingle(listening(), later(HOUR - 1)))).toEqual(['connection']);
    expect(service.judgeSingle(listening(), later(HOUR)).verdict).toBe('grace');
  });
  it('start the whole wait when they no longer protect', () => {
    const service = newSweeps();
    watch(service, listening(), 0, HOUR);
    expect(watch(service, listening(), HOUR + POLL, HOUR + 29 * MINUTE)?.verdict).toBe('grace');
    expect(watch(service, listening(), HOUR + 29 * MINUTE + POLL, HOUR + 31 * MINUTE)?.verdict).toBe('reap');
  });
  it.each([
    ['another socket', [{ ...stream, inode: 30_999 }]],
    ['another local port', [{ ...stream, local: '0100007F:B631' }]],
    ['another peer', [{ ...stream, remote: '0100007F:1F90' }]],
    ['one more', [stream, { ...stream, inode: 30_999 }]],
    ['none for a while', []],
  ])('start again after any change of a conversation that is not known to be at rest: %s', (_, changed) => {
    const service = newSweeps();
    const unknown = { transcriptChangedAtMs: null };
    watch(service, listening(unknown), 0, HOUR - POLL);
    service.judgeSingle(listening({ ...unknown, connections: changed }), later(HOUR - POLL / 2));
    expect(codesOf(service.judgeSingle(listening(unknown), later(HOUR)))).toEqual(['connection']);
    expect(codesOf(service.judgeSingle(listening(unknown), later(2 * HOUR - POLL)))).toEqual(['connection']);
    expect(service.judgeSingle(listening(unknown), later(2 * HOUR)).verdict).toBe('grace');
  });
  it('do not start again if a conversation at rest connects to the same address each minute', () => {
    const service = newSweeps();
    const anew = (minute: number): Evidence =>
      listening({ connections: [{ inode: 40_000 + minute, local: `0100007F:${minute}`, remote: stream.remote }] });
    for (let minute = 0; minute < 60; minute++) {
      expect(codesOf(service.judgeSingle(anew(minute), later(minute * MINUTE)))).toContain('connection');
    }
    const verdicts = Array.from({ length: 35 }, (_, minute) =>
      service.judgeSingle(anew(60 + minute), later((60 + minute) * MINUTE)),
    );
    expect(verdicts.findIndex(({ verdict }) => verdict === 'grace')).toBeLessThanOrEqual(1);
    expect(verdicts.at(-1)?.verdict).toBe('reap');
    const call = { inode: 50_000, local: '0100007F:C350', remote: '0A00000A:01BB' };
    expect(codesOf(service.judgeSingle(listening({ connections: [stream, call] }), later(95 * MINUTE)))).toEqual([
      'connection',
    ]);
  });
  it('do not depend on the order in which the kernel lists them', () => {
    const other = { ...stream, inode: 30_999 };
    const service = newSweeps();
    watch(service, listening({ connections: [stream, other] }), 0, HOUR - POLL);
    expect(service.judgeSingle(listening({ connections: [other, stream] }), later(HOUR)).verdict).toBe('grace');
  });
  it.each(
    PROTECTIONS.filter(({ code, limits }) => code !== 'connection' && !limits).map(
      (protection) => [protection.code, protection.name, protection] as const,
    ),
  )('start again when another rule holds: %s (%s)', (code, _, { evidence }) => {
    const service = newSweeps();
    const working = evidence(listening());
    watch(service, listening(), 0, HOUR - POLL);
    expect(codesOf(service.judgeSingle(working, later(HOUR - POLL / 2)))).toContain(code);
    const again = listening(cpuTime(cpuMsOf(working)));
    expect(codesOf(service.judgeSingle(again, later(HOUR)))).toEqual(['connection']);
    expect(codesOf(service.judgeSingle(again, later(2 * HOUR - POLL)))).toEqual(['connection']);
  });
  it('protect again when another rule holds after they became stale', () => {
    const service = newSweeps();
    watch(service, listening(), 0, HOUR);
    expect(codesOf(service.judgeSingle(listening({ status: 'busy' }), later(HOUR + POLL)))).toEqual([
      'connection',
      'busy',
    ]);
    expect(codesOf(service.judgeSingle(listening(), later(HOUR + 2 * POLL)))).toEqual(['connection']);
  });
  it('never become stale with stale_connection_after = "never"', () => {
    const service = newSweeps({ ...LIMITS, staleConnectionAfterMs: Number.POSITIVE_INFINITY });
    service.judgeSingle(listening(), NOW);
    expect(codesOf(service.judgeSingle(listening(), later(1000 * DAY)))).toEqual(['connection']);
  });
  it('do not become stale because the wall clock is set', () => {
    const service = newSweeps();
    service.judgeSingle(listening(), NOW);
    const set = { wallMs: NOW.wallMs + 10 * DAY, monotonicMs: NOW.monotonicMs + POLL };
    expect(codesOf(service.judgeSingle(listening(), set))).toEqual(['connection']);
  });
});

describe('many processes', () => {
  it('are judged independently and in order', () => {
    const evidence = PROTECTIONS.filter(({ limits }) => !limits).map(({ evidence }, number) =>
      evidence(processNumber(number)),
    );
    const quiet = evidence.map((candidate, number) => ({ ...candidate, ...cpuTime(1380, processNumber(number).id) }));
    const { judgeAll } = newSweeps();
    judgeAll(quiet, later(-3 * SECOND));
    const judged = judgeAll(evidence, NOW);
    expect(judged.map((judgement) => codesOf(judgement))).toEqual(
      PROTECTIONS.filter(({ limits }) => !limits).map(({ code }) => [code]),
    );
    expect(judged.map((judgement) => judgement.evidence)).toEqual(evidence);
  });
  it('handles an empty list', () => {
    expect(judge([], new Map(), LIMITS, NOW)).toMatchObject({ judgements: [], tracking: new Map() });
  });
});
