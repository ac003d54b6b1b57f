import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAlarmReader } from '../../src/claude/alarms.ts';
import { claudeEnvironment, isToolShell } from '../../src/claude/recognise.ts';
import { parseSessionFile } from '../../src/claude/session-file.ts';
import { parseStatusAnswer } from '../../src/clay/api.ts';
import { parseDaemonFile } from '../../src/clay/daemon.ts';
import { parseJournalTail } from '../../src/clay/journal.ts';
import { parseConfigFile, UsageError } from '../../src/config/load.ts';
import { type Evidence, keyOf } from '../../src/judge/evidence.ts';
import { type Judgement, judge, type Watch } from '../../src/judge/judge.ts';
import type { Limits } from '../../src/judge/limits.ts';
import { safeJson, safeText } from '../../src/output/safe-text.ts';
import { parseTcpTable, parseUnixInodes } from '../../src/proc/sockets.ts';
import { parseStat } from '../../src/proc/stat.ts';
import { parseEffectiveCapabilities, parseStatus } from '../../src/proc/status.ts';
import { parseCmdline, parseEnviron } from '../../src/proc/strings.ts';
import {
  CLAY_HOME,
  CLAY_PID,
  cpuTime,
  DAY,
  HOUR,
  idleEvidence,
  idleSince,
  JOURNAL,
  LIMITS,
  later,
  MINUTE,
  NOW,
  SECOND,
} from './evidence.ts';
import { canHoldTogether, PROTECTIONS, type Protection } from './protections.ts';

const RUNS = 300;

/** What a script would look at, of one process. */
const outcome = (judgement: Judgement): readonly unknown[] =>
  judgement.verdict === 'protected'
    ? [keyOf(judgement.evidence.id), 'protected', judgement.reasons.map(({ code }) => code)]
    : [keyOf(judgement.evidence.id), judgement.verdict, judgement.orphan, judgement.idleMs, judgement.waitMs];
const outcomes = (judgements: readonly Judgement[]): readonly unknown[] =>
  judgements.map(outcome).sort((one, other) => String(one[0]).localeCompare(String(other[0])));

const limits: fc.Arbitrary<Limits> = fc.record({
  gracePeriodMs: fc.constantFrom(0, MINUTE, 5 * MINUTE, DAY),
  parkedAfterMs: fc.constantFrom(0, 30 * MINUTE, DAY, Number.POSITIVE_INFINITY),
  maxParked: fc.constantFrom(null, 0, 1, 2),
  minAgeMs: fc.constantFrom(0, MINUTE, HOUR),
  cpuIdleBelow: fc.constantFrom(0, 1, 50),
  staleConnectionAfterMs: fc.constantFrom(HOUR, Number.POSITIVE_INFINITY),
  protectedProjects: fc.constant([]),
  protectedSessions: fc.constant([]),
});

/** A moment on the wall clock at which something may have happened, once in a while in the future. */
const happening = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, SECOND, MINUTE, 10 * MINUTE, HOUR, DAY).map((ago) => NOW.wallMs - ago) },
  { weight: 1, arbitrary: fc.constantFrom(NOW.wallMs + SECOND, NOW.wallMs + HOUR) },
);
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(arbitrary, { nil: null, freq: 3 });
/** Mostly nothing: otherwise hardly any process would be idle. */
const rarely = <T>(arbitrary: fc.Arbitrary<T>, otherwise: T): fc.Arbitrary<T> =>
  fc.oneof({ weight: 8, arbitrary: fc.constant(otherwise) }, { weight: 1, arbitrary });

