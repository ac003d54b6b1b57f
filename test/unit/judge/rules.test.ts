import { describe, expect, it } from 'vitest';
import { openTurn, projectInTurn } from '../../../src/judge/clay-activity.ts';
import type { Evidence } from '../../../src/judge/evidence.ts';
import { ORPHAN_KINDS } from '../../../src/judge/orphan-kinds.ts';
import { PROTECTION_RULES, type ReasonCode, type RuleInput } from '../../../src/judge/rules.ts';
import {
  CLAY_HOME,
  CLAY_PID,
  DAY,
  HOUR,
  idleEvidence,
  JOURNAL,
  LIMITS,
  MINUTE,
  NOW,
  QUIET,
  ruleInput,
  SECOND,
  SESSION,
} from '../../helpers/evidence.ts';

const detail = (code: ReasonCode, which: RuleInput): string | null => {
  const rule = PROTECTION_RULES.find((candidate) => candidate.code === code);
  if (!rule) throw new Error(`no rule ${code}`);
  return rule.holds(which);
};
const holds = (code: ReasonCode, overrides: Partial<Evidence>, more: Parameters<typeof ruleInput>[1] = {}): boolean =>
  detail(code, ruleInput(overrides, more)) !== null;
const limits = (overrides: Partial<typeof LIMITS>): Parameters<typeof ruleInput>[1] => ({
  policy: { ...LIMITS, ...overrides },
});
const answered = (...busyProjects: string[]): Pick<Evidence, 'clay'> => ({
  clay: { state: 'answered', pid: CLAY_PID, home: CLAY_HOME, busyProjects },
});
const journal = (turn: 'open' | 'ended' | 'unclear', changedAtMs = NOW.wallMs - HOUR): Pick<Evidence, 'journal'> => ({
  journal: { state: 'found', path: JOURNAL, turn, decidedBy: 'delta', changedAtMs },
});
const inTurn = { project: { slug: 'alpha', path: '/srv/projects/alpha', inTurn: true }, ...answered('alpha') };

describe('the table', () => {
  it('has each public code once', () => {
    expect(PROTECTION_RULES.map(({ code }) => code)).toEqual([
      ...['unverified', 'young', 'terminal', 'connection', 'cpu', 'tool', 'busy', 'waiting', 'scheduled', 'turn'],
      ...['processing', 'api', 'configured'],
    ]);
  });
  it('has no rule that holds for an idle process', () => {
    expect(PROTECTION_RULES.filter(({ holds }) => holds(ruleInput()) !== null)).toEqual([]);
  });
  it('describes every reason', () => {
    const which = ruleInput(
      {
        ...inTurn,
        ...journal('open'),
        issues: ['odd'],
        ageMs: 1,
        hasTerminal: true,
        status: 'busy',
        schedule: 'it waits',
        connections: [{ inode: 1, local: 'a', remote: 'b' }],
        tools: [{ pid: 5, why: 'own session' }],
      },
      {
        cpu: { percent: 5, overMs: 3000, busy: { pid: 16_246, percent: 6, limit: 5, isDoubtful: false } },
        ...limits({ protectedProjects: ['alpha'] }),
      },
    );
    const held = PROTECTION_RULES.flatMap(({ code, holds }) => (holds(which) === null ? [] : [[code, holds(which)]]));
    expect(Object.fromEntries(held)).toEqual({
      unverified: 'odd',
      young: '0 s old, younger than 60 s',
      terminal: expect.stringContaining('terminal'),
      connection: '1 open TCP connection(s)',
      cpu: '6.0 % of a core in the last 3.0 s, more than 5 %',
      tool: 'pid 5 below it runs a tool (own session)',
      busy: 'its session file says "busy"',
      scheduled: 'it waits',
      turn: expect.stringContaining('delta'),
      processing: expect.stringContaining('alpha'),
      configured: expect.stringContaining('alpha'),
    });
  });
});

