import type { Evidence } from '../../src/judge/evidence.ts';
import type { Policy } from '../../src/judge/policy.ts';
import type { ReasonCode } from '../../src/judge/rules.ts';
import { CLAY_HOME, CLAY_PID, cpuMsOf, cpuTime, DAY, JOURNAL, NOW, SECOND, SESSION } from './evidence.ts';

/** A way in which a rule can come to hold: what it changes about an idle process. */
type Way = {
  readonly name: string;
  readonly evidence: (idle: Evidence) => Evidence;
  readonly limits?: (limits: Policy) => Policy;
};

const project = { slug: 'alpha', path: '/srv/projects/alpha' };

/** The rows of the test matrix, by rule: a rule without a row does not compile. Each makes exactly its own rule hold. */
const MATRIX: Readonly<Record<ReasonCode, readonly Way[]>> = {
  unverified: [
    {
      name: 'something could not be read',
      evidence: (idle) => ({
        ...idle,
        issues: [...idle.issues, '/proc/1/fd may not be read (EACCES)'],
        unreadable: true,
      }),
    },
    {
      name: 'a transcript from the future',
      evidence: (idle) => ({ ...idle, transcriptChangedAtMs: NOW.wallMs + 10 * DAY }),
    },
    {
      name: 'a status from the future',
      evidence: (idle) => ({ ...idle, statusUpdatedAtMs: NOW.wallMs + 10 * DAY }),
    },
  ],
  young: [
    {
      name: 'too young',
      evidence: (idle) => ({ ...idle, ageMs: 59_999, startedAtMs: NOW.wallMs - 59_999 }),
    },
  ],
  terminal: [{ name: 'a controlling terminal', evidence: (idle) => ({ ...idle, hasTerminal: true }) }],
  connection: [
    {
      name: 'an open connection',
      evidence: (idle) => ({
        ...idle,
        connections: [{ inode: 30_740, local: '0100007F:B630', remote: '0100007F:0FAA' }],
      }),
    },
  ],
  cpu: [{ name: 'CPU use', evidence: (idle) => ({ ...idle, ...cpuTime(cpuMsOf(idle) + 20_000, idle.id) }) }],
  tool: [
    {
      name: 'a tool shell',
      evidence: (idle) => ({ ...idle, tools: [{ pid: 16_536, why: 'tool shell' }] }),
    },
  ],
  busy: [{ name: 'its status', evidence: (idle) => ({ ...idle, status: 'busy' }) }],
  waiting: [
    {
      name: 'its status',
      evidence: (idle) => ({ ...idle, status: 'waiting', waitingFor: 'permission prompt' }),
    },
  ],
  scheduled: [{ name: 'an alarm', evidence: (idle) => ({ ...idle, schedule: 'it waits for an alarm' }) }],
  turn: [
    {
      name: 'an open turn',
      evidence: (idle) => ({
        ...idle,
        journal: {
          state: 'found',
          path: JOURNAL,
          turn: 'open',
          decidedBy: 'permission_request',
          changedAtMs: Math.max(NOW.wallMs - 30 * SECOND, idle.startedAtMs),
        },
      }),
    },
  ],
  processing: [
    {
      name: 'its project is in a turn',
      evidence: (idle) => ({
        ...idle,
        project: { ...project, inTurn: true },
        clay: { state: 'answered', pid: CLAY_PID, home: CLAY_HOME, busyProjects: ['alpha'] },
        // A conversation at rest clears it.
        journal: idle.journal.state === 'found' && idle.journal.turn === 'ended' ? { state: 'unknown' } : idle.journal,
      }),
    },
  ],
  api: [
    {
      name: 'Clay does not answer',
      evidence: (idle) => ({
        ...idle,
        clay: { state: 'unreachable', pid: CLAY_PID, home: CLAY_HOME, error: 'no answer within 2 s' },
      }),
    },
  ],
  configured: [
    {
      name: 'its project',
      evidence: (idle) => idle,
      limits: (limits) => ({ ...limits, protectedProjects: ['alpha'] }),
    },
    {
      name: 'its conversation',
      evidence: (idle) => idle,
      limits: (limits) => ({ ...limits, protectedSessions: [SESSION] }),
    },
  ],
};

/** A row of the matrix. */
export type Protection = Way & { readonly code: ReasonCode };

/** All rows, each with the rule that it makes hold for an idle process that an earlier sweep has seen. */
export const PROTECTIONS: readonly Protection[] = (Object.keys(MATRIX) as ReasonCode[]).flatMap((code) =>
  MATRIX[code].map((way) => ({ code, ...way })),
);

/** Rules that exclude each other: a process has one status, and Clay answers or does not. */
const EXCLUSIVE: readonly (readonly [string, string])[] = [
  ['busy', 'waiting'],
  ['processing', 'api'],
];

/** Whether both can hold of one process at one time. */
export const canHoldTogether = (one: string, other: string): boolean =>
  !EXCLUSIVE.some((pair) => pair.includes(one) && pair.includes(other) && one !== other);
