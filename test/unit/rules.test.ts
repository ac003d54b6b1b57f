import { describe, expect, it } from 'vitest';
import type { Evidence } from '../../src/judge/evidence.ts';
import { type Case, ORPHAN_KINDS, openTurn, PROTECTION, processing, type ReasonCode } from '../../src/judge/rules.ts';
import {
  CLAY_HOME,
  CLAY_PID,
  caseOf,
  DAY,
  HOUR,
  idleEvidence,
  JOURNAL,
  LIMITS,
  MINUTE,
  NOW,
  QUIET,
  SECOND,
  SESSION,
} from './evidence.ts';

const detail = (code: ReasonCode, which: Case): string | null => {
  const rule = PROTECTION.find((each) => each.code === code);
  if (!rule) throw new Error(`no rule ${code}`);
  return rule.holds(which);
};
const holds = (code: ReasonCode, overrides: Partial<Evidence>, more: Parameters<typeof caseOf>[1] = {}): boolean =>
  detail(code, caseOf(overrides, more)) !== null;
const limits = (overrides: Partial<typeof LIMITS>): Parameters<typeof caseOf>[1] => ({
  limits: { ...LIMITS, ...overrides },
});
const answered = (...busyProjects: string[]): Pick<Evidence, 'clay'> => ({
  clay: { state: 'answered', pid: CLAY_PID, home: CLAY_HOME, busyProjects },
});
const journal = (turn: 'open' | 'ended' | 'unclear', changedAtMs = NOW.wallMs - HOUR): Pick<Evidence, 'journal'> => ({
  journal: { state: 'found', path: JOURNAL, turn, decidedBy: 'delta', changedAtMs },
});
const inTurn = { project: { slug: 'alpha', path: '/srv/projects/alpha', inTurn: true }, ...answered('alpha') };