describe('unverified', () => {
  it('holds with any issue, and names them all', () => {
    expect(detail('unverified', ruleInput({ issues: ['one', 'other'] }))).toBe('one; other');
  });
  // File times and the clock are not read at the same moment, so a little ahead is now.
  it.each([
    ['2 s', 2 * SECOND, false],
    ['more than 2 s', 2 * SECOND + 1, true],
  ])('for a time %s in the future', (_, ahead, expected) => {
    const atMs = NOW.wallMs + ahead;
    expect(holds('unverified', { statusUpdatedAtMs: atMs })).toBe(expected);
    expect(holds('unverified', { transcriptChangedAtMs: atMs })).toBe(expected);
    expect(holds('unverified', journal('ended', atMs))).toBe(expected);
  });
  it('names the file with the time in the future', () => {
    expect(detail('unverified', ruleInput(journal('ended', NOW.wallMs + HOUR)))).toMatch(
      /journal.* 3600 s in the future/,
    );
  });
});

describe('young', () => {
  it.each([
    [MINUTE - 1, true],
    [MINUTE, false],
  ])('for a process %d ms old with min_age 1m', (ageMs, expected) => expect(holds('young', { ageMs })).toBe(expected));
  it('never holds with min_age = 0', () => expect(holds('young', { ageMs: 0 }, limits({ minAgeMs: 0 }))).toBe(false));
});

describe('connection', () => {
  const connections = [{ inode: 1, local: 'a', remote: 'b' }];
  it('holds with a connection that is not stale', () => expect(holds('connection', { connections })).toBe(true));
  it('does not hold with a stale connection', () => {
    expect(holds('connection', { connections }, { connectionsAreStale: true })).toBe(false);
  });
  it('does not hold for other sockets', () => expect(holds('connection', { socketFds: 7 })).toBe(false));
});

describe('cpu', () => {
  it('holds while nothing is measured', () => expect(holds('cpu', {}, { cpu: null })).toBe(true));
  it('holds when busy', () =>
    expect(holds('cpu', {}, { cpu: { ...QUIET, busy: { pid: 1, percent: 9, limit: 5, isDoubtful: false } } })).toBe(
      true,
    ));
  it('holds in doubt, and says what the doubt is', () => {
    const busy = { pid: 7, percent: 4.81, limit: 10 / 3.4, isDoubtful: true };
    const rule = PROTECTION_RULES.find(({ code }) => code === 'cpu');
    expect(rule?.holds(ruleInput({ loadPerCore: 3.42 }, { cpu: { ...QUIET, busy } }))).toBe(
      'pid 7 below it: 4.8 % of a core in the last 30.0 s, more than 2.9 %, which may be work at a load of 3.4 per core',
    );
  });
  it('does not hold otherwise', () => expect(holds('cpu', {}, { cpu: { ...QUIET, percent: 1 } })).toBe(false));
});

describe('tool', () => {
  it.each(['own session', 'tool shell'] as const)('holds with a descendant: %s', (why) => {
    expect(holds('tool', { tools: [{ pid: 16_536, why }] })).toBe(true);
  });
  it('does not hold with MCP servers', () => {
    expect(holds('tool', { children: 2, descendants: [{ pid: 5, startTicks: 6 }], socketFds: 5 })).toBe(false);
  });
});

describe('busy and waiting', () => {
  it.each([
    [null, null],
    ['idle', null],
    ['busy', 'busy'],
    ['waiting', 'waiting'],
    // Later releases may have words for work that nobody has measured.
    ['compacting', 'busy'],
    ['', 'busy'],
    ['Idle', 'busy'],
  ])('for the status %j', (status, expected) => {
    const held = (['busy', 'waiting'] as const).filter((code) => holds(code, { status }));
    expect(held).toEqual(expected === null ? [] : [expected]);
  });
  it('names what the process waits for', () => {
    const which = ruleInput({ status: 'waiting', waitingFor: 'permission prompt' });
    expect(detail('waiting', which)).toBe('its session file says waiting for permission prompt');
    expect(detail('waiting', ruleInput({ status: 'waiting' }))).toBe('its session file says waiting');
  });
});

describe('scheduled', () => {
  it('holds while a scheduled run is still to come', () => {
    expect(detail('scheduled', ruleInput({ schedule: 'until noon' }))).toBe('until noon');
    expect(detail('scheduled', ruleInput({ schedule: null }))).toBeNull();
  });
});

