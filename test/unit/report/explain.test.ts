import { describe, expect, it } from 'vitest';
import type { Evidence } from '../../../src/judge/evidence.ts';
import type { Judgement } from '../../../src/judge/judge.ts';
import { PROTECTION_RULES, type ReasonCode } from '../../../src/judge/rules.ts';
import type { EvidenceSources } from '../../../src/report/describe-evidence.ts';
import {
  describeIdleTime,
  explainJudgement,
  explanationReport,
  explanationText,
  kindOutcomes,
  noCandidateReport,
  noCandidateText,
  ruleOutcomes,
  shortExplanationText,
} from '../../../src/report/explain.ts';
import { lookWith, orphan, protectedBy } from '../../helpers/assessment.ts';
import { CLAY_HOME, CLAY_PID, HOUR, idleEvidence, LIMITS, MINUTE, NOW, ruleInput } from '../../helpers/evidence.ts';
import { PROTECTIONS } from '../../helpers/protections.ts';

const ESCAPE = '\u001b';
// Wider than the longest path: what has no spaces cannot be broken.
const style = { columns: 120, colour: false };
const places: EvidenceSources = {
  procRoot: '/proc',
  environment: {
    entrypoint: 'sdk-ts',
    sdkVersion: '0.2.92',
    configDir: '/home/ada/.claude',
    clayHome: CLAY_HOME,
    insideTool: false,
    timeZone: null,
  },
  transcript: '/home/ada/.claude/projects/x/y.jsonl',
  clay: `${CLAY_HOME}/daemon.sock`,
  usage: { cpuPercent: 0.3, rssBytes: 200_000_000 },
};
const judged: Readonly<Record<string, Judgement>> = {
  protected: protectedBy(['turn', 'processing']),
  grace: orphan({ verdict: 'grace', idleMs: 10 * MINUTE }),
  reap: orphan(),
  never: orphan({ verdict: 'grace', waitMs: Number.POSITIVE_INFINITY }),
};
const explanationOf = (judgement: Judgement, policy = LIMITS) =>
  explainJudgement({ ...judgement, policy }, lookWith({ judgements: [judgement] }), places);

describe('ruleOutcomes', () => {
  it('says of an idle process why each rule does not hold', () => {
    const outcomes = ruleOutcomes(ruleInput());
    expect(outcomes.map(({ code, holds, detail }) => [code, holds, detail])).toEqual([
      ['unverified', false, 'everything that has to be known could be read and fits together'],
      ['young', false, '1d old; min_age is 1m'],
      ['terminal', false, 'it has no controlling terminal'],
      ['connection', false, 'it has no open TCP connection'],
      ['cpu', false, '0.0 % of a core in the last 30s, no more than an idle process uses; cpu_idle_below is 5 %'],
      ['tool', false, 'nothing runs below it'],
      ['busy', false, 'its session file has no status'],
      ['waiting', false, 'its session file has no status'],
      ['scheduled', false, 'it has set itself no alarm that is still to come'],
      ['turn', false, 'the last turn in its journal has ended'],
      ['processing', false, 'Clay says that project alpha is at rest'],
      ['api', false, 'Clay answers as expected'],
      ['configured', false, 'the configuration protects neither its project nor its conversation'],
    ]);
  });
  it.each(PROTECTIONS.filter(({ limits }) => !limits).map((row) => [row.code, row.name, row] as const))(
    'says that %s holds, and no other rule (%s)',
    (code, _, { evidence }) => {
      const busy = code === 'cpu' ? { pid: 16_246, percent: 6, limit: 5, isDoubtful: false } : null;
      const cpu = { percent: 0, overMs: 3000, busy };
      const input = ruleInput(evidence(idleEvidence()), { cpu });
      expect(ruleOutcomes(input).flatMap((outcome) => (outcome.holds ? [outcome.code] : []))).toEqual([code]);
    },
  );

  const detailOf = (code: ReasonCode, overrides: Partial<Evidence>, more: Parameters<typeof ruleInput>[1] = {}) =>
    ruleOutcomes(ruleInput(overrides, more)).find((outcome) => outcome.code === code)?.detail;
  it('says why a stale connection does not protect', () => {
    const connections = [{ inode: 1, local: 'a', remote: 'b' }];
    expect(detailOf('connection', { connections }, { connectionsAreStale: true })).toBe(
      'its connections are unchanged, or go to the same addresses, for stale_connection_after, 1h, with nothing else active',
    );
  });
  it('says why MCP servers are no tools', () => {
    const descendants = [5, 7].map((pid) => ({ pid, startTicks: 6 }));
    expect(detailOf('tool', { descendants })).toContain('none of its 2 descendants leads a session of its own');
  });
  it('says why the journal shows no open turn', () => {
    const older = { startedAtMs: NOW.wallMs, journal: { ...foundJournal, turn: 'open' } } as const;
    expect(detailOf('turn', older)).toContain('older than this process');
    expect(detailOf('turn', { journal: { ...foundJournal, turn: 'unclear', decidedBy: 'odd' } })).toContain('(odd)');
    expect(detailOf('turn', { journal: { state: 'missing' } })).toBe('Clay has no journal of its conversation');
    expect(detailOf('turn', { journal: { state: 'unknown' } })).toContain('unknown');
  });
  it('says why a project in a turn does not protect', () => {
    const inTurn = { project: { slug: 'alpha', path: '/', inTurn: true } };
    const answered = { clay: { state: 'answered', pid: 1, home: CLAY_HOME, busyProjects: ['alpha'] } } as const;
    expect(detailOf('processing', { ...inTurn, ...answered })).toContain('its own turn has ended');
    expect(detailOf('processing', { clay: { state: 'dead', home: CLAY_HOME } })).toBe('its Clay is dead');
  });
  it('says that there is no session file', () => {
    expect(detailOf('busy', { sessionId: null })).toBe('it has no session file');
  });
});