/** Any evidence at all, idle ones often among it. */
const anyEvidence: fc.Arbitrary<Evidence> = fc
  .record({
    number: fc.integer({ min: 2, max: 4_000_000 }),
    startTicks: fc.integer({ min: 0, max: 10_000_000 }),
    uid: fc.constantFrom(1000, 1001),
    ageMs: fc.constantFrom(0, 30 * SECOND, MINUTE, DAY),
    doubts: rarely<readonly string[]>(fc.constant(['odd']), []),
    hasTerminal: rarely(fc.constant(true), false),
    cpuMs: fc.constantFrom(0, 1380),
    connections: rarely<Evidence['connections']>(fc.constant([{ inode: 1, local: 'a', remote: 'b' }]), []),
    tools: rarely<Evidence['tools']>(fc.constant([{ pid: 5, why: 'own session' }]), []),
    sessionId: maybe(fc.constantFrom('a', 'b')),
    status: rarely<string | null>(fc.constantFrom('idle', 'busy', 'waiting', 'odd'), null),
    statusUpdatedAtMs: maybe(happening),
    transcriptChangedAtMs: maybe(happening),
    alarm: rarely<string | null>(fc.constant('it waits'), null),
    journal: fc.oneof(
      { weight: 1, arbitrary: fc.constantFrom<Evidence['journal']>({ state: 'unknown' }, { state: 'missing' }) },
      {
        weight: 3,
        arbitrary: fc.record({
          state: fc.constant('found' as const),
          path: fc.constant(JOURNAL),
          turn: fc.constantFrom('ended' as const, 'ended' as const, 'unclear' as const, 'open' as const),
          decidedBy: fc.constant('done'),
          changedAtMs: happening,
        }),
      },
    ),
    clay: fc.constantFrom<Evidence['clay']>(
      { state: 'answered', pid: CLAY_PID, home: CLAY_HOME, busyProjects: [] },
      { state: 'answered', pid: CLAY_PID, home: CLAY_HOME, busyProjects: ['beta'] },
      { state: 'dead', home: CLAY_HOME },
      { state: 'silent', pid: CLAY_PID, home: CLAY_HOME, error: 'x' },
    ),
    project: maybe(fc.boolean().map((inTurn) => ({ slug: 'alpha', path: '/srv/projects/alpha', inTurn }))),
  })
  .map(({ number, startTicks, ageMs, cpuMs, ...rest }) => {
    const id = { pid: number, startTicks };
    return idleEvidence({ ...rest, id, ageMs, startedAtMs: NOW.wallMs - ageMs, ...cpuTime(cpuMs, id) });
  });

const several = (maxLength: number): fc.Arbitrary<Evidence[]> =>
  fc.uniqueArray(anyEvidence, { minLength: 1, maxLength, selector: ({ id }) => keyOf(id) });

/** Judges at NOW, after looks at the same processes before. */
function judgeAfter(history: readonly (readonly Evidence[])[], evidence: readonly Evidence[], by: Limits): Judgement[] {
  let watches: ReadonlyMap<string, Watch> = new Map();
  history.forEach((before, at) => {
    watches = judge(before, watches, by, later((at - history.length) * 30 * SECOND)).watches;
  });
  return judge(evidence, watches, by, NOW).judgements;
}

/** Ways to be protected that can hold all at once. */
const protections: fc.Arbitrary<readonly Protection[]> = fc
  .shuffledSubarray([...PROTECTIONS], { minLength: 1 })
  .map((chosen) =>
    chosen.filter((each, at) => chosen.slice(0, at).every((other) => canHoldTogether(each.code, other.code))),
  );

