import { describe, expect, it } from 'vitest';
import type { Assessment } from '../../../src/assess.ts';
import type { HomeProbe } from '../../../src/clay/daemon.ts';
import { BUDGET_EXHAUSTED } from '../../../src/fs/user-budget.ts';
import type { ReapResult } from '../../../src/reap/result.ts';
import { NEWEST_TESTED } from '../../../src/report/unknown-shapes.ts';
import { type LogEntry, logEventsFor, nothingLogged } from '../../../src/service/log-events.ts';
import { clayLook, lookWith, orphan, protectedBy, reapedAs } from '../../helpers/assessment.ts';
import { CLAY_HOME, CLAY_PID, HOUR, LIMITS, MINUTE, SESSION } from '../../helpers/evidence.ts';

/** Logs sweep after sweep like the service; omits what the first one says. */
function createLogger(dryRun = false): (assessment: Assessment, results?: readonly ReapResult[]) => LogEntry[] {
  let logged = nothingLogged;
  return (assessment, results = []) => {
    const next = logEventsFor(logged, assessment, results, dryRun);
    logged = next.logged;
    return next.entries.filter(({ event }) => event !== 'watching');
  };
}
const events = (lines: readonly LogEntry[]): string[] => lines.map(({ event }) => event);
const refused = (...refusals: string[]): HomeProbe => ({
  home: '/srv/clay',
  daemons: [],
  refusals,
  absentReason: null,
});

describe('logEventsFor: Clay daemons', () => {
  it('logs a daemon when it appears and when it is gone', () => {
    const logSweep = createLogger();
    expect(logSweep(lookWith())).toEqual([
      {
        level: 'info',
        event: 'clay-found',
        message: `watching Clay ${CLAY_PID} in ${CLAY_HOME}`,
        fields: { clayPid: CLAY_PID, uid: 1000, home: CLAY_HOME },
      },
    ]);
    expect(logSweep(lookWith())).toEqual([]);
    expect(events(logSweep(lookWith({ clays: [clayLook(), clayLook({ pid: 7 })] })))).toEqual(['clay-found']);
    expect(logSweep(lookWith())).toMatchObject([{ event: 'clay-lost', level: 'info', fields: { clayPid: 7 } }]);
  });
  it('logs a restart that reused the pid as one daemon lost and one found', () => {
    const logSweep = createLogger();
    logSweep(lookWith());
    expect(events(logSweep(lookWith({ clays: [clayLook({ startTicks: 2000 })] })))).toEqual([
      'clay-lost',
      'clay-found',
    ]);
  });
  it('logs an unknown shape when it begins, not while what was seen changes, and again after it has ended', () => {
    const logSweep = createLogger();
    const clay = clayLook();
    const seen = (unknownShape: string | null) =>
      logSweep(lookWith({ clays: [{ ...clay, children: { ...clay.children, unknownShape } }] }));
    seen(null);
    expect(seen('a')).toMatchObject([
      { level: 'warn', event: 'unknown-shape', message: 'a', fields: { clayPid: CLAY_PID, release: '2.41.1' } },
    ]);
    expect([seen('b'), seen(null)]).toEqual([[], []]);
    expect(events(seen('c'))).toEqual(['unknown-shape']);
  });
  it('logs each unknown shape of a claude once, whichever process shows it, with the releases and nothing private', () => {
    const logSweep = createLogger();
    logSweep(lookWith());
    const strange = { claudeRelease: '2.1.400', sdkVersion: '0.3.400', status: 'dreaming' };
    const entries = logSweep(lookWith({ judgements: [protectedBy(['busy'], strange)] }));
    const releases = {
      claudeRelease: '2.1.400',
      sdkVersion: '0.3.400',
      release: '2.41.1',
      newestTested: NEWEST_TESTED,
    };
    expect(entries).toMatchObject([
      { level: 'info', event: 'unknown-shape', fields: { shape: 'release', seen: '2.1.400', ...releases } },
      { level: 'warn', event: 'unknown-shape', fields: { shape: 'status', seen: 'dreaming', ...releases } },
    ]);
    const text = JSON.stringify(entries);
    for (const own of [SESSION, 'alpha', '/srv']) expect(text).not.toContain(own);
    const other = protectedBy(['busy'], { ...strange, id: { pid: 7, startTicks: 7 } });
    expect(logSweep(lookWith({ judgements: [other] }))).toEqual([]);
    expect(logSweep(lookWith())).toEqual([]);
    expect(logSweep(lookWith({ judgements: [other] }))).toEqual([]);
  });
  it('logs no more than 20 unknown shapes of one user', () => {
    const logSweep = createLogger();
    const many = (uid: number) =>
      Array.from({ length: 30 }, (_, n) =>
        protectedBy(['busy'], { uid, id: { pid: uid + n, startTicks: n }, status: `mood-${uid}-${n}` }),
      );
    const shapes = logSweep(lookWith({ judgements: [...many(1000), ...many(2000)] })).filter(
      ({ event }) => event === 'unknown-shape',
    );
    expect(shapes).toHaveLength(40);
  });
  it('logs Clays of containers once as refused', () => {
    const logSweep = createLogger();
    logSweep(lookWith());
    const inContainers = 'Clay 5 was left alone: it runs in a container';
    expect(logSweep(lookWith({ inContainers }))).toMatchObject([
      { level: 'warn', event: 'clay-refused', message: inContainers, fields: { home: null } },
    ]);
    expect(logSweep(lookWith({ inContainers }))).toEqual([]);
  });
  it('logs once that there is no Clay to watch', () => {
    const logSweep = createLogger();
    const none = lookWith({ clays: [] });
    expect(events(logSweep(none))).toEqual(['waiting']);
    expect(logSweep(none)).toEqual([]);
    expect(events(logSweep(lookWith()))).toEqual(['clay-found']);
    expect(events(logSweep(none))).toEqual(['clay-lost', 'waiting']);
  });
});