describe('turn', () => {
  it('holds with an open turn even if Clay reports none', () => {
    expect(holds('turn', journal('open'))).toBe(true);
    expect(holds('turn', { ...journal('open'), clay: { state: 'dead', home: CLAY_HOME } })).toBe(true);
    expect(holds('turn', { ...journal('open'), ...inTurn })).toBe(true);
  });
  it.each(['ended', 'unclear'] as const)('does not hold with a turn that is %s', (turn) => {
    expect(holds('turn', journal(turn))).toBe(false);
  });
  it('does not hold without a journal', () => {
    expect(holds('turn', { journal: { state: 'missing' } })).toBe(false);
    expect(holds('turn', { journal: { state: 'unknown' } })).toBe(false);
  });
  // Left open by an earlier process that was killed: Clay writes to the journal throughout a turn.
  it.each([
    ['before', -SECOND - 1, null],
    ['at', -SECOND, expect.any(String)],
    ['after', 0, expect.any(String)],
  ])('for a turn that changed %s the start of the process, known to 1 s', (_, offset, expected) => {
    const startedAtMs = NOW.wallMs - HOUR;
    expect(openTurn(idleEvidence({ startedAtMs, ...journal('open', startedAtMs + offset) }))).toEqual(expected);
  });
});

describe('processing', () => {
  it('holds while its project is in a turn and its conversation is not known to be at rest', () => {
    expect(holds('processing', { ...inTurn, ...journal('unclear') })).toBe(true);
    expect(holds('processing', { ...inTurn, ...journal('open') })).toBe(true);
    expect(holds('processing', { ...inTurn, journal: { state: 'missing' } })).toBe(true);
    expect(holds('processing', { ...inTurn, journal: { state: 'unknown' } })).toBe(true);
  });
  it('does not hold if this conversation is at rest', () => {
    expect(holds('processing', { ...inTurn, ...journal('ended') })).toBe(false);
  });
  it('holds if the conversation went on in its transcript after the end of its journal', () => {
    const endedAtMs = NOW.wallMs - HOUR;
    const goesOn = (ms: number) => ({
      ...inTurn,
      ...journal('ended', endedAtMs),
      transcriptChangedAtMs: endedAtMs + ms,
    });
    expect(holds('processing', goesOn(10 * SECOND))).toBe(false);
    expect(holds('processing', goesOn(10 * SECOND + 1))).toBe(true);
    expect(holds('processing', { ...goesOn(MINUTE), ...answered('beta'), project: idleEvidence().project })).toBe(
      false,
    );
  });
  it('holds if Clay cannot write to its journal, also where it cannot be tied to a project', () => {
    const full = { ...inTurn, ...journal('ended'), journalDiskIsFull: true };
    expect(detail('processing', ruleInput(full))).toContain('the disk is full');
    expect(holds('processing', { ...full, project: null })).toBe(true);
    expect(holds('processing', { ...full, ...answered(), project: idleEvidence().project })).toBe(false);
  });
  it('holds without a conversation even if a journal was found', () => {
    expect(holds('processing', { ...inTurn, ...journal('ended'), sessionId: null })).toBe(true);
  });
  it('does not hold if another project is in a turn', () => {
    expect(holds('processing', { ...answered('beta'), journal: { state: 'unknown' } })).toBe(false);
  });
  it('holds without a project while any project of its Clay is in a turn', () => {
    const lost = { project: null, sessionId: null, journal: { state: 'unknown' } as const };
    expect(holds('processing', { ...lost, ...answered('beta') })).toBe(true);
    expect(detail('processing', ruleInput({ ...lost, ...answered('beta') }))).toContain('beta');
    expect(holds('processing', { ...lost, ...answered() })).toBe(false);
  });
  it('does not hold if Clay does not answer: the rule api does', () => {
    expect(projectInTurn(idleEvidence({ clay: { state: 'dead', home: CLAY_HOME }, project: null }))).toBeNull();
    expect(
      projectInTurn(
        idleEvidence({ clay: { state: 'unreachable', pid: 1, home: CLAY_HOME, error: 'x' }, project: null }),
      ),
    ).toBeNull();
  });
});

