import { describe, expect, it } from 'vitest';
import type { Judgement } from '../../src/judge/judge.ts';
import { ORPHAN_KINDS, PROTECTION } from '../../src/judge/rules.ts';
import type { Places } from '../../src/output/evidence-words.ts';
import {
  explain,
  explanationReport,
  explanationText,
  noCandidateReport,
  noCandidateText,
} from '../../src/output/explanation.ts';
import { CLAY_HOME, CLAY_PID, caseOf, HOUR, LIMITS, MINUTE, NOW } from './evidence.ts';
import { lookWith, orphan, protectedBy } from './look.ts';

const ESCAPE = '\u001b';
// Wider than the longest path: what has no spaces cannot be broken.
const screen = { columns: 120, colour: false };
const places: Places = {
  procRoot: '/proc',
  environment: {
    entrypoint: 'sdk-ts',
    sdkVersion: '0.2.92',
    configDir: '/home/ada/.claude',
    clayHome: CLAY_HOME,
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
  'for ever': orphan({ verdict: 'grace', waitMs: Number.POSITIVE_INFINITY }),
};
const explanationOf = (judgement: Judgement, limits = LIMITS) =>
  explain(caseOf({}, { limits }), judgement, lookWith({ judgements: [judgement] }), places);

describe('an explanation', () => {
  it.each(Object.keys(judged))('has all the evidence, every rule and every kind, and the verdict: %s', (name) => {
    const judgement = judged[name] as Judgement;
    const explanation = explanationOf(judgement);
    expect(explanation.rules.map(({ code }) => code)).toEqual(PROTECTION.map(({ code }) => code));
    expect(explanation.kinds.map(({ kind }) => kind)).toEqual(ORPHAN_KINDS.map(({ kind }) => kind));
    for (const { what, from, value, meaning } of explanation.evidence)
      for (const words of [what, from, value, meaning]) expect(words.length).toBeGreaterThan(1);
    expect(explanation.evidence.map(({ what }) => what)).toEqual(
      expect.arrayContaining([
        'process',
        'environment',
        'cpu',
        'sockets',
        'connections',
        'transcript',
        'journal',
        'Clay',
      ]),
    );
    expect(explanation.otherwise.length).toBeGreaterThan(0);
  });
  it('says what decided', () => {
    expect(explanationOf(judged.protected as Judgement).verdict).toContain('turn, processing');
    expect(explanationOf(judged.grace as Judgement).verdict).toMatch(
      /parked.* idle for 10m.*parked_after, 30m.* in 20m/,
    );
    expect(explanationOf(judged.reap as Judgement).verdict).toMatch(/idle for 1h.*the next sweep ends it/);
    const never = { ...LIMITS, parkedAfterMs: Number.POSITIVE_INFINITY };
    expect(explanationOf(judged['for ever'] as Judgement, never).verdict).toMatch(/parked_after, never.* it stays/);
  });
  it('says that max_parked has shortened a wait', () => {
    const shortened = orphan({ waitMs: 5 * MINUTE });
    expect(explanationOf(shortened, { ...LIMITS, maxParked: 3 }).verdict).toMatch(/grace_period, 5m.*max_parked, 3/);
  });
  it('does not promise the end of one that is never to end', () => {
    const never = { ...LIMITS, parkedAfterMs: Number.POSITIVE_INFINITY };
    const { otherwise } = explanationOf(judged['for ever'] as Judgement, never);
    expect(otherwise.flatMap(({ when }) => when).join(' ')).not.toContain('nothing happens for another');
  });
});

describe('explain --json', () => {
  it('is what status says of the process, and why', () => {
    const judgement = judged.grace as Judgement;
    const look = lookWith({ judgements: [judgement] });
    const report = explanationReport(explanationOf(judgement), judgement.evidence.id.pid, look, new Map());
    expect(report).toMatchObject({
      ...{ schema: 1, at: '2026-11-22T12:00:00.000Z', candidate: true, pid: 16_246, clayPid: CLAY_PID },
      ...{ verdict: 'grace', orphan: 'parked', idleSeconds: 600, graceSeconds: 1800, reapInSeconds: 1200 },
      rules: expect.arrayContaining([{ code: 'young', holds: false, detail: expect.any(String) }]),
      evidence: expect.any(Array),
    });
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });
  it('on what is no candidate says why not', () => {
    const checks = [{ what: 'named claude', holds: false, detail: 'its name is bash' }];
    expect(noCandidateReport(7, 'its name is bash', checks, NOW.wallMs)).toMatchObject({
      ...{ schema: 1, candidate: false, pid: 7, why: 'its name is bash', verdict: null, orphan: null },
      checks,
    });
  });
});

describe('as a person reads it', () => {
  const linesOf = (text: string): string[] => text.split('\n');
  it('is no wider than the screen, and shows all there is', () => {
    const judgement = judged.protected as Judgement;
    const text = explanationText(explanationOf(judgement), judgement, screen);
    expect(Math.max(...linesOf(text).map((line) => line.length))).toBeLessThanOrEqual(screen.columns);
    for (const { code } of PROTECTION) expect(text).toContain(code);
    expect(text).toMatch(/^claude 16246 of project alpha: protected\n/);
  });
  it('shows nothing of others that would steer a terminal', () => {
    const evil = `${ESCAPE}[2J\u202e`;
    const journal = {
      state: 'found',
      path: evil,
      turn: 'ended',
      decidedBy: evil,
      changedAtMs: NOW.wallMs - HOUR,
    } as const;
    const evidence = { cwd: evil, status: evil, project: { slug: evil, path: evil, inTurn: true }, journal };
    const which = caseOf(evidence);
    const judgement = { ...protectedBy(['busy']), evidence: which.evidence };
    const text = explanationText(
      explain(which, judgement, lookWith({ judgements: [judgement] }), places),
      judgement,
      screen,
    );
    for (const character of [ESCAPE, '\u202e']) expect(text).not.toContain(character);
    expect(noCandidateText(7, evil, [{ what: 'x', holds: false, detail: evil }], screen)).not.toContain(ESCAPE);
  });
});