describe('logEventsFor: [protect]', () => {
  it('warns once of a project that no Clay has, and again of another after a reload', () => {
    const logSweep = createLogger();
    const protecting = (project: string): LogEntry[] =>
      logSweep(lookWith({ policy: { ...LIMITS, protectedProjects: [project] } })).filter(
        ({ event }) => event !== 'clay-found',
      );
    const message = 'no Clay has the project "shopp" of [protect]; there are alpha, beta';
    expect(protecting('shopp')).toEqual([{ level: 'warn', event: 'warning', message, fields: { error: message } }]);
    expect(protecting('shopp')).toEqual([]);
    expect(protecting('alpha')).toEqual([]);
    expect(protecting('alhpa')).toMatchObject([{ message: expect.stringContaining('"alhpa"') }]);
  });
});

describe('logEventsFor: status API', () => {
  const silent = (error = 'no answer within 2 s') => lookWith({ clays: [clayLook({ error })] });
  it('logs when an API stops answering and when it recovers, once each', () => {
    const logSweep = createLogger();
    logSweep(lookWith());
    expect(logSweep(silent())).toMatchObject([
      {
        level: 'warn',
        event: 'api-unreachable',
        message: expect.stringContaining('no answer within 2 s'),
        fields: { clayPid: CLAY_PID, home: CLAY_HOME, error: 'no answer within 2 s' },
      },
    ]);
    expect(logSweep(silent())).toEqual([]);
    expect(logSweep(silent('it closed the connection'))).toEqual([]);
    expect(logSweep(lookWith())).toMatchObject([{ event: 'api-recovered', level: 'info' }]);
    expect(logSweep(lookWith())).toEqual([]);
    expect(events(logSweep(silent()))).toEqual(['api-unreachable']);
  });
  it('logs nothing of an API that is not asked, because its user is left alone', () => {
    const logSweep = createLogger();
    logSweep(lookWith());
    for (let round = 0; round < 3; round++)
      expect([logSweep(silent(BUDGET_EXHAUSTED)), logSweep(lookWith())]).toEqual([[], []]);
  });
  it('logs an API that never answered, and its recovery', () => {
    const logSweep = createLogger();
    expect(events(logSweep(silent()))).toEqual(['clay-found', 'api-unreachable']);
    expect(events(logSweep(lookWith()))).toEqual(['api-recovered']);
  });
  it('logs the API state of each daemon separately', () => {
    const logSweep = createLogger();
    logSweep(lookWith({ clays: [clayLook({ error: 'x' }), clayLook({ pid: 7 })] }));
    const lines = logSweep(lookWith({ clays: [clayLook(), clayLook({ pid: 7, error: 'x' })] }));
    expect(lines.map(({ event, fields }) => [event, fields.clayPid])).toEqual([
      ['api-recovered', CLAY_PID],
      ['api-unreachable', 7],
    ]);
  });
});

