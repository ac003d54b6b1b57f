import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isToolShell, parseClaudeEnvironment } from '../../../src/claude/process.ts';
import { createScheduleParser } from '../../../src/claude/schedule.ts';
import { parseSessionFile } from '../../../src/claude/session-file.ts';
import { parseDaemonFile } from '../../../src/clay/daemon.ts';
import { parseJournalTail } from '../../../src/clay/journal.ts';
import { parseStatusAnswer } from '../../../src/clay/status-socket.ts';
import { parseConfigFile, UsageError } from '../../../src/config/load.ts';
import type { Evidence } from '../../../src/judge/evidence.ts';
import { type Judgement, judge, type Tracking } from '../../../src/judge/judge.ts';
import type { Policy } from '../../../src/judge/policy.ts';
import { parseCmdline } from '../../../src/proc/cmdline.ts';
import { parseEnviron } from '../../../src/proc/environ.ts';
import { parseTcpTable } from '../../../src/proc/net-tcp.ts';
import { parseUnixInodes } from '../../../src/proc/net-unix.ts';
import { keyOf } from '../../../src/proc/process-id.ts';
import { parseStat } from '../../../src/proc/stat.ts';
import { parseEffectiveCapabilities, parseStatus } from '../../../src/proc/status.ts';
import { escapeJson, sanitize } from '../../../src/report/sanitize.ts';
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
} from '../../helpers/evidence.ts';
import { canHoldTogether, PROTECTIONS, type Protection } from '../../helpers/protections.ts';

const RUNS = 300;

/** What a script would look at, of one process. */
const outcome = (judgement: Judgement): readonly unknown[] =>
  judgement.verdict === 'protected'
    ? [keyOf(judgement.evidence.id), 'protected', judgement.reasons.map(({ code }) => code)]
    : [keyOf(judgement.evidence.id), judgement.verdict, judgement.orphan, judgement.idleMs, judgement.waitMs];
const outcomes = (judgements: readonly Judgement[]): readonly unknown[] =>
  judgements.map(outcome).sort((one, other) => String(one[0]).localeCompare(String(other[0])));

const limits: fc.Arbitrary<Policy> = fc.record({
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
const activityMs = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, SECOND, MINUTE, 10 * MINUTE, HOUR, DAY).map((ago) => NOW.wallMs - ago) },
  { weight: 1, arbitrary: fc.constantFrom(NOW.wallMs + SECOND, NOW.wallMs + HOUR) },
);
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(arbitrary, { nil: null, freq: 3 });
/** Mostly nothing: otherwise hardly any process would be idle. */
const rarely = <T>(arbitrary: fc.Arbitrary<T>, otherwise: T): fc.Arbitrary<T> =>
  fc.oneof({ weight: 8, arbitrary: fc.constant(otherwise) }, { weight: 1, arbitrary });

/** Fields of the evidence; typed by name, so that a field that was renamed cannot be left behind here. */
const anyFields = {
  uid: fc.constantFrom(1000, 1001),
  ageMs: fc.constantFrom(0, 30 * SECOND, MINUTE, DAY),
  issues: rarely<readonly string[]>(fc.constant(['odd']), []),
  hasTerminal: rarely(fc.constant(true), false),
  loadPerCore: fc.constantFrom(0, 5),
  connections: rarely<Evidence['connections']>(fc.constant([{ inode: 1, local: 'a', remote: 'b' }]), []),
  tools: rarely<Evidence['tools']>(fc.constant([{ pid: 5, why: 'own session' }]), []),
  sessionId: maybe(fc.constantFrom('a', 'b')),
  status: rarely<string | null>(fc.constantFrom('idle', 'busy', 'waiting', 'odd'), null),
  statusUpdatedAtMs: maybe(activityMs),
  transcriptChangedAtMs: maybe(activityMs),
  schedule: rarely<string | null>(fc.constant('it waits'), null),
  journal: fc.oneof(
    { weight: 1, arbitrary: fc.constantFrom<Evidence['journal']>({ state: 'unknown' }, { state: 'missing' }) },
    {
      weight: 3,
      arbitrary: fc.record({
        state: fc.constant('found' as const),
        path: fc.constant(JOURNAL),
        turn: fc.constantFrom('ended' as const, 'ended' as const, 'unclear' as const, 'open' as const),
        decidedBy: fc.constant('done'),
        changedAtMs: activityMs,
      }),
    },
  ),
  clay: fc.constantFrom<Evidence['clay']>(
    { state: 'answered', pid: CLAY_PID, home: CLAY_HOME, busyProjects: [] },
    { state: 'answered', pid: CLAY_PID, home: CLAY_HOME, busyProjects: ['beta'] },
    { state: 'dead', home: CLAY_HOME },
    { state: 'unreachable', pid: CLAY_PID, home: CLAY_HOME, error: 'x' },
  ),
  project: maybe(fc.boolean().map((inTurn) => ({ slug: 'alpha', path: '/srv/projects/alpha', inTurn }))),
} satisfies { readonly [Field in keyof Evidence]?: fc.Arbitrary<Evidence[Field]> };