describe('judging', () => {
  it('never says reap while anything protects, whatever else there is', () => {
    fc.assert(
      fc.property(several(4), protections, limits, fc.nat(3), (evidence, chosen, by, looks) => {
        // Idle for ever by all that is written down: only what protects stands in the way.
        const base = evidence.map((each) => ({ ...each, ...idleSince(NOW.wallMs - 10 * DAY) }));
        const subject = idleEvidence({ ...idleSince(NOW.wallMs - 10 * DAY), ageMs: 20 * DAY });
        const held = chosen.reduce((each, { evidence: change }) => change(each), subject);
        const heldBy = chosen.reduce((all, each) => each.limits?.(all) ?? all, {
          ...by,
          minAgeMs: Math.max(by.minAgeMs, MINUTE),
        });
        const history = Array.from({ length: looks }, () => [subject, ...base]);
        const [first] = judgeAfter(history, [held, ...base], heldBy);
        // A process that may use all of a core is not busy with less.
        const cpuOnly = chosen.every(({ code }) => code === 'cpu') && looks > 0 && by.cpuIdleBelow >= 50;
        if (!cpuOnly) expect(first?.verdict).toBe('protected');
        for (const { code } of chosen.filter((each) => each.code !== 'cpu'))
          expect(first?.reasons.map((each) => each.code)).toContain(code);
      }),
      { numRuns: RUNS },
    );
  });

  it('reaps in some of these cases: the others would prove nothing', () => {
    const verdicts = fc
      .sample(fc.tuple(several(4), limits), { numRuns: 300, seed: 1 })
      .flatMap(([evidence, by]) => judgeAfter([evidence], evidence, by).map(({ verdict }) => verdict));
    for (const verdict of ['protected', 'grace', 'reap'])
      expect(verdicts.filter((each) => each === verdict).length, verdict).toBeGreaterThan(20);
  });

  it('with reap has no reason, and with a reason no reap', () => {
    fc.assert(
      fc.property(several(6), limits, fc.nat(3), (evidence, by, looks) => {
        const history = Array.from({ length: looks }, () => evidence);
        for (const judgement of judgeAfter(history, evidence, by)) {
          expect(judgement.verdict === 'protected').toBe(judgement.reasons.length > 0);
          if (judgement.verdict === 'protected') continue;
          expect(judgement.verdict).toBe(judgement.idleMs >= judgement.waitMs ? 'reap' : 'grace');
          const each = judgement.evidence;
          // The rules again, in the fewest words.
          expect(looks).toBeGreaterThan(0);
          expect([...each.doubts, ...each.tools, each.alarm].filter((held) => held !== null)).toEqual([]);
          expect(each.hasTerminal || each.ageMs < by.minAgeMs || each.clay.state === 'silent').toBe(false);
          expect(each.status ?? 'idle').toBe('idle');
          expect(each.connections).toEqual([]);
          const times = [each.statusUpdatedAtMs, each.transcriptChangedAtMs].filter((atMs) => atMs !== null);
          expect(Math.max(0, ...times)).toBeLessThanOrEqual(NOW.wallMs + 2 * SECOND);
        }
      }),
      { numRuns: RUNS },
    );
  });

  it('is never less protective for more that protects', () => {
    const rank = { protected: 2, grace: 1, reap: 0 } as const;
    fc.assert(
      fc.property(several(5), fc.constantFrom(...PROTECTIONS), limits, fc.nat(2), (evidence, protection, by, looks) => {
        const history = Array.from({ length: looks }, () => evidence);
        const before = judgeAfter(history, evidence, by);
        const [first, ...others] = evidence;
        if (!first) return;
        // Where Clay is silent or dead, its word cannot be added.
        if (protection.code === 'processing' && first.clay.state !== 'answered') return;
        // To be younger protects only where there is an age to reach, and leaves a turn to an earlier process.
        if (protection.code === 'young' && by.minAgeMs === 0) return;
        const after = judgeAfter(history, [protection.evidence(first), ...others], protection.limits?.(by) ?? by);
        after.forEach((judgement, at) => {
          const was = before[at]?.verdict ?? 'protected';
          expect(rank[judgement.verdict]).toBeGreaterThanOrEqual(rank[was]);
        });
      }),
      { numRuns: RUNS },
    );
  });

  it('does not depend on the order of the evidence', () => {
    const shuffled = several(8).chain((evidence) =>
      fc.tuple(
        fc.constant(evidence),
        fc.shuffledSubarray(evidence, { minLength: evidence.length, maxLength: evidence.length }),
      ),
    );
    fc.assert(
      fc.property(shuffled, limits, ([evidence, other], by) => {
        expect(outcomes(judgeAfter([other], other, by))).toEqual(outcomes(judgeAfter([evidence], evidence, by)));
      }),
      { numRuns: RUNS },
    );
  });

  it('gives every process one judgement, and keeps one watch of it', () => {
    fc.assert(
      fc.property(several(8), limits, (evidence, by) => {
        const { judgements, watches } = judge(evidence, new Map(), by, NOW);
        expect(judgements.map((each) => each.evidence)).toEqual(evidence);
        expect([...watches.keys()]).toEqual(evidence.map(({ id }) => keyOf(id)));
      }),
      { numRuns: RUNS },
    );
  });

  it('changes nothing that it was given', () => {
    fc.assert(
      fc.property(several(4), limits, (evidence, by) => {
        const before = structuredClone(evidence);
        const first = judge(evidence, new Map(), by, later(-30 * SECOND));
        const watches = structuredClone(first.watches);
        judge(evidence, first.watches, by, NOW);
        expect(evidence).toEqual(before);
        expect(first.watches).toEqual(watches);
      }),
      { numRuns: 100 },
    );
  });

  it('never counts more idle time than has passed on the monotonic clock since the first look', () => {
    const looks = fc.array(fc.tuple(fc.nat(10 * MINUTE), fc.integer({ min: -DAY, max: 10 * DAY })), {
      minLength: 2,
      maxLength: 12,
    });
    fc.assert(
      fc.property(anyEvidence, looks, (evidence, steps) => {
        let watches: ReadonlyMap<string, Watch> = new Map();
        let now = NOW;
        let firstMs: number | null = null;
        let passedMs = 0;
        for (const [monotonicStep, wallStep] of steps) {
          now = { wallMs: now.wallMs + wallStep, monotonicMs: now.monotonicMs + monotonicStep };
          const judged = judge([evidence], watches, LIMITS, now);
          const idleMs = judged.watches.get(keyOf(evidence.id))?.idle.idleMs ?? 0;
          if (firstMs === null) firstMs = idleMs;
          else passedMs += monotonicStep;
          expect(idleMs).toBeLessThanOrEqual(firstMs + passedMs + 1e-6);
          expect(idleMs).toBeGreaterThanOrEqual(0);
          watches = judged.watches;
        }
      }),
      { numRuns: RUNS },
    );
  });
});

