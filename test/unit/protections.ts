import type { Evidence } from '../../src/judge/evidence.ts';
import type { Limits } from '../../src/judge/limits.ts';
import type { ReasonCode } from '../../src/judge/rules.ts';
import { CLAY_HOME, CLAY_PID, cpuTime, DAY, JOURNAL, NOW, SECOND, SESSION } from './evidence.ts';

/** A way in which a process can be protected: what it changes about an idle one. */
export type Protection = {
  readonly code: ReasonCode;
  readonly name: string;
  readonly evidence: (idle: Evidence) => Evidence;
  readonly limits?: (limits: Limits) => Limits;
};

const project = { slug: 'alpha', path: '/srv/projects/alpha' };

/** All ways; each makes exactly its own reason hold on an idle process that was looked at before. */
export const PROTECTIONS: readonly Protection[] = [
  {
    code: 'unverified',
    name: 'something could not be read',
    evidence: (idle) => ({
      ...idle,
      doubts: [...idle.doubts, '/proc/1/fd may not be read (EACCES)'],
      unreadable: true,
    }),
  },
  {
    code: 'unverified',
    name: 'a transcript from the future',
    evidence: (idle) => ({ ...idle, transcriptChangedAtMs: NOW.wallMs + 10 * DAY }),
  },
  {
    code: 'unverified',
    name: 'a status from the future',
    evidence: (idle) => ({ ...idle, statusUpdatedAtMs: NOW.wallMs + 10 * DAY }),
  },
  {
    code: 'young',
    name: 'too young',
    evidence: (idle) => ({ ...idle, ageMs: 59_999, startedAtMs: NOW.wallMs - 59_999 }),
  },
  { code: 'terminal', name: 'a controlling terminal', evidence: (idle) => ({ ...idle, hasTerminal: true }) },
  {
    code: 'connection',
    name: 'an open connection',
    evidence: (idle) => ({
      ...idle,
      connections: [{ inode: 30_740, local: '0100007F:B630', remote: '0100007F:0FAA' }],
    }),
  },
  { code: 'cpu', name: 'CPU use', evidence: (idle) => ({ ...idle, ...cpuTime(idle.cpuMs + 1000, idle.id) }) },
  {
    code: 'tool',
    name: 'a tool shell',
    evidence: (idle) => ({ ...idle, tools: [{ pid: 16_536, why: 'tool shell' }] }),
  },
  { code: 'busy', name: 'its status', evidence: (idle) => ({ ...idle, status: 'busy' }) },
  {
    code: 'waiting',
    name: 'its status',
    evidence: (idle) => ({ ...idle, status: 'waiting', waitingFor: 'permission prompt' }),
  },
  { code: 'scheduled', name: 'an alarm', evidence: (idle) => ({ ...idle, alarm: 'it waits for an alarm' }) },
  {
    code: 'turn',
    name: 'an open turn',
    evidence: (idle) => ({
      ...idle,
      journal: {
        ...{ state: 'found', path: JOURNAL, turn: 'open', decidedBy: 'permission_request' },
        changedAtMs: Math.max(NOW.wallMs - 30 * SECOND, idle.startedAtMs),
      },
    }),
  },
  {
    code: 'processing',
    name: 'its project is in a turn',
    evidence: (idle) => ({
      ...idle,
      project: { ...project, inTurn: true },
      clay: { state: 'answered', pid: CLAY_PID, home: CLAY_HOME, busyProjects: ['alpha'] },
      // A conversation at rest clears it.
      journal: idle.journal.state === 'found' && idle.journal.turn === 'ended' ? { state: 'unknown' } : idle.journal,
    }),
  },
  {
    code: 'api',
    name: 'Clay does not answer',
    evidence: (idle) => ({
      ...idle,
      clay: { state: 'silent', pid: CLAY_PID, home: CLAY_HOME, error: 'no answer within 2 s' },
    }),
  },
  {
    code: 'configured',
    name: 'its project',
    evidence: (idle) => idle,
    limits: (limits) => ({ ...limits, protectedProjects: ['alpha'] }),
  },
  {
    code: 'configured',
    name: 'its conversation',
    evidence: (idle) => idle,
    limits: (limits) => ({ ...limits, protectedSessions: [SESSION] }),
  },
];

/** What cannot hold at once: a process has one status, and Clay answers or does not. */
const EXCLUSIVE: readonly (readonly [string, string])[] = [
  ['busy', 'waiting'],
  ['processing', 'api'],
];

/** Whether both can hold of one process at one time. */
export const canHoldTogether = (one: string, other: string): boolean =>
  !EXCLUSIVE.some((pair) => pair.includes(one) && pair.includes(other) && one !== other);