describe('logEventsFor: permissions and refusals', () => {
  it('logs a permission problem once, and again when it changes', () => {
    const logSweep = createLogger();
    const blind = (words: string) => lookWith({ clays: [clayLook({ blind: words })] });
    expect(logSweep(blind('CAP_KILL is missing'))).toMatchObject([
      { event: 'clay-found' },
      { event: 'blind', level: 'error', message: 'CAP_KILL is missing' },
    ]);
    expect(logSweep(blind('CAP_KILL is missing'))).toEqual([]);
    expect(events(logSweep(blind('CAP_SYS_PTRACE is missing')))).toEqual(['blind']);
    expect(logSweep(lookWith())).toEqual([]);
    expect(events(logSweep(blind('CAP_KILL is missing')))).toEqual(['blind']);
  });
  it('logs a refused home once per reason', () => {
    const logSweep = createLogger();
    logSweep(lookWith());
    expect(logSweep(lookWith({ homes: [refused('a')] }))).toEqual([
      {
        level: 'warn',
        event: 'clay-refused',
        message: '/srv/clay is refused: a',
        fields: { home: '/srv/clay', reason: 'a' },
      },
    ]);
    expect(logSweep(lookWith({ homes: [refused('a')] }))).toEqual([]);
    expect(logSweep(lookWith({ homes: [refused('a', 'b')] }))).toMatchObject([{ fields: { reason: 'b' } }]);
    expect(logSweep(lookWith({ homes: [refused()] }))).toEqual([]);
    expect(events(logSweep(lookWith({ homes: [refused('a')] })))).toEqual(['clay-refused']);
  });
});

describe('logEventsFor: candidates', () => {
  const grace = orphan({ verdict: 'grace', idleMs: 10 * MINUTE });
  it('logs a process once, when it becomes an idle orphan', () => {
    const logSweep = createLogger();
    logSweep(lookWith());
    expect(logSweep(lookWith({ judgements: [protectedBy(['turn'])] }))).toEqual([]);
    expect(logSweep(lookWith({ judgements: [grace] }))).toEqual([
      {
        level: 'info',
        event: 'candidate',
        message:
          'claude 16246 of project alpha has been idle for 10m (parked); its wait is over in 20m unless it becomes active',
        fields: {
          pid: 16_246,
          startTicks: 135_996,
          uid: 1000,
          clayPid: CLAY_PID,
          orphan: 'parked',
          rssBytes: 194_424_832,
          reclaimableBytes: 194_424_832,
          idleSeconds: 600,
          graceSeconds: 1800,
          project: 'alpha',
          sessionId: SESSION,
          claudeRelease: null,
          sdkVersion: '0.2.92',
        },
      },
    ]);
    expect(logSweep(lookWith({ judgements: [grace] }))).toEqual([]);
    expect(logSweep(lookWith({ judgements: [orphan()] }))).toEqual([]);
    // It became active, and idle again.
    expect(logSweep(lookWith({ judgements: [protectedBy(['cpu'])] }))).toEqual([]);
    expect(events(logSweep(lookWith({ judgements: [grace] })))).toEqual(['candidate']);
  });
  it('counts what is more than 100 of one user in one sweep, and logs those of others', () => {
    const many = Array.from({ length: 4_900 }, (_, pid) => orphan({}, { id: { pid, startTicks: 1 }, uid: 1002 }));
    const alices = orphan({}, { id: { pid: 5_000, startTicks: 1 }, uid: 1001 });
    const lines = createLogger()(lookWith({ judgements: [...many, alices] })).filter(
      ({ event }) => event === 'candidate',
    );
    expect(lines).toHaveLength(102);
    expect(lines.filter(({ fields }) => fields.uid === 1001)).toHaveLength(1);
    expect(lines.at(-1)).toMatchObject({
      message: '4800 more processes of uid 1002 are not logged one by one',
      fields: { uid: 1002, count: 4_800 },
    });
  });
  it('logs a new process that reused the pid of a logged one', () => {
    const logSweep = createLogger();
    logSweep(lookWith({ judgements: [grace] }));
    const other = orphan({ verdict: 'grace' }, { id: { pid: 16_246, startTicks: 999_999 } });
    expect(events(logSweep(lookWith({ judgements: [other] })))).toEqual(['candidate']);
  });
  it('uses null for an unknown Clay and a wait that never ends', () => {
    const [line] = createLogger()(
      lookWith({
        clays: [],
        judgements: [
          orphan(
            { verdict: 'grace', waitMs: Number.POSITIVE_INFINITY },
            { clay: { state: 'dead', home: CLAY_HOME }, project: null, sessionId: null },
          ),
        ],
      }),
    ).filter(({ event }) => event === 'candidate');
    expect(line?.fields).toMatchObject({ clayPid: null, graceSeconds: null, project: null, sessionId: null });
  });
});