/** Bytes of all kinds: any at all, text of the sort that is expected, and that with something wrong in it. */
function bytesLike(...samples: readonly string[]): fc.Arbitrary<Buffer> {
  const damaged = fc
    .tuple(fc.constantFrom(...samples), fc.nat(), fc.nat(), fc.uint8Array({ maxLength: 12 }))
    .map(([sample, at, length, put]) => {
      const bytes = Buffer.from(sample);
      const from = at % (bytes.length + 1);
      return Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(from + (length % 20))]);
    });
  return fc.oneof(
    damaged,
    fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
    fc.json().map((json) => Buffer.from(json)),
    fc.string({ unit: 'binary', maxLength: 200 }).map((text) => Buffer.from(text)),
  );
}
const text = (bytes: Buffer): string => bytes.toString('latin1');
const never = (samples: readonly string[], parse: (bytes: Buffer) => unknown): void => {
  // Else a sample that is no sample would go unseen.
  for (const sample of samples) parse(Buffer.from(sample));
  fc.assert(
    fc.property(bytesLike(...samples), (bytes) => {
      parse(bytes);
    }),
    { numRuns: 2 * RUNS },
  );
};

const STAT =
  '16246 (claude) S 16199 16199 16199 0 -1 4194304 5 8 0 0 119 19 12 4 20 0 11 0 135996 12051456000 47467 0\n';
const STATUS = 'Name:\tclaude\nUid:\t0\t0\t0\t0\nNSpid:\t16246\nCapEff:\t000001ffffffffff\n';
const TCP =
  '  sl  local_address rem_address st\n   7: 0100007F:A12C 0100007F:0FAA 01 00000000:00000000 02:000013C6 00000000     0        0 32092 2 0\n';
const UNIX = 'Num RefCount Protocol Flags Type St Inode Path\n00: 00000003 00000000 00000000 0001 03 29392 /tmp/x\n';
const SESSION_FILE =
  '{"pid":16246,"sessionId":"cd7ece16-29e6-474a-94b5-bd0998c39c7c","startedAt":1795341903909,"status":"idle"}';
const DAEMON = '{"pid":16199,"projects":[{"slug":"alpha","path":"/srv/projects/alpha"}]}';
const ANSWER =
  '{"ok":true,"pid":16199,"projects":[{"slug":"a","path":"/a","isProcessing":false,"pendingPermissions":0}]}';
const JOURNAL_TEXT = '{"type":"meta"}\n{"type":"user_message","text":"x"}\n{"type":"done","code":0,"_ts":1}\n';
const TRANSCRIPT =
  '{"timestamp":"2026-11-22T11:26:07.139Z","message":{"content":[{"type":"tool_use","id":"t","name":"CronCreate","input":{"cron":"*/7 * * * *","recurring":false}}]}}\n' +
  '{"timestamp":"2026-11-22T11:26:07.150Z","message":{"content":[{"type":"tool_result","tool_use_id":"t"}]},"toolUseResult":{"id":"a","recurring":false}}\n';