/** Any evidence at all, idle ones often among it. */
const anyEvidence: fc.Arbitrary<Evidence> = fc
  .record({
    number: fc.integer({ min: 2, max: 4_000_000 }),
    startTicks: fc.integer({ min: 0, max: 10_000_000 }),
    cpuMs: fc.constantFrom(0, 1380),
    ...anyFields,
  })
  .map(({ number, startTicks, ageMs, cpuMs, ...rest }) => {
    const id = { pid: number, startTicks };
    return idleEvidence({ ...rest, id, ageMs, startedAtMs: NOW.wallMs - ageMs, ...cpuTime(cpuMs, id) });
  });

const several = (maxLength: number): fc.Arbitrary<Evidence[]> =>
  fc.uniqueArray(anyEvidence, { minLength: 1, maxLength, selector: ({ id }) => keyOf(id) });

/** Judges at NOW, after earlier sweeps of the same processes. */
function judgeAfter(history: readonly (readonly Evidence[])[], evidence: readonly Evidence[], by: Policy): Judgement[] {
  let tracking: ReadonlyMap<string, Tracking> = new Map();
  history.forEach((before, at) => {
    tracking = judge(before, tracking, by, later((at - history.length) * 30 * SECOND)).tracking;
  });
  return judge(evidence, tracking, by, NOW).judgements;
}

/** Ways to be protected that can hold all at once. */
const protections: fc.Arbitrary<readonly Protection[]> = fc
  .shuffledSubarray([...PROTECTIONS], { minLength: 1 })
  .map((chosen) =>
    chosen.filter((protection, at) =>
      chosen.slice(0, at).every((other) => canHoldTogether(protection.code, other.code)),
    ),
  );