describe('kindOutcomes', () => {
  const fitting = (input: Parameters<typeof kindOutcomes>[0]): string[] =>
    kindOutcomes(input).flatMap(({ kind, fits }) => (fits ? [kind] : []));
  it('lists every kind that fits, and parked only if no other fits', () => {
    expect(fitting(ruleInput())).toEqual(['parked']);
    expect(fitting(ruleInput({ journal: { state: 'missing' } }, { supersededBy: 99 }))).toEqual([
      'superseded',
      'deleted',
    ]);
    expect(fitting(ruleInput({ clay: { state: 'dead', home: CLAY_HOME } }))).toEqual(['abandoned']);
  });
  it('says why each kind fits or does not', () => {
    expect(kindOutcomes(ruleInput({}, { supersededBy: 99 })).map(({ detail }) => detail)).toEqual([
      'pid 99 is a newer process of the same conversation',
      'Clay has its conversation',
      `its Clay, pid ${CLAY_PID}, is alive`,
      'it is superseded',
    ]);
    const unknown = ruleInput({ sessionId: null, journal: { state: 'unknown' } });
    expect(kindOutcomes(unknown).map(({ detail }) => detail)).toEqual([
      'its conversation is unknown',
      'it is unknown whether Clay has its conversation',
      `its Clay, pid ${CLAY_PID}, is alive`,
      'it is none of these: its conversation is open, but nothing happens in it',
    ]);
  });
});

const foundJournal = {
  state: 'found',
  path: '/j',
  turn: 'ended',
  decidedBy: 'done',
  changedAtMs: NOW.wallMs - MINUTE,
} as const;

describe('describeIdleTime', () => {
  it('names the file that changed last', () => {
    expect(describeIdleTime(ruleInput({ transcriptChangedAtMs: NOW.wallMs - 5 * MINUTE }))).toBe(
      'its transcript was the last to change, 5m ago',
    );
    expect(describeIdleTime(ruleInput({ statusUpdatedAtMs: NOW.wallMs - MINUTE }))).toBe(
      'the status in its session file was the last to change, 1m ago',
    );
  });
  it('says what counts if no file shows a time', () => {
    const silent = { transcriptChangedAtMs: null, journal: { state: 'unknown' } } as const;
    expect(describeIdleTime(ruleInput({ ...silent, sessionId: null }))).toContain('only what the service itself');
    expect(describeIdleTime(ruleInput(silent))).toContain('no activity of its conversation is recorded');
    expect(describeIdleTime(ruleInput({ ...silent, journal: { state: 'missing' } }))).toContain('from its start');
  });
});