describe('no bytes whatever make a parser throw', () => {
  it('of /proc', () => {
    never([STAT], (bytes) => parseStat(text(bytes)));
    never([STATUS], (bytes) => [parseStatus(text(bytes)), parseEffectiveCapabilities(text(bytes))]);
    never([TCP], (bytes) => parseTcpTable(text(bytes)));
    never([UNIX], (bytes) => parseUnixInodes(text(bytes)));
    never(['HOME=/home/ada\0CLAY_CONFIG=/home/ada/.clay/daemon.json\0'], (bytes) =>
      claudeEnvironment(parseEnviron(bytes)),
    );
    never(['node\0/srv/lib/daemon.js\0\0\0'], (bytes) => isToolShell(parseCmdline(bytes)));
  });
  it('of session files', () => {
    const owner = { pid: 16_246, uid: 1000, startTicks: 135_996, startedAtMs: 1_795_341_903_500 };
    never([SESSION_FILE], (bytes) => parseSessionFile(bytes.toString('utf8'), owner));
  });
  it('of daemon.json and answers of Clay', () => {
    never([DAEMON], (bytes) => parseDaemonFile(bytes.toString('utf8'), '/x/daemon.json'));
    never([ANSWER], (bytes) => parseStatusAnswer(bytes.toString('utf8'), 16_199));
  });
  it('of journals', () => {
    never([JOURNAL_TEXT], (bytes) => [parseJournalTail(bytes, true), parseJournalTail(bytes, false)]);
  });
  it('of transcripts', () => {
    never([TRANSCRIPT], (bytes) => {
      const reader = createAlarmReader();
      reader.read(bytes);
      reader.read(Buffer.from(TRANSCRIPT));
      return reader.alarms();
    });
  });
  it('of text for a terminal', () => {
    never(['x'], (bytes) => safeText(bytes.toString('utf8')));
  });
  it('of the configuration, but for the error that is meant for the person', () => {
    never(['max_parked = 3\n[log]\nlevel = "info"\n'], (bytes) => {
      try {
        parseConfigFile(bytes.toString('utf8'), 'config.toml');
      } catch (error) {
        expect(error).toBeInstanceOf(UsageError);
      }
    });
  });
});

describe('what is parsed', () => {
  it('stat: any name is given back, and what stands behind it is not mixed up', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 16 }),
        fc.nat(4_194_304),
        fc.nat(),
        (comm, pid, startTicks) => {
          const line = STAT.replace('16246 (claude)', () => `${pid} (${comm})`).replace('135996', String(startTicks));
          expect(parseStat(line)).toMatchObject({ ok: true, value: { pid, comm, startTicks, ppid: 16_199, ttyNr: 0 } });
        },
      ),
      { numRuns: RUNS },
    );
  });
  it('environ and cmdline: what was written is given back', () => {
    const name = fc.stringMatching(/^[A-Z_]{1,8}$/);
    const value = fc.string({ unit: 'grapheme', maxLength: 12 }).map((each) => each.replaceAll('\0', ''));
    fc.assert(
      fc.property(fc.dictionary(name, value), fc.array(value), (variables, words) => {
        const environ = Object.entries(variables).map(([key, each]) => `${key}=${each}\0`);
        expect(Object.fromEntries(parseEnviron(Buffer.from(environ.join(''))))).toEqual({ ...variables });
        const cmdline = ['claude', ...words, 'end'].map((word) => `${word}\0`);
        expect(parseCmdline(Buffer.from(cmdline.join('')))).toEqual(['claude', ...words, 'end']);
      }),
      { numRuns: RUNS },
    );
  });
  it('journals: a turn is open until it is done, whatever stands before it', () => {
    const type = fc.constantFrom('delta', 'tool_start', 'permission_request', 'message_uuid', 'result', 'odd', 'done');
    fc.assert(
      fc.property(fc.array(type, { maxLength: 20 }), (types) => {
        const records = [...types, 'user_message', 'delta'].map((each) => `${JSON.stringify({ type: each })}\n`);
        const open = Buffer.from(records.join(''));
        expect(parseJournalTail(open, true).turn).toBe('open');
        const done = Buffer.concat([open, Buffer.from('{"type":"done"}\n')]);
        expect(parseJournalTail(done, true).turn).toBe('ended');
      }),
      { numRuns: RUNS },
    );
  });
  it('safe JSON has the value that it had, and nothing that is not seen', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
        const json = JSON.stringify(value);
        const safe = safeJson(json);
        expect(JSON.parse(safe)).toEqual(JSON.parse(json));
        expect(safe).not.toMatch(/[\p{Cf}\p{Zl}\p{Zp}]/u);
      }),
      { numRuns: RUNS },
    );
  });
});