describe('judging', () => {
  it('never returns reap while a rule holds', () => {
    fc.assert(
      fc.property(several(4), protections, limits, fc.nat(3), (evidence, chosen, by, sweeps) => {
        // Idle for ever by all that is written down: only what protects stands in the way.
        const base = evidence.map((process) => ({ ...process, ...idleSince(NOW.wallMs - 10 * DAY) }));
        const subject = idleEvidence({ ...idleSince(NOW.wallMs - 10 * DAY), ageMs: 20 * DAY });
        const held = chosen.reduce((changed, { evidence: change }) => change(changed), subject);
        const heldBy = chosen.reduce((all, protection) => protection.limits?.(all) ?? all, {
          ...by,
          minAgeMs: Math.max(by.minAgeMs, MINUTE),
        });
        const history = Array.from({ length: sweeps }, () => [subject, ...base]);
        const [first] = judgeAfter(history, [held, ...base], heldBy);
        // A process that may use all of a core is not busy with less.
        const cpuOnly = chosen.every(({ code }) => code === 'cpu') && sweeps > 0 && by.cpuIdleBelow >= 50;
        if (!cpuOnly) expect(first?.verdict).toBe('protected');
        for (const { code } of chosen.filter((protection) => protection.code !== 'cpu'))
          expect(first?.reasons.map((reason) => reason.code)).toContain(code);
      }),
      { numRuns: RUNS },
    );
  });

  it('returns reap for some of the generated cases', () => {
    const verdicts = fc
      .sample(fc.tuple(several(4), limits), { numRuns: 300, seed: 1 })
      .flatMap(([evidence, by]) => judgeAfter([evidence], evidence, by).map(({ verdict }) => verdict));
    for (const verdict of ['protected', 'grace', 'reap'])
      expect(verdicts.filter((other) => other === verdict).length, verdict).toBeGreaterThan(20);
  });

  it('returns reasons for protected processes only', () => {
    fc.assert(
      fc.property(several(6), limits, fc.nat(3), (evidence, by, sweeps) => {
        const history = Array.from({ length: sweeps }, () => evidence);
        for (const judgement of judgeAfter(history, evidence, by)) {
          expect(judgement.verdict === 'protected').toBe(judgement.reasons.length > 0);
          if (judgement.verdict === 'protected') continue;
          expect(judgement.verdict).toBe(judgement.idleMs >= judgement.waitMs ? 'reap' : 'grace');
          const process = judgement.evidence;
          // The rules again, in short.
          expect(sweeps).toBeGreaterThan(0);
          expect([...process.issues, ...process.tools, process.schedule].filter((held) => held !== null)).toEqual([]);
          expect(process.hasTerminal || process.ageMs < by.minAgeMs || process.clay.state === 'unreachable').toBe(
            false,
          );
          expect(process.status ?? 'idle').toBe('idle');
          expect(process.connections).toEqual([]);
          const times = [process.statusUpdatedAtMs, process.transcriptChangedAtMs].filter((atMs) => atMs !== null);
          expect(Math.max(0, ...times)).toBeLessThanOrEqual(NOW.wallMs + 2 * SECOND);
        }
      }),
      { numRuns: RUNS },
    );
  });

  it('never protects less if more rules hold', () => {
    const rank = { protected: 2, grace: 1, reap: 0 } as const;
    fc.assert(
      fc.property(
        several(5),
        fc.constantFrom(...PROTECTIONS),
        limits,
        fc.nat(2),
        (evidence, protection, by, sweeps) => {
          const history = Array.from({ length: sweeps }, () => evidence);
          const before = judgeAfter(history, evidence, by);
          const [first, ...others] = evidence;
          if (!first) return;
          // Where Clay is unreachable or dead, it has no answer that could be added.
          if (protection.code === 'processing' && first.clay.state !== 'answered') return;
          // To be younger protects only where there is an age to reach, and leaves a turn to an earlier process.
          if (protection.code === 'young' && by.minAgeMs === 0) return;
          const after = judgeAfter(history, [protection.evidence(first), ...others], protection.limits?.(by) ?? by);
          after.forEach((judgement, at) => {
            const was = before[at]?.verdict ?? 'protected';
            expect(rank[judgement.verdict]).toBeGreaterThanOrEqual(rank[was]);
          });
        },
      ),
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

  it('returns one judgement and one tracking per process', () => {
    fc.assert(
      fc.property(several(8), limits, (evidence, by) => {
        const { judgements, tracking } = judge(evidence, new Map(), by, NOW);
        expect(judgements.map((judgement) => judgement.evidence)).toEqual(evidence);
        expect([...tracking.keys()]).toEqual(evidence.map(({ id }) => keyOf(id)));
      }),
      { numRuns: RUNS },
    );
  });

  it('does not modify its input', () => {
    fc.assert(
      fc.property(several(4), limits, (evidence, by) => {
        const before = structuredClone(evidence);
        const first = judge(evidence, new Map(), by, later(-30 * SECOND));
        const tracking = structuredClone(first.tracking);
        judge(evidence, first.tracking, by, NOW);
        expect(evidence).toEqual(before);
        expect(first.tracking).toEqual(tracking);
      }),
      { numRuns: 100 },
    );
  });

  it('never counts more idle time than has passed on the monotonic clock since the first sweep', () => {
    const sweeps = fc.array(fc.tuple(fc.nat(10 * MINUTE), fc.integer({ min: -DAY, max: 10 * DAY })), {
      minLength: 2,
      maxLength: 12,
    });
    fc.assert(
      fc.property(anyEvidence, sweeps, (evidence, steps) => {
        let tracking: ReadonlyMap<string, Tracking> = new Map();
        let now = NOW;
        let firstMs: number | null = null;
        let passedMs = 0;
        for (const [monotonicStep, wallStep] of steps) {
          now = { wallMs: now.wallMs + wallStep, monotonicMs: now.monotonicMs + monotonicStep };
          const judged = judge([evidence], tracking, LIMITS, now);
          const idleMs = judged.tracking.get(keyOf(evidence.id))?.idle.idleMs ?? 0;
          if (firstMs === null) firstMs = idleMs;
          else passedMs += monotonicStep;
          expect(idleMs).toBeLessThanOrEqual(firstMs + passedMs + 1e-6);
          expect(idleMs).toBeGreaterThanOrEqual(0);
          tracking = judged.tracking;
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

describe('parsers do not throw for any bytes', () => {
  it('of files of /proc', () => {
    never([STAT], (bytes) => parseStat(text(bytes)));
    never([STATUS], (bytes) => [parseStatus(text(bytes)), parseEffectiveCapabilities(text(bytes))]);
    never([TCP], (bytes) => parseTcpTable(text(bytes)));
    never([UNIX], (bytes) => parseUnixInodes(text(bytes)));
    never(['HOME=/home/ada\0CLAY_CONFIG=/home/ada/.clay/daemon.json\0'], (bytes) =>
      parseClaudeEnvironment(parseEnviron(bytes)),
    );
    never(['node\0/srv/lib/daemon.js\0\0\0'], (bytes) => isToolShell(parseCmdline(bytes)));
  });
  it('of session files', () => {
    const owner = { pid: 16_246, uid: 1000, startTicks: 135_996, startedAtMs: [1_795_341_903_500] };
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
      const reader = createScheduleParser();
      reader.read(bytes);
      reader.read(Buffer.from(TRANSCRIPT));
      return reader.scheduledRuns();
    });
  });
  it('of text for a terminal', () => {
    never(['x'], (bytes) => sanitize(bytes.toString('utf8')));
  });
  it('of the configuration, except the error for the user', () => {
    never(['max_parked = 3\n[log]\nlevel = "info"\n'], (bytes) => {
      try {
        parseConfigFile(bytes.toString('utf8'), 'config.toml');
      } catch (error) {
        expect(error).toBeInstanceOf(UsageError);
      }
    });
  });
});

describe('parsed values', () => {
  it('stat: any name is returned, with the right fields behind it', () => {
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
  it('environ and cmdline: what was written is returned', () => {
    const name = fc.stringMatching(/^[A-Z_]{1,8}$/);
    const value = fc.string({ unit: 'grapheme', maxLength: 12 }).map((text) => text.replaceAll('\0', ''));
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
  it('journals: a turn is open until its done record, behind any other records', () => {
    const type = fc.constantFrom('delta', 'tool_start', 'permission_request', 'message_uuid', 'result', 'odd', 'done');
    fc.assert(
      fc.property(fc.array(type, { maxLength: 20 }), (types) => {
        const records = [...types, 'user_message', 'delta'].map((type) => `${JSON.stringify({ type })}\n`);
        const open = Buffer.from(records.join(''));
        expect(parseJournalTail(open, true).turn).toBe('open');
        const done = Buffer.concat([open, Buffer.from('{"type":"done"}\n')]);
        expect(parseJournalTail(done, true).turn).toBe('ended');
      }),
      { numRuns: RUNS },
    );
  });
  it('escaped JSON keeps its value and has no invisible characters', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
        const json = JSON.stringify(value);
        const safe = escapeJson(json);
        expect(JSON.parse(safe)).toEqual(JSON.parse(json));
        expect(safe).not.toMatch(/[\p{Cf}\p{Zl}\p{Zp}]/u);
      }),
      { numRuns: RUNS },
    );
  });
});