describe('explainJudgement', () => {
  it('lists the evidence in the order in which it was collected', () => {
    expect(explanationOf(judged.protected as Judgement).evidence.map(({ what }) => what)).toEqual([
      ...['process', 'environment', 'age', 'terminal', 'memory', 'cpu', 'folder', 'sockets', 'connections'],
      ...['below it', 'session file', 'transcript', 'alarms', 'journal', 'Clay', 'configuration'],
    ]);
  });
  it('names the file that each piece of evidence was read from', () => {
    const { evidence } = explanationOf(judged.protected as Judgement);
    const from = Object.fromEntries(evidence.map((line) => [line.what, line.from]));
    expect(from).toMatchObject({
      process: '/proc/16246/stat, status',
      'session file': '/home/ada/.claude/sessions/16246.json',
      transcript: '/home/ada/.claude/projects/x/y.jsonl',
      Clay: `${CLAY_HOME}/daemon.sock`,
    });
  });
  it('says of a protected process what has to happen for each rule to hold no longer', () => {
    const codes = PROTECTION_RULES.map(({ code }) => code);
    const judgement = protectedBy(codes, { tools: [{ pid: 5, why: 'own session' }], ageMs: 20_000 });
    expect(explanationOf(judgement).otherwise).toEqual([
      {
        verdict: 'grace',
        when: [
          'unverified: what could not be read can be read (try as root) and fits together',
          'young: it gets older: in 40s',
          'terminal: it loses its terminal; until then a person may be using it',
          'connection: the connection closes, or the service sees it unchanged, or to the same address again and again, for stale_connection_after, 1h, while no other rule holds',
          'cpu: it uses less than cpu_idle_below, 5 % of a core, and each of its children less than twice that',
          'tool: the tool ends: pid 5',
          'busy: its session file says idle',
          'waiting: the user answers, and the turn that follows ends',
          'scheduled: its last alarm has fired, or the conversation deletes it; the agent or MCP tool call ends',
          'turn: the turn ends, by itself or because the user stops it in Clay',
          'processing: its project is at rest in Clay, or the journal of its conversation shows that its own turn has ended',
          'api: Clay answers again',
          'configured: its project or conversation is taken out of [protect]',
        ],
      },
      {
        verdict: 'reap',
        when: [
          'all of that',
          'then nothing happens for parked_after, 30m (as things are, it would be an orphan of kind parked)',
        ],
      },
    ]);
  });
  it('says which rules or which wait decided', () => {
    expect(explanationOf(judged.protected as Judgement).verdict).toContain('turn, processing');
    expect(explanationOf(judged.grace as Judgement).verdict).toMatch(
      /parked.* idle for 10m.*parked_after, 30m.* in 20m/,
    );
    expect(explanationOf(judged.reap as Judgement).verdict).toMatch(/idle for 1h.*the next sweep ends it/);
    const never = { ...LIMITS, parkedAfterMs: Number.POSITIVE_INFINITY };
    expect(explanationOf(judged.never as Judgement, never).verdict).toMatch(/parked_after, never.* it stays/);
  });
  it('says that max_parked has shortened a wait', () => {
    const shortened = orphan({ waitMs: 5 * MINUTE });
    expect(explanationOf(shortened, { ...LIMITS, maxParked: 3 }).verdict).toMatch(/grace_period, 5m.*max_parked, 3/);
  });
  it('does not promise that an orphan with parked_after = never is ended', () => {
    const never = { ...LIMITS, parkedAfterMs: Number.POSITIVE_INFINITY };
    const { otherwise } = explanationOf(judged.never as Judgement, never);
    expect(otherwise.flatMap(({ when }) => when).join(' ')).not.toContain('nothing happens for another');
  });
});

describe('explanationReport', () => {
  it('has the fields of status --json, and the rules and evidence', () => {
    const judgement = judged.grace as Judgement;
    const assessment = lookWith({ judgements: [judgement] });
    const report = explanationReport(explanationOf(judgement), judgement.evidence.id.pid, assessment, new Map());
    expect(report).toMatchObject({
      schema: 1,
      at: '2026-11-22T12:00:00.000Z',
      candidate: true,
      pid: 16_246,
      clayPid: CLAY_PID,
      verdict: 'grace',
      orphan: 'parked',
      idleSeconds: 600,
      graceSeconds: 1800,
      reapInSeconds: 1200,
      rules: expect.arrayContaining([{ code: 'young', holds: false, detail: expect.any(String) }]),
      evidence: expect.any(Array),
    });
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });
  it('says why a process is no candidate', () => {
    const checks = [{ what: 'named claude', holds: false, detail: 'its name is bash' }];
    expect(noCandidateReport(7, 'its name is bash', checks, NOW.wallMs)).toMatchObject({
      schema: 1,
      candidate: false,
      pid: 7,
      why: 'its name is bash',
      verdict: null,
      orphan: null,
      checks,
    });
  });
});

