import { describe, expect, it } from 'vitest';
import { type Evidence, keyOf } from '../../src/judge/evidence.ts';
import { type Judgement, judge } from '../../src/judge/judge.ts';
import { PROTECTION, type ReasonCode } from '../../src/judge/rules.ts';
import {
  CLAY_HOME,
  codesOf,
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
  only,
  processNumber,
  SECOND,
  SESSION,
  watcher,
} from './evidence.ts';
import { canHoldTogether, PROTECTIONS, type Protection } from './protections.ts';

const POLL = 30 * SECOND;
const dead: Partial<Evidence> = { clay: { state: 'dead', home: CLAY_HOME } };

const idleMs = (judgement: Judgement): number => {
  if (judgement.verdict === 'protected') throw new Error(`protected: ${codesOf(judgement)}`);
  return judgement.idleMs;
};
const orphanOf = (judgement: Judgement): string =>
  judgement.verdict === 'protected' ? `protected ${codesOf(judgement)}` : `${judgement.verdict} ${judgement.orphan}`;

/** The process is as `protections` make it at the second look, and was idle at the first. */
function judgeProtected(
  idle: Evidence,
  protections: readonly Protection[],
  others: readonly Evidence[] = [],
): Judgement {
  const now = protections.reduce((evidence, each) => each.evidence(evidence), idle);
  const limits = protections.reduce((all, each) => each.limits?.(all) ?? all, LIMITS);
  const { look } = watcher(limits);
  look([idle, ...others], later(-3 * SECOND));
  const found = look([now, ...others], NOW).find((each) => keyOf(each.evidence.id) === keyOf(idle.id));
  if (!found) throw new Error('it was not judged');
  return found;
}

describe('one process', () => {
  it('is reaped if it was idle for long and nothing protects it', () => {
    expect(only(judgeNow([idleEvidence()]))).toMatchObject({
      verdict: 'reap',
      orphan: 'parked',
      reasons: [],
      idleMs: HOUR,
      waitMs: 30 * MINUTE,
    });
  });
  it('is protected at the first look, in which CPU cannot be measured', () => {
    const { judgements } = judge([idleEvidence()], new Map(), LIMITS, NOW);
    expect(only(judgements)).toMatchObject({
      verdict: 'protected',
      cpu: null,
      reasons: [{ code: 'cpu', detail: expect.stringContaining('not measured') }],
    });
  });
  it('is remembered by its pid and start time: another process of that pid is looked at for the first time', () => {
    const { lookAt } = watcher();
    lookAt(idleEvidence(), later(-3 * SECOND));
    const other = lookAt(idleEvidence({ id: { pid: 16_246, startTicks: 7_777_777 } }), NOW);
    expect(other).toMatchObject({
      cpu: null,
      reasons: [{ code: 'cpu', detail: expect.stringContaining('not measured') }],
    });
  });
  it('is forgotten when it is gone', () => {
    const first = judge([processNumber(1), processNumber(2)], new Map(), LIMITS, NOW);
    expect([...first.watches.keys()]).toEqual(['20001:200001', '20002:200002']);
    const second = judge([processNumber(2)], first.watches, LIMITS, later(POLL));
    expect([...second.watches.keys()]).toEqual(['20002:200002']);
  });
  it('keeps the evidence it was judged by', () => {
    const evidence = idleEvidence();
    expect(only(judgeNow([evidence])).evidence).toBe(evidence);
  });
});