describe('logEventsFor: dry run', () => {
  it('logs once per idle period what it would end', () => {
    const logSweep = createLogger(true);
    logSweep(lookWith());
    expect(events(logSweep(lookWith({ judgements: [orphan({ verdict: 'grace' })] })))).toEqual(['candidate']);
    expect(logSweep(lookWith({ judgements: [orphan()] }))).toMatchObject([
      { event: 'would-reap', level: 'info', fields: { pid: 16_246, orphan: 'parked', idleSeconds: 3600 } },
    ]);
    expect(logSweep(lookWith({ judgements: [orphan({ idleMs: 2 * HOUR })] }))).toEqual([]);
    expect(logSweep(lookWith({ judgements: [protectedBy(['cpu'])] }))).toEqual([]);
    expect(events(logSweep(lookWith({ judgements: [orphan()] })))).toEqual(['candidate', 'would-reap']);
  });
  it('logs would-reap only in a dry run', () => {
    expect(events(createLogger()(lookWith({ judgements: [orphan()] })))).toEqual(['clay-found', 'candidate']);
  });
});

describe('logEventsFor: outcomes', () => {
  const ended = (outcome: Parameters<typeof reapedAs>[0]): LogEntry | undefined => {
    const logSweep = createLogger();
    const look = lookWith({ judgements: [orphan()] });
    logSweep(look);
    const lines = logSweep(look, [reapedAs(outcome)]);
    expect(lines).toHaveLength(1);
    return lines[0];
  };
  const fields = {
    pid: 16_246,
    orphan: 'parked',
    rssBytes: 194_424_832,
    idleSeconds: 3600,
    project: 'alpha',
    sessionId: SESSION,
  };
  it('logs an end by SIGTERM at level info', () => {
    expect(ended('terminated')).toMatchObject({
      event: 'reaped',
      level: 'info',
      fields: { ...fields, signal: 'SIGTERM' },
    });
  });
  it('logs an end by SIGKILL at level warn, with the number of killed descendants', () => {
    expect(ended('killed')).toMatchObject({
      event: 'reaped',
      level: 'warn',
      fields: { ...fields, signal: 'SIGKILL', leftovers: 2 },
    });
  });
  it('logs a process that survived at level error, with the reason', () => {
    expect(ended('survived')).toMatchObject({
      event: 'survived',
      level: 'error',
      message: expect.stringContaining('still there'),
      fields: { ...fields, signal: 'SIGKILL', reason: 'it is still there after SIGKILL' },
    });
  });
  it('logs a spared process with the reason', () => {
    expect(ended('spared')).toMatchObject({
      event: 'spared',
      level: 'info',
      fields: { ...fields, reason: 'busy: its session file says "busy"' },
    });
  });
  it('logs a process that was already gone at level debug only', () =>
    expect(ended('vanished')).toMatchObject({ level: 'debug' }));
});

