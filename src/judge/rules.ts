import type { CpuUse } from './cpu.ts';
import type { Evidence } from './evidence.ts';
import { futureHappenings } from './idle.ts';
import type { Limits, Now } from './limits.ts';

/** All that a rule may look at. */
export type Case = {
  readonly evidence: Evidence;
  /** Null at the first look: nothing is measured yet. */
  readonly cpu: CpuUse | null;
  readonly connectionsAreStale: boolean;
  /** The newest process of the same conversation, if that is another one. */
  readonly newerPid: number | null;
  readonly limits: Limits;
  readonly now: Now;
};

/** Why a process is protected: binding names, people script against them. */
export type ReasonCode =
  | 'unverified'
  | 'young'
  | 'terminal'
  | 'connection'
  | 'cpu'
  | 'tool'
  | 'busy'
  | 'waiting'
  | 'scheduled'
  | 'turn'
  | 'processing'
  | 'api'
  | 'configured';

/** A rule that protects: the words that say why, or null if it does not hold. */
export type Rule = { readonly code: ReasonCode; readonly holds: (which: Case) => string | null };

const seconds = (ms: number): string => `${Math.round(ms / 1000)} s`;

/** The one table of what protects a process. Each row stands for itself: no row looks at another's outcome. */
export const PROTECTION: readonly Rule[] = [
  { code: 'unverified', holds: ({ evidence, now }) => doubts(evidence, now) },
  {
    code: 'young',
    holds: ({ evidence, limits }) =>
      evidence.ageMs < limits.minAgeMs
        ? `${seconds(evidence.ageMs)} old, younger than ${seconds(limits.minAgeMs)}`
        : null,
  },
  { code: 'terminal', holds: ({ evidence }) => (evidence.hasTerminal ? 'it has a controlling terminal' : null) },
  {
    code: 'connection',
    holds: ({ evidence, connectionsAreStale }) =>
      evidence.connections.length > 0 && !connectionsAreStale
        ? `${evidence.connections.length} open TCP connection(s)`
        : null,
  },
  {
    code: 'cpu',
    holds: ({ cpu }) => {
      if (cpu === null) return 'its CPU use is not measured yet';
      return cpu.busy ? `${cpu.percent.toFixed(1)} % of a core in the last ${(cpu.overMs / 1000).toFixed(1)} s` : null;
    },
  },
  {
    code: 'tool',
    holds: ({ evidence }) => {
      const tool = evidence.tools[0];
      return tool ? `pid ${tool.pid} below it runs a tool (${tool.why})` : null;
    },
  },
  {
    // Unknown words are later releases' names for something going on, until somebody measures otherwise.
    code: 'busy',
    holds: ({ evidence: { status } }) =>
      status === null || status === 'idle' || status === 'waiting'
        ? null
        : `its session file says ${JSON.stringify(status)}`,
  },
  {
    code: 'waiting',
    holds: ({ evidence: { status, waitingFor } }) =>
      status === 'waiting' ? `its session file says waiting${waitingFor ? ` for ${waitingFor}` : ''}` : null,
  },
  { code: 'scheduled', holds: ({ evidence }) => evidence.alarm },
  { code: 'turn', holds: ({ evidence }) => openTurn(evidence) },
  { code: 'processing', holds: ({ evidence }) => processing(evidence) },
  { code: 'api', holds: ({ evidence: { clay } }) => (clay.state === 'silent' ? `Clay's API: ${clay.error}` : null) },
  { code: 'configured', holds: ({ evidence, limits }) => configured(evidence, limits) },
];

function doubts(evidence: Evidence, now: Now): string | null {
  const all = [
    ...evidence.doubts,
    ...futureHappenings(evidence, now).map(
      (each) => `${each.what} changed ${seconds(each.atMs - now.wallMs)} in the future`,
    ),
  ];
  return all.length > 0 ? all.join('; ') : null;
}

/** The start of a process is known to a tick, the change of a file to some ms. */
const START_SLACK_MS = 1_000;

/**
 * The turn that is open in the journal, in words, if it is this process's: Clay writes to the journal throughout a turn,
 * so one that was not changed after the process began was left open by an earlier process.
 */
export function openTurn({ journal, startedAtMs }: Evidence): string | null {
  if (journal.state !== 'found' || journal.turn !== 'open') return null;
  if (journal.changedAtMs < startedAtMs - START_SLACK_MS) return null;
  return `its journal in Clay has a turn open (last record ${journal.decidedBy})`;
}

/** Clay's word that a turn is on where this process belongs, in words, unless its own conversation is known to be at rest. */
export function processing({ clay, project, journal, sessionId }: Evidence): string | null {
  if (clay.state !== 'answered') return null;
  const busy = project === null ? clay.busyProjects[0] : project.inTurn ? project.slug : undefined;
  if (busy === undefined) return null;
  if (sessionId !== null && journal.state === 'found' && journal.turn === 'ended') return null;
  return project === null
    ? `project ${busy} is in a turn, and the process cannot be tied to a project`
    : `project ${busy} is in a turn, and this conversation is not known to be at rest`;
}

function configured({ project, cwd, sessionId }: Evidence, limits: Limits): string | null {
  const { protectedProjects, protectedSessions } = limits;
  const isBelow = (path: string | null | undefined, folder: string): boolean =>
    path === folder || (folder.startsWith('/') && (path?.startsWith(`${folder.replace(/\/+$/, '')}/`) ?? false));
  const name = protectedProjects.find(
    (each) => each === project?.slug || isBelow(project?.path, each) || isBelow(cwd, each),
  );
  if (name !== undefined) return `the configuration protects project ${name}`;
  if (project === null && protectedProjects.some((each) => cwd === null || !each.startsWith('/'))) {
    return 'the configuration protects projects, and which one this is cannot be told';
  }
  if (protectedSessions.length === 0) return null;
  if (sessionId === null) return 'the configuration protects conversations, and which one this is cannot be told';
  return protectedSessions.includes(sessionId) ? 'the configuration protects its conversation' : null;
}

/** What kind of leftover an idle process is: binding names. */
export type OrphanKind = 'superseded' | 'deleted' | 'abandoned' | 'parked';

/** The one table of orphan kinds, the first that fits counts; `wait`: which of the waits it has to be idle for. */
export const ORPHAN_KINDS: readonly {
  readonly kind: OrphanKind;
  readonly wait: 'grace_period' | 'parked_after';
  readonly fits: (which: Case) => boolean;
}[] = [
  { kind: 'superseded', wait: 'grace_period', fits: ({ newerPid }) => newerPid !== null },
  { kind: 'deleted', wait: 'grace_period', fits: ({ evidence }) => evidence.journal.state === 'missing' },
  { kind: 'abandoned', wait: 'grace_period', fits: ({ evidence }) => evidence.clay.state === 'dead' },
  { kind: 'parked', wait: 'parked_after', fits: () => true },
];