describe('api', () => {
  it('holds while Clay gives no usable answer, and says why', () => {
    const clay = { state: 'unreachable', pid: CLAY_PID, home: CLAY_HOME, error: 'its answer is not JSON' } as const;
    expect(detail('api', ruleInput({ clay }))).toBe("Clay's API: its answer is not JSON");
  });
  it('does not hold for a Clay that answered or is dead', () => {
    expect(holds('api', {})).toBe(false);
    expect(holds('api', { clay: { state: 'dead', home: CLAY_HOME } })).toBe(false);
  });
});

describe('configured', () => {
  const project = { slug: 'shop', path: '/srv/shop', inTurn: false };
  it.each([
    ['slug', 'shop'],
    ['path', '/srv/shop'],
    ['working directory', '/srv/shop/web'],
  ])('holds by the %s of the project', (_, name) => {
    expect(holds('configured', { project, cwd: '/srv/shop/web' }, limits({ protectedProjects: [name] }))).toBe(true);
  });
  it('does not hold for another project', () => {
    const others = limits({ protectedProjects: ['sho', 'shop2', '/srv/sho', '/srv/shop/w', 'SHOP', ''] });
    expect(holds('configured', { project, cwd: '/srv/shop/web' }, others)).toBe(false);
  });
  it('holds in every folder below a protected path', () => {
    const below = { project: null, cwd: '/srv/shop/web' };
    expect(holds('configured', below, limits({ protectedProjects: ['/srv/shop'] }))).toBe(true);
    expect(holds('configured', below, limits({ protectedProjects: ['/srv/shop/'] }))).toBe(true);
    expect(holds('configured', below, limits({ protectedProjects: ['/srv/sho'] }))).toBe(false);
    expect(holds('configured', { project, cwd: '/elsewhere' }, limits({ protectedProjects: ['/srv'] }))).toBe(true);
  });
  it('holds if a project is protected and the own project is unknown', () => {
    // A Clay that was stopped has no daemon.json any more that could name the slug.
    const lost = { project: null, cwd: '/srv/elsewhere', clay: { state: 'dead', home: CLAY_HOME } } as const;
    expect(holds('configured', lost, limits({ protectedProjects: ['shop'] }))).toBe(true);
    expect(holds('configured', { project: null, cwd: null }, limits({ protectedProjects: ['/srv/shop'] }))).toBe(true);
    expect(holds('configured', lost)).toBe(false);
  });
  it('holds by the conversation', () => {
    expect(holds('configured', {}, limits({ protectedSessions: [SESSION] }))).toBe(true);
    expect(holds('configured', {}, limits({ protectedSessions: ['00000000-0000-4000-8000-000000000000'] }))).toBe(
      false,
    );
  });
  it('holds if a conversation is protected and the own conversation is unknown', () => {
    expect(holds('configured', { sessionId: null }, limits({ protectedSessions: [SESSION] }))).toBe(true);
    expect(holds('configured', { sessionId: null })).toBe(false);
  });
});

describe('orphan kinds', () => {
  const kindOf = (overrides: Partial<Evidence>, supersededBy: number | null = null) => {
    const { kind, waitSetting } =
      ORPHAN_KINDS.find((kind) => kind.matches(ruleInput(overrides, { supersededBy }))) ?? {};
    return `${kind} ${waitSetting}`;
  };
  const deleted = { journal: { state: 'missing' } as const };
  const abandoned = { clay: { state: 'dead', home: CLAY_HOME } as const };
  it('match the evidence and name the setting of their wait', () => {
    expect(kindOf({}, 99)).toBe('superseded grace_period');
    expect(kindOf(deleted)).toBe('deleted grace_period');
    expect(kindOf(abandoned)).toBe('abandoned grace_period');
    expect(kindOf({})).toBe('parked parked_after');
    expect(kindOf({ journal: { state: 'unknown' } })).toBe('parked parked_after');
    expect(kindOf({ sessionId: null, journal: { state: 'unknown' }, ageMs: DAY })).toBe('parked parked_after');
  });
  it('the first match counts', () => {
    expect(kindOf({ ...deleted, ...abandoned }, 99)).toBe('superseded grace_period');
    expect(kindOf({ ...deleted, ...abandoned })).toBe('deleted grace_period');
  });
});