describe('shortExplanationText', () => {
  const narrow = { columns: 80, colour: false };
  const shortOf = (judgement: Judgement): string => shortExplanationText(explanationOf(judgement), judgement, narrow);
  const expectScreen = (text: string): void => {
    const lines = text.split('\n');
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(lines.length).toBeLessThanOrEqual(23);
  };

  it('fits 24 lines of 80 columns for every verdict and every rule', () => {
    for (const judgement of Object.values(judged)) expectScreen(shortOf(judgement as Judgement));
    for (const { evidence } of PROTECTIONS) {
      const input = ruleInput(evidence(idleEvidence()));
      const codes = ruleOutcomes(input).filter(({ holds }) => holds);
      const judgement: Judgement = { ...input, verdict: 'protected', reasons: codes };
      expectScreen(shortOf(judgement));
    }
  });
  it('fits even if every rule holds with a long reason, and says how many it leaves out', () => {
    const judgement = judged.protected as Judgement;
    const rules = PROTECTION_RULES.map(({ code }) => ({ code, holds: true, detail: 'a long reason, '.repeat(20) }));
    const otherwise = [{ verdict: 'grace' as const, when: rules.map(({ detail }) => detail) }];
    const text = shortExplanationText({ ...explanationOf(judgement), rules, otherwise }, judgement, narrow);
    expectScreen(text);
    expect(text).toMatch(/^ +… \d+ more$/m);
    expect(text).toContain('unverified');
  });
  it('begins with the verdict, shows only the rules that hold, and says where the rest is', () => {
    const judgement: Judgement = {
      ...ruleInput({ status: 'busy' }),
      verdict: 'protected',
      reasons: [{ code: 'busy', detail: 'its session file says "busy"' }],
    };
    const text = shortOf(judgement);
    const lines = text.split('\n');
    expect(lines[0]).toMatch(/^claude \d+ of project alpha: protected$/);
    expect(lines.filter((line) => /^[A-Z\d]/.test(line))).toEqual([
      'Verdict',
      'Rules that protect it',
      'Another verdict if',
      expect.stringMatching(/^\d+ other rules do not hold\. All evidence: clay-reaper explain \d+ --verbose$/),
    ]);
    expect(text).toMatch(/^ {2}busy +\S/m);
    expect(text).not.toMatch(/^ {2}young/m);
  });
  it('says of an orphan of which kind it is, and that no rule holds', () => {
    const text = shortOf(judged.reap as Judgement);
    expect(text).not.toContain('Rules that protect it');
    expect(text).toMatch(/^ {2}because +\S/m);
    expect(text).toMatch(/None of the \d+ protecting rules holds\./);
  });
  it('strips control characters', () => {
    const evil = protectedBy(['busy'], {
      status: `${ESCAPE}[2J`,
      project: { slug: ESCAPE, path: '/x', inTurn: false },
    });
    expect(shortOf(evil)).not.toContain(ESCAPE);
  });
});

describe('explanationText', () => {
  const linesOf = (text: string): string[] => text.split('\n');
  it('is no wider than the terminal, and names every rule', () => {
    const judgement = judged.protected as Judgement;
    const text = explanationText(explanationOf(judgement), judgement, style);
    expect(Math.max(...linesOf(text).map((line) => line.length))).toBeLessThanOrEqual(style.columns);
    for (const { code } of PROTECTION_RULES) expect(text).toContain(code);
    expect(text).toMatch(/^claude 16246 of project alpha: protected\n/);
  });
  it('strips control characters from everything that users can write', () => {
    const evil = `${ESCAPE}[2J\u202e`;
    const journal = {
      state: 'found',
      path: evil,
      turn: 'ended',
      decidedBy: evil,
      changedAtMs: NOW.wallMs - HOUR,
    } as const;
    const evidence = { cwd: evil, status: evil, project: { slug: evil, path: evil, inTurn: true }, journal };
    const judgement = protectedBy(['busy'], evidence);
    const text = explanationText(
      explainJudgement(judgement, lookWith({ judgements: [judgement] }), places),
      judgement,
      style,
    );
    for (const character of [ESCAPE, '\u202e']) expect(text).not.toContain(character);
    expect(noCandidateText(7, evil, [{ what: 'x', holds: false, detail: evil }], style)).not.toContain(ESCAPE);
  });
});