describe('logEventsFor: orphans beyond max_kills_per_sweep', () => {
  const deferred = (uid: number): ReapResult => ({
    judgement: orphan({}, { uid }),
    result: { outcome: 'spared', why: 'left to the next sweep', because: 'deferred' },
  });
  const eventsOf = (entries: readonly LogEntry[]): string[] =>
    events(entries).filter((event) => event === 'deferred' || event === 'spared');

  it('logs once for each user how many are left, however many sweeps it takes, and again when it happens again', () => {
    const logSweep = createLogger();
    const entries = logSweep(lookWith(), [deferred(1001), deferred(1001), deferred(1002)]);
    expect(entries.filter(({ event }) => event === 'deferred')).toMatchObject([
      { level: 'info', fields: { uid: 1001, count: 2 } },
      { level: 'info', fields: { uid: 1002, count: 1 } },
    ]);
    expect(eventsOf(entries)).toEqual(['deferred', 'deferred']);
    expect(eventsOf(logSweep(lookWith(), [deferred(1001)]))).toEqual([]);
    expect(eventsOf(logSweep(lookWith()))).toEqual([]);
    expect(eventsOf(logSweep(lookWith(), [deferred(1001)]))).toEqual(['deferred']);
  });
});

describe('logEventsFor: sweep summary', () => {
  it('closes each sweep that was measured with its totals and what it took', () => {
    const look = lookWith({ judgements: [orphan(), orphan({ verdict: 'grace' }), protectedBy(['cpu'])] });
    const { entries } = logEventsFor(nothingLogged, look, [reapedAs('terminated')], false, { ms: 7.26, cpuMs: 5 });
    expect(entries.at(-1)).toMatchObject({
      level: 'debug',
      event: 'sweep',
      fields: {
        processes: 3,
        protected: 1,
        grace: 1,
        reap: 1,
        reaped: 1,
        reclaimedBytes: 194_424_832,
        tookMs: 7.3,
        cpuMs: 5,
      },
    });
  });
  it('does not modify the state that it was given', () => {
    const before = logEventsFor(nothingLogged, lookWith(), [], false).logged;
    logEventsFor(before, lookWith({ clays: [] }), [], false);
    expect(before.clays.size).toBe(1);
    expect(nothingLogged.clays.size).toBe(0);
  });
});

describe('logEventsFor: memory pressure', () => {
  it('logs when memory pressure begins and ends, once each', () => {
    const logSweep = createLogger();
    logSweep(lookWith());
    const high = logSweep(lookWith({ pressure: 42 }));
    expect(high).toHaveLength(1);
    expect(logSweep(lookWith({ pressure: 50 }))).toEqual([]);
    const over = logSweep(lookWith());
    expect(over).toHaveLength(1);
    expect(over[0]?.event).not.toBe(high[0]?.event);
    expect(logSweep(lookWith())).toEqual([]);
  });
});

describe('logEventsFor: what comes next', () => {
  const messages = (judgements: Assessment['judgements'], dryRun: boolean): string[] =>
    logEventsFor(nothingLogged, lookWith({ judgements }), [], dryRun)
      .entries.filter(({ event }) => event === 'watching')
      .map(({ message }) => message);
  const grace = orphan({ verdict: 'grace', idleMs: 10 * MINUTE });

  it('says with the first sweep what is watched, and when the first process is due', () => {
    expect(messages([protectedBy(['cpu']), grace], false)).toEqual([
      'watching 2 claude processes: 1 protected, 1 in grace, 0 due; the first is ended in 20m if it stays idle',
    ]);
    expect(messages([grace], true)[0]).toContain('the first would be ended in 20m if it stays idle');
  });
  it('says what comes next if nothing is idle', () => {
    expect(messages([], true)).toEqual([
      'watching 0 claude processes: 0 protected, 0 in grace, 0 due; the next one is logged when it becomes idle',
    ]);
  });
  it('says it once, and again when a Clay comes after there was none', () => {
    const first = logEventsFor(nothingLogged, lookWith(), [], false);
    const second = logEventsFor(first.logged, lookWith(), [], false);
    const without = logEventsFor(second.logged, lookWith({ clays: [] }), [], false);
    const again = logEventsFor(without.logged, lookWith(), [], false);
    const counts = [first, second, without, again].map(
      ({ entries }) => entries.filter(({ event }) => event === 'watching').length,
    );
    expect(counts).toEqual([1, 0, 0, 1]);
    expect(without.entries.find(({ event }) => event === 'waiting')?.message).toMatch(/every sweep looks again$/);
  });
});
