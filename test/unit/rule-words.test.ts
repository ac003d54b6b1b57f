import { describe, expect, it } from 'vitest';
import { ORPHAN_KINDS, PROTECTION } from '../../src/judge/rules.ts';
import { idleInWords, kindOutcomes, limitInWords, ruleOutcomes, WHAT_LIFTS } from '../../src/output/rule-words.ts';
import { CLAY_HOME, caseOf, idleEvidence, MINUTE, NOW, SESSION } from './evidence.ts';
import { PROTECTIONS } from './protections.ts';

describe('ruleOutcomes', () => {
  it('has every rule, in the order of the table, with words for each', () => {
    for (const which of [caseOf(), caseOf({}, { cpu: null }), caseOf({ sessionId: null, project: null })]) {
      const outcomes = ruleOutcomes(which);
      expect(outcomes.map(({ code }) => code)).toEqual(PROTECTION.map(({ code }) => code));
      for (const { detail } of outcomes) expect(detail.length).toBeGreaterThan(5);
    }
  });
  it.each(PROTECTIONS.filter(({ limits }) => !limits).map((each) => [each.code, each.name, each] as const))(
    'says that one holds, and what lifts it: %s (%s)',
    (code, _, { evidence }) => {
      const cpu = { percent: code === 'cpu' ? 5 : 0, overMs: 3000, busy: code === 'cpu' };
      const which = caseOf(evidence(idleEvidence()), { cpu });
      expect(ruleOutcomes(which).flatMap((each) => (each.holds ? [each.code] : []))).toEqual([code]);
      expect(WHAT_LIFTS[code](which).length).toBeGreaterThan(5);
    },
  );
  it('explains why one does not hold that a person might expect to', () => {
    const detail = (code: string, which = caseOf()): string =>
      ruleOutcomes(which).find((each) => each.code === code)?.detail ?? '';
    const connections = [{ inode: 1, local: 'a', remote: 'b' }];
    expect(detail('connection', caseOf({ connections }, { connectionsAreStale: true }))).toMatch(/very same .* 1h/);
    const older = caseOf({ startedAtMs: NOW.wallMs, journal: { ...foundJournal, turn: 'open' } });
    expect(detail('turn', older)).toContain('older than this process');
    expect(detail('turn', caseOf({ journal: { ...foundJournal, turn: 'unclear', decidedBy: 'odd' } }))).toContain(
      'odd',
    );
    const busy = { project: { slug: 'alpha', path: '/', inTurn: true } };
    expect(detail('processing', caseOf(busy))).toContain('its own has ended');
    expect(detail('processing', caseOf({ clay: { state: 'dead', home: CLAY_HOME } }))).toContain('dead');
    expect(detail('busy', caseOf({ sessionId: null }))).toContain('no session file');
    expect(detail('young', caseOf())).toContain('min_age is 1m');
  });
});

const foundJournal = {
  state: 'found',
  path: '/j',
  turn: 'ended',
  decidedBy: 'done',
  changedAtMs: NOW.wallMs - MINUTE,
} as const;

describe('kindOutcomes', () => {
  const fitting = (which: Parameters<typeof kindOutcomes>[0]): string[] =>
    kindOutcomes(which).flatMap(({ kind, fits }) => (fits ? [kind] : []));
  it('has every kind, and says which fit: parked only what fits no other', () => {
    expect(kindOutcomes(caseOf()).map(({ kind }) => kind)).toEqual(ORPHAN_KINDS.map(({ kind }) => kind));
    expect(fitting(caseOf())).toEqual(['parked']);
    expect(fitting(caseOf({ journal: { state: 'missing' } }, { newerPid: 99 }))).toEqual(['superseded', 'deleted']);
    expect(fitting(caseOf({ clay: { state: 'dead', home: CLAY_HOME } }))).toEqual(['abandoned']);
  });
  it('says why, in words', () => {
    const words = kindOutcomes(caseOf({ sessionId: SESSION }, { newerPid: 99 }));
    expect(words.find(({ kind }) => kind === 'superseded')?.detail).toContain('pid 99');
    for (const { detail } of words) expect(detail.length).toBeGreaterThan(5);
  });
});

describe('idleInWords', () => {
  it('names what was the last to change', () => {
    expect(idleInWords(caseOf({ transcriptChangedAtMs: NOW.wallMs - 5 * MINUTE }))).toMatch(/transcript .* 5m ago/);
    expect(idleInWords(caseOf({ statusUpdatedAtMs: NOW.wallMs - MINUTE }))).toMatch(/session file .* 1m ago/);
  });
  it('says what it rests on where nothing is written down', () => {
    const silent = { transcriptChangedAtMs: null, journal: { state: 'unknown' } } as const;
    expect(idleInWords(caseOf({ ...silent, sessionId: null }))).toContain('only what the service itself sees');
    expect(idleInWords(caseOf(silent))).toContain('nothing is written down');
    expect(idleInWords(caseOf({ ...silent, journal: { state: 'missing' } }))).toContain('from its start');
  });
});

describe('limitInWords', () => {
  it('is a time, or never', () => {
    expect(limitInWords(5 * MINUTE)).toBe('5m');
    expect(limitInWords(Number.POSITIVE_INFINITY)).toBe('never');
  });
});