describe('the table', () => {
  it('has the binding codes, each once', () => {
    expect(PROTECTION.map(({ code }) => code)).toEqual([
      ...['unverified', 'young', 'terminal', 'connection', 'cpu', 'tool', 'busy', 'waiting', 'scheduled', 'turn'],
      ...['processing', 'api', 'configured'],
    ]);
  });
  it('leaves the idle process alone', () => {
    expect(PROTECTION.filter(({ holds }) => holds(caseOf()) !== null)).toEqual([]);
  });
  it('gives every reason in words', () => {
    const which = caseOf(
      {
        ...inTurn,
        ...journal('open'),
        ...{ doubts: ['odd'], ageMs: 1, hasTerminal: true, status: 'busy', alarm: 'it waits' },
        connections: [{ inode: 1, local: 'a', remote: 'b' }],
        tools: [{ pid: 5, why: 'own session' }],
      },
      { cpu: { percent: 5, overMs: 3000, busy: true }, ...limits({ protectedProjects: ['alpha'] }) },
    );
    const held = PROTECTION.flatMap(({ code, holds }) => (holds(which) === null ? [] : [[code, holds(which)]]));
    expect(Object.fromEntries(held)).toEqual({
      unverified: 'odd',
      young: '0 s old, younger than 60 s',
      terminal: expect.stringContaining('terminal'),
      connection: '1 open TCP connection(s)',
      cpu: '5.0 % of a core in the last 3.0 s',
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
  it('holds with any doubt, and names them all', () => {
    expect(detail('unverified', caseOf({ doubts: ['one', 'other'] }))).toBe('one; other');
  });
  // File times and the clock are not read at the same moment, so a little ahead is now.
  it.each([
    ['2 s', 2 * SECOND, false],
    ['more than 2 s', 2 * SECOND + 1, true],
  ])('a time %s in the future', (_, ahead, expected) => {
    const atMs = NOW.wallMs + ahead;
    expect(holds('unverified', { statusUpdatedAtMs: atMs })).toBe(expected);
    expect(holds('unverified', { transcriptChangedAtMs: atMs })).toBe(expected);
    expect(holds('unverified', journal('ended', atMs))).toBe(expected);
  });
  it('says which time it is', () => {
    expect(detail('unverified', caseOf(journal('ended', NOW.wallMs + HOUR)))).toMatch(/journal.* 3600 s in the future/);
  });
});

describe('young', () => {
  it.each([
    [MINUTE - 1, true],
    [MINUTE, false],
  ])('%d ms old, min_age 1m', (ageMs, expected) => expect(holds('young', { ageMs })).toBe(expected));
  it('never holds with min_age = 0', () => expect(holds('young', { ageMs: 0 }, limits({ minAgeMs: 0 }))).toBe(false));
});

describe('connection', () => {
  const connections = [{ inode: 1, local: 'a', remote: 'b' }];
  it('holds with a connection that is not stale', () => expect(holds('connection', { connections })).toBe(true));
  it('does not hold with a stale one', () => {
    expect(holds('connection', { connections }, { connectionsAreStale: true })).toBe(false);
  });
  it('needs a connection: other sockets are none', () => expect(holds('connection', { socketFds: 7 })).toBe(false));
});

describe('cpu', () => {
  it('holds while nothing is measured', () => expect(holds('cpu', {}, { cpu: null })).toBe(true));
  it('holds when busy', () => expect(holds('cpu', {}, { cpu: { ...QUIET, busy: true } })).toBe(true));
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
  ])('status %j', (status, expected) => {
    const held = (['busy', 'waiting'] as const).filter((code) => holds(code, { status }));
    expect(held).toEqual(expected === null ? [] : [expected]);
  });
  it('says what it waits for', () => {
    const which = caseOf({ status: 'waiting', waitingFor: 'permission prompt' });
    expect(detail('waiting', which)).toBe('its session file says waiting for permission prompt');
    expect(detail('waiting', caseOf({ status: 'waiting' }))).toBe('its session file says waiting');
  });
});

describe('scheduled', () => {
  it('holds while an alarm is to come, in its words', () => {
    expect(detail('scheduled', caseOf({ alarm: 'until noon' }))).toBe('until noon');
    expect(detail('scheduled', caseOf({ alarm: null }))).toBeNull();
  });
});

describe('turn', () => {
  it('holds with an open turn, whatever Clay says', () => {
    expect(holds('turn', journal('open'))).toBe(true);
    expect(holds('turn', { ...journal('open'), clay: { state: 'dead', home: CLAY_HOME } })).toBe(true);
    expect(holds('turn', { ...journal('open'), ...inTurn })).toBe(true);
  });
  it.each(['ended', 'unclear'] as const)('does not hold with one that is %s', (turn) => {
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
  ])('last changed %s the start of the process, known to 1 s', (_, offset, expected) => {
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
  it('does not hold if this very conversation is at rest', () => {
    expect(holds('processing', { ...inTurn, ...journal('ended') })).toBe(false);
  });
  it('holds without a conversation, whatever journal was found', () => {
    expect(holds('processing', { ...inTurn, ...journal('ended'), sessionId: null })).toBe(true);
  });
  it('does not hold if another project is in a turn', () => {
    expect(holds('processing', { ...answered('beta'), journal: { state: 'unknown' } })).toBe(false);
  });
  it('holds without a project while any project of its Clay is in a turn', () => {
    const lost = { project: null, sessionId: null, journal: { state: 'unknown' } as const };
    expect(holds('processing', { ...lost, ...answered('beta') })).toBe(true);
    expect(detail('processing', caseOf({ ...lost, ...answered('beta') }))).toContain('beta');
    expect(holds('processing', { ...lost, ...answered() })).toBe(false);
  });
  it('says nothing where Clay does not answer: that is another rule', () => {
    expect(processing(idleEvidence({ clay: { state: 'dead', home: CLAY_HOME }, project: null }))).toBeNull();
    expect(
      processing(idleEvidence({ clay: { state: 'silent', pid: 1, home: CLAY_HOME, error: 'x' }, project: null })),
    ).toBeNull();
  });
});

describe('api', () => {
  it('holds while Clay gives no usable answer, and says why', () => {
    const clay = { state: 'silent', pid: CLAY_PID, home: CLAY_HOME, error: 'its answer is not JSON' } as const;
    expect(detail('api', caseOf({ clay }))).toBe("Clay's API: its answer is not JSON");
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
  it('holds if a project is protected and which one this is cannot be told', () => {
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
  it('holds if a conversation is protected and which one this is cannot be told', () => {
    expect(holds('configured', { sessionId: null }, limits({ protectedSessions: [SESSION] }))).toBe(true);
    expect(holds('configured', { sessionId: null })).toBe(false);
  });
});

describe('orphan kinds', () => {
  const kindOf = (overrides: Partial<Evidence>, newerPid: number | null = null) => {
    const { kind, wait } = ORPHAN_KINDS.find((each) => each.fits(caseOf(overrides, { newerPid }))) ?? {};
    return `${kind} ${wait}`;
  };
  const deleted = { journal: { state: 'missing' } as const };
  const abandoned = { clay: { state: 'dead', home: CLAY_HOME } as const };
  it('fit the evidence, and say which wait applies', () => {
    expect(kindOf({}, 99)).toBe('superseded grace_period');
    expect(kindOf(deleted)).toBe('deleted grace_period');
    expect(kindOf(abandoned)).toBe('abandoned grace_period');
    expect(kindOf({})).toBe('parked parked_after');
    expect(kindOf({ journal: { state: 'unknown' } })).toBe('parked parked_after');
    expect(kindOf({ sessionId: null, journal: { state: 'unknown' }, ageMs: DAY })).toBe('parked parked_after');
  });
  it('the first that fits counts', () => {
    expect(kindOf({ ...deleted, ...abandoned }, 99)).toBe('superseded grace_period');
    expect(kindOf({ ...deleted, ...abandoned })).toBe('deleted grace_period');
  });
});