describe('each protection', () => {
  it('is here', () => {
    expect(new Set(PROTECTIONS.map(({ code }) => code))).toEqual(new Set(PROTECTION.map(({ code }) => code)));
  });
  it.each(PROTECTIONS.map((each) => [each.code, each.name, each] as const))(
    '%s protects by itself: %s',
    (code, _, each) => {
      const judgement = judgeProtected(idleEvidence(), [each]);
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
  it('all at once, as far as they can hold together', () => {
    const all = PROTECTIONS.filter(({ code }) => code !== 'waiting' && code !== 'api');
    expect(codesOf(judgeProtected(idleEvidence(), all))).toEqual(
      PROTECTION.map(({ code }) => code).filter((code) => code !== 'waiting' && code !== 'api'),
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
  it.each(kinds)('%s, and nothing protects it', (kind, idle, others) => {
    expect(orphanOf(judgeProtected(idle, [], others))).toBe(`reap ${kind}`);
  });
  const pairs = kinds.flatMap(([kind, idle, others, not]) =>
    PROTECTIONS.filter(({ code }) => !not.includes(code)).map(
      (each) => [kind, each.code, each.name, idle, others, each] as const,
    ),
  );
  it.each(pairs)('%s, protected by %s (%s)', (_, code, __, idle, others, protection) => {
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
  it.each(kinds)('of a %s one is over at %d ms, and not a millisecond before', (kind, waitMs, idle, others) => {
    const judged = (ms: number): Judgement | undefined => judgeNow([idle(ms), ...others])[0];
    expect(judged(waitMs - 1)).toMatchObject({ verdict: 'grace', orphan: kind, idleMs: waitMs - 1, waitMs });
    expect(judged(waitMs)).toMatchObject({ verdict: 'reap', orphan: kind, idleMs: waitMs, waitMs });
  });
  it('of a parked one may be for ever', () => {
    const limits = { ...LIMITS, parkedAfterMs: Number.POSITIVE_INFINITY };
    const [first] = judgeNow([idleEvidence(idleSince(0))], limits);
    expect(first).toMatchObject({ verdict: 'grace', orphan: 'parked', waitMs: Number.POSITIVE_INFINITY });
    expect(judgeNow([idleEvidence({ ...idleSince(0), ...dead })], limits)[0]).toMatchObject({ verdict: 'reap' });
  });
  it('may be zero, and still every protection holds', () => {
    const limits = { ...LIMITS, gracePeriodMs: 0, parkedAfterMs: 0 };
    const justNow = idleEvidence(idleSince(NOW.wallMs));
    expect(orphanOf(only(judgeNow([justNow], limits)))).toBe('reap parked');
    expect(codesOf(only(judgeNow([{ ...justNow, ageMs: 59_999 }], limits)))).toEqual(['young']);
    expect(codesOf(only(judgeNow([{ ...justNow, status: 'waiting' }], limits)))).toEqual(['waiting']);
  });
  it('counts from the latest of all that is written down', () => {
    const latest = NOW.wallMs - 10 * MINUTE;
    const old = NOW.wallMs - DAY;
    const at = (transcript: number, journal: number, status: number): number =>
      idleMs(
        only(
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
    judgeNow(evidence).map((each) => (each.verdict === 'protected' ? 'protected' : each.orphan));
  const newer = (overrides: Partial<Evidence> = {}): Evidence => processNumber(1, { sessionId: SESSION, ...overrides });

  it('is the older process of a conversation, wherever it stands', () => {
    expect(kinds(old, newer())).toEqual(['superseded', 'parked']);
    expect(kinds(newer(), old)).toEqual(['parked', 'superseded']);
  });
  it('is every one but the newest', () => {
    const third = processNumber(2, { sessionId: SESSION });
    expect(kinds(old, third, newer())).toEqual(['superseded', 'parked', 'superseded']);
  });
  it('goes by the start time, for pids come round', () => {
    expect(kinds(old, newer({ id: { pid: 300, startTicks: 900_000 } }))).toEqual(['superseded', 'parked']);
  });
  it('of two that began in the same tick is the one with the lower pid', () => {
    expect(kinds(newer({ id: { pid: 16_247, startTicks: 135_996 } }), old)).toEqual(['parked', 'superseded']);
  });
  it('stays within one user: another cannot have its process ended by a session file', () => {
    expect(kinds(old, newer({ uid: 1001 }))).toEqual(['parked', 'parked']);
  });
  it('stays within one Clay', () => {
    const elsewhere = { state: 'answered', pid: 7, home: '/home/ada/other', busyProjects: [] } as const;
    expect(kinds(old, newer({ clay: elsewhere }))).toEqual(['parked', 'parked']);
  });
  it('needs a conversation', () => {
    const lost = { sessionId: null, journal: { state: 'unknown' } } as const;
    expect(kinds({ ...old, ...lost }, newer(lost))).toEqual(['parked', 'parked']);
  });
  it('holds too if the newer one is protected', () => {
    expect(kinds(old, newer({ hasTerminal: true }))).toEqual(['superseded', 'protected']);
  });
});

describe('max_parked', () => {
  /** Parked and idle for so many minutes each, in the order given. */
  const parked = (minutes: readonly number[], overrides: Partial<Evidence> = {}): Evidence[] =>
    minutes.map((each, number) => processNumber(number, { ...idleSince(NOW.wallMs - each * MINUTE), ...overrides }));
  const judged = (evidence: readonly Evidence[], maxParked: number | null, more = {}): string[] =>
    judgeNow(evidence, { ...LIMITS, maxParked, ...more }).map((each) =>
      each.verdict === 'protected' ? 'protected' : `${each.verdict} ${each.waitMs / MINUTE}`,
    );

  it('lets the longest idle ones wait only the grace period', () => {
    expect(judged(parked([10, 20, 15, 3]), 2)).toEqual(['grace 30', 'reap 5', 'reap 5', 'grace 30']);
  });
  it('still waits the grace period', () => {
    expect(judged(parked([1, 2, 3]), 0)).toEqual(['grace 5', 'grace 5', 'grace 5']);
    expect(judged(parked([4, 5, 6]), 0)).toEqual(['grace 5', 'reap 5', 'reap 5']);
  });
  it('changes nothing if there are no more than that, or if it is unset', () => {
    expect(judged(parked([10, 20]), 2)).toEqual(['grace 30', 'grace 30']);
    expect(judged(parked([10, 20]), null)).toEqual(['grace 30', 'grace 30']);
  });
  it('shortens a wait that has no end', () => {
    expect(judged(parked([10, 20]), 1, { parkedAfterMs: Number.POSITIVE_INFINITY })).toEqual([
      'grace Infinity',
      'reap 5',
    ]);
  });
  it('never makes a wait longer', () => {
    expect(judged(parked([1, 2]), 0, { parkedAfterMs: MINUTE })).toEqual(['reap 1', 'reap 1']);
  });
  it('counts each Clay for itself', () => {
    const clay = { state: 'answered', pid: 7, home: '/home/bob/.clay', busyProjects: [] } as const;
    const others = parked([10, 20]).map((each) => ({ ...each, id: { ...each.id, pid: each.id.pid + 500 }, clay }));
    expect(judged([...parked([10, 20]), ...others], 2)).toEqual(['grace 30', 'grace 30', 'grace 30', 'grace 30']);
    expect(judged([...parked([10, 20]), ...others], 1)).toEqual(['grace 30', 'reap 5', 'grace 30', 'reap 5']);
  });
  it('counts an ordinary Clay and one in dev mode for themselves, though they share a home', () => {
    const clay = { state: 'answered', pid: 7, home: CLAY_HOME, busyProjects: [] } as const;
    const dev = [10, 20].map((each, at) => processNumber(500 + at, { ...idleSince(NOW.wallMs - each * MINUTE), clay }));
    expect(judged([...parked([10, 20]), ...dev], 2)).toEqual(['grace 30', 'grace 30', 'grace 30', 'grace 30']);
  });
  it('counts neither the protected nor other orphans', () => {
    const [first, second, third] = parked([10, 20, 25]) as [Evidence, Evidence, Evidence];
    const working = { ...second, hasTerminal: true };
    const abandoned: Evidence = { ...third, clay: { state: 'dead', home: CLAY_HOME } };
    expect(judged([first, working, abandoned], 1)).toEqual(['grace 30', 'protected', 'reap 5']);
    const deleted = { ...first, journal: { state: 'missing' } as const };
    expect(judged([deleted, third], 1)).toEqual(['reap 5', 'grace 30']);
  });
  it('takes of those idle equally long always the same ones, in whatever order they come', () => {
    const equal = parked([10, 10, 10]);
    const surplus = (evidence: readonly Evidence[]): number[] =>
      judgeNow(evidence, { ...LIMITS, maxParked: 1 })
        .filter((each) => each.verdict === 'reap')
        .map((each) => each.evidence.id.pid)
        .sort();
    const expected = surplus(equal);
    expect(expected).toHaveLength(2);
    expect(surplus([...equal].reverse())).toEqual(expected);
    expect(surplus([equal[1], equal[2], equal[0]] as Evidence[])).toEqual(expected);
  });
});

describe('idle time', () => {
  it('goes on from look to look', () => {
    const { lookAt } = watcher();
    const evidence = idleEvidence(idleSince(NOW.wallMs));
    lookAt(evidence, NOW);
    expect(idleMs(lookAt(evidence, later(POLL)))).toBe(POLL);
    expect(idleMs(lookAt(evidence, later(2 * POLL)))).toBe(2 * POLL);
  });
  it.each(PROTECTIONS.filter(({ limits }) => !limits).map((each) => [each.code, each.name, each] as const))(
    'starts again from zero after one look with: %s (%s)',
    (_, __, { evidence }) => {
      const { lookAt } = watcher();
      // Idle by all that is written down, so that only the service has seen what happened.
      const idle = idleEvidence({ ...idleSince(NOW.wallMs - DAY), startedAtMs: NOW.wallMs - 2 * DAY });
      lookAt(idle, later(-2 * POLL));
      expect(lookAt(idle, later(-POLL)).verdict).toBe('reap');
      expect(lookAt(evidence(idle), NOW).verdict).toBe('protected');
      const again = { ...idle, ...cpuTime(evidence(idle).cpuMs) };
      const after = lookAt(again, later(POLL));
      expect(after.verdict).toBe('grace');
      expect(idleMs(after)).toBeLessThanOrEqual(POLL);
      for (let poll = 2; poll < 60; poll++) expect(lookAt(again, later(poll * POLL)).verdict).toBe('grace');
      expect(lookAt(again, later(62 * POLL)).verdict).toBe('reap');
    },
  );
  it.each(
    PROTECTIONS.filter(({ limits, code }) => !limits && code !== 'cpu').map(
      (each) => [each.code, each.name, each] as const,
    ),
  )(
    'begins when it is first seen without: %s (%s), be it for hours by all that is written down',
    (_, __, { evidence }) => {
      const { lookAt } = watcher();
      const idle = idleEvidence({ ...idleSince(NOW.wallMs - DAY), startedAtMs: NOW.wallMs - 2 * DAY });
      expect(lookAt(evidence(idle), NOW).verdict).toBe('protected');
      expect(lookAt(idle, later(POLL))).toMatchObject({ verdict: 'grace', idleMs: 0 });
      expect(lookAt(idle, later(POLL + 30 * MINUTE - 1)).verdict).toBe('grace');
      expect(lookAt(idle, later(POLL + 30 * MINUTE)).verdict).toBe('reap');
    },
  );
  it('is not counted for the time in which nobody looked: what was at work one look ago may have stopped just now', () => {
    const { lookAt } = watcher({ ...LIMITS, gracePeriodMs: POLL, parkedAfterMs: POLL });
    const idle = idleEvidence({ sessionId: null, journal: { state: 'unknown' }, transcriptChangedAtMs: null });
    lookAt(idle, later(-POLL));
    lookAt({ ...idle, tools: [{ pid: 5, why: 'own session' }] }, NOW);
    expect(orphanOf(lookAt(idle, later(POLL)))).toBe('grace parked');
    expect(orphanOf(lookAt(idle, later(2 * POLL)))).toBe('reap parked');
  });
  it('is shortened by anything new that is written down', () => {
    const { lookAt } = watcher();
    lookAt(idleEvidence(), later(-POLL));
    expect(lookAt(idleEvidence(), NOW).verdict).toBe('reap');
    const spoken = idleEvidence(idleSince(NOW.wallMs + 20 * SECOND));
    expect(lookAt(spoken, later(POLL))).toMatchObject({ verdict: 'grace', idleMs: 10 * SECOND });
    expect(idleMs(lookAt(spoken, later(2 * POLL)))).toBe(40 * SECOND);
  });
  it('outlives a restart of the service where it is written down', () => {
    const evidence = idleEvidence(idleSince(NOW.wallMs - 40 * MINUTE));
    const restarted = watcher();
    restarted.lookAt(evidence, NOW);
    expect(restarted.lookAt(evidence, later(3 * SECOND))).toMatchObject({
      verdict: 'reap',
      idleMs: 40 * MINUTE + 3 * SECOND,
    });
  });
  it('is only what the service saw for a process without a session file', () => {
    const { lookAt } = watcher();
    // Nothing of a conversation can be its own, were it ever so old.
    const evidence = idleEvidence({ sessionId: null, journal: { state: 'unknown' }, transcriptChangedAtMs: null });
    lookAt(evidence, NOW);
    expect(lookAt(evidence, later(POLL))).toMatchObject({ verdict: 'grace', idleMs: POLL });
    expect(lookAt(evidence, later(30 * MINUTE - 1)).verdict).toBe('grace');
    expect(lookAt(evidence, later(30 * MINUTE)).verdict).toBe('reap');
  });
  it('does not start if nothing of its conversation is written down anywhere', () => {
    const { lookAt } = watcher();
    const evidence = idleEvidence({ journal: { state: 'unknown' }, transcriptChangedAtMs: null });
    for (let poll = 0; poll < 200; poll++) expect(lookAt(evidence, later(poll * POLL)).verdict).not.toBe('reap');
  });
  it('of one whose conversation is deleted, and of which nothing is left, is no longer than its age', () => {
    const deleted = { journal: { state: 'missing' }, transcriptChangedAtMs: null } as const;
    expect(only(judgeNow([idleEvidence({ ...deleted, ageMs: 4 * MINUTE })]))).toMatchObject({
      verdict: 'grace',
      orphan: 'deleted',
      idleMs: 4 * MINUTE,
    });
    expect(orphanOf(only(judgeNow([idleEvidence({ ...deleted, ageMs: 5 * MINUTE })])))).toBe('reap deleted');
  });
});

describe('clocks', () => {
  const fresh = idleEvidence(idleSince(NOW.wallMs));
  it('a wall clock set forward makes nothing idle', () => {
    const { lookAt } = watcher();
    lookAt(fresh, NOW);
    const set = { wallMs: NOW.wallMs + 10 * DAY, monotonicMs: NOW.monotonicMs + POLL };
    expect(lookAt(fresh, set)).toMatchObject({ verdict: 'grace', idleMs: POLL });
  });
  it('a night of suspension makes nothing idle: the monotonic clock stands still', () => {
    const { lookAt } = watcher();
    lookAt(fresh, NOW);
    lookAt(fresh, later(POLL));
    const morning = { wallMs: NOW.wallMs + 8 * HOUR, monotonicMs: NOW.monotonicMs + 2 * POLL };
    expect(lookAt(fresh, morning)).toMatchObject({ verdict: 'grace', idleMs: 2 * POLL });
  });
  it('a wall clock set back protects until it has caught up, and the idle time starts again', () => {
    const { lookAt } = watcher();
    const evidence = idleEvidence();
    lookAt(evidence, later(-POLL));
    expect(lookAt(evidence, NOW).verdict).toBe('reap');
    const back = { wallMs: NOW.wallMs - 2 * HOUR, monotonicMs: NOW.monotonicMs + POLL };
    expect(codesOf(lookAt(evidence, back))).toEqual(['unverified']);
    const caughtUp = { wallMs: NOW.wallMs - HOUR, monotonicMs: NOW.monotonicMs + HOUR };
    expect(lookAt(evidence, caughtUp).verdict).toBe('grace');
  });
  it('a wall clock set back by less than the idle time only shortens it', () => {
    const { lookAt } = watcher();
    lookAt(idleEvidence(), NOW);
    const back = { wallMs: NOW.wallMs - 50 * MINUTE, monotonicMs: NOW.monotonicMs + POLL };
    expect(lookAt(idleEvidence(), back)).toMatchObject({ verdict: 'grace', idleMs: 10 * MINUTE });
  });
  it('a monotonic clock that seems to run backwards counts nothing', () => {
    const { lookAt } = watcher();
    lookAt(fresh, NOW);
    const odd = { wallMs: NOW.wallMs + POLL, monotonicMs: NOW.monotonicMs - HOUR };
    expect(idleMs(lookAt(fresh, odd))).toBe(0);
  });
});

describe('stale connections', () => {
  const stream = { inode: 30_740, local: '0100007F:B630', remote: '0100007F:0FAA' };
  const listening = (overrides: Partial<Evidence> = {}): Evidence =>
    idleEvidence({ ...idleSince(NOW.wallMs - DAY), connections: [stream], ...overrides });
  /** Looks every 30 s from `from` up to and including `to`; gives the last judgement. */
  const watch = (
    { lookAt }: ReturnType<typeof watcher>,
    evidence: Evidence,
    from: number,
    to: number,
  ): Judgement | undefined => {
    let last: Judgement | undefined;
    for (let at = from; at <= to; at += POLL) last = lookAt(evidence, later(at));
    return last;
  };

  it('count until they were the very same for the whole time, and no longer', () => {
    const service = watcher();
    // The first look measures no CPU, so it is not yet known that nothing else goes on.
    watch(service, listening(), 0, HOUR - POLL);
    expect(codesOf(service.lookAt(listening(), later(HOUR - 1)))).toEqual(['connection']);
    expect(service.lookAt(listening(), later(HOUR)).verdict).toBe('grace');
  });
  it('then the idle time starts, and the process has to wait for its whole wait', () => {
    const service = watcher();
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
  ])('start again with any change: %s', (_, changed) => {
    const service = watcher();
    watch(service, listening(), 0, HOUR - POLL);
    service.lookAt(listening({ connections: changed }), later(HOUR - POLL / 2));
    expect(codesOf(service.lookAt(listening(), later(HOUR)))).toEqual(['connection']);
    expect(codesOf(service.lookAt(listening(), later(2 * HOUR - POLL)))).toEqual(['connection']);
    expect(service.lookAt(listening(), later(2 * HOUR)).verdict).toBe('grace');
  });
  it('do not mind the order in which the kernel lists them', () => {
    const other = { ...stream, inode: 30_999 };
    const service = watcher();
    watch(service, listening({ connections: [stream, other] }), 0, HOUR - POLL);
    expect(service.lookAt(listening({ connections: [other, stream] }), later(HOUR)).verdict).toBe('grace');
  });
  it.each(
    PROTECTIONS.filter(({ code, limits }) => code !== 'connection' && !limits).map(
      (each) => [each.code, each.name, each] as const,
    ),
  )('start again with anything else that protects: %s (%s)', (code, _, { evidence }) => {
    const service = watcher();
    const working = evidence(listening());
    watch(service, listening(), 0, HOUR - POLL);
    expect(codesOf(service.lookAt(working, later(HOUR - POLL / 2)))).toContain(code);
    const again = listening(cpuTime(working.cpuMs));
    expect(codesOf(service.lookAt(again, later(HOUR)))).toEqual(['connection']);
    expect(codesOf(service.lookAt(again, later(2 * HOUR - POLL)))).toEqual(['connection']);
  });
  it('count again when something else protects after they had become stale', () => {
    const service = watcher();
    watch(service, listening(), 0, HOUR);
    expect(codesOf(service.lookAt(listening({ status: 'busy' }), later(HOUR + POLL)))).toEqual(['connection', 'busy']);
    expect(codesOf(service.lookAt(listening(), later(HOUR + 2 * POLL)))).toEqual(['connection']);
  });
  it('never become stale if so configured', () => {
    const service = watcher({ ...LIMITS, staleConnectionAfterMs: Number.POSITIVE_INFINITY });
    service.lookAt(listening(), NOW);
    expect(codesOf(service.lookAt(listening(), later(1000 * DAY)))).toEqual(['connection']);
  });
  it('do not become stale by a clock that is set', () => {
    const service = watcher();
    service.lookAt(listening(), NOW);
    const set = { wallMs: NOW.wallMs + 10 * DAY, monotonicMs: NOW.monotonicMs + POLL };
    expect(codesOf(service.lookAt(listening(), set))).toEqual(['connection']);
  });
});

describe('many processes', () => {
  it('are judged each for itself, in their order', () => {
    const evidence = PROTECTIONS.filter(({ limits }) => !limits).map(({ evidence }, number) =>
      evidence(processNumber(number)),
    );
    const quiet = evidence.map((each, number) => ({ ...each, ...cpuTime(1380, processNumber(number).id) }));
    const { look } = watcher();
    look(quiet, later(-3 * SECOND));
    const judged = look(evidence, NOW);
    expect(judged.map((each) => codesOf(each))).toEqual(
      PROTECTIONS.filter(({ limits }) => !limits).map(({ code }) => [code]),
    );
    expect(judged.map((each) => each.evidence)).toEqual(evidence);
  });
  it('none are none', () => {
    expect(judge([], new Map(), LIMITS, NOW)).toMatchObject({ judgements: [], watches: new Map() });
  });
});
