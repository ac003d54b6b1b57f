import { openTurn, projectInTurn } from './clay-activity.ts';
import type { BusyPart, CpuUse } from './cpu.ts';
import { formatDuration, formatLimit } from './duration.ts';
import type { Evidence } from './evidence.ts';
import { futureActivity } from './idle.ts';
import type { Clock, Policy } from './policy.ts';

/** All that a rule may look at. */
export type RuleInput = {
  readonly evidence: Evidence;
  /** Null at the first assessment: nothing is measured yet. */
  readonly cpu: CpuUse | null;
  readonly connectionsAreStale: boolean;
  /** Recorded activity that lies in the future is unchanged for so long that it is none. */
  readonly futureIsSettled: boolean;
  /** In two looks, what it says was written to its journal just then, and it had no connection over which that can come. */
  readonly streamsUnseen: boolean;
  /** The pid of the newest process of the same conversation, if that is another one. */
  readonly supersededBy: number | null;
  readonly policy: Policy;
  readonly now: Clock;
};

/** A rule that protects a process while it holds. */
export type Rule<Code extends string> = {
  readonly code: Code;
  /** For a column of a table: three words at most. */
  readonly label: string;
  /** When it holds, for the reference in the README and the man page. */
  readonly when: string;
  /** Describes what protects the process, or returns null if the rule does not hold. */
  readonly holds: (input: RuleInput) => string | null;
  /** Describes why the rule does not hold; only asked where it does not. */
  readonly whyNot: (input: RuleInput) => string;
  /** Describes what has to happen for the rule to hold no longer; only asked where it holds. */
  readonly howToClear: (input: RuleInput) => string;
};

/**
 * The one table of what protects a process. Each rule stands for itself: none looks at another's outcome. Status, explain,
 * the log, the README and the man page all read it; codes are binding, people script against them.
 */
export const PROTECTION_RULES = [
  {
    code: 'unverified',
    label: 'not verified',
    when: 'something about it could not be read or does not fit together',
    holds: unverifiedReason,
    whyNot: () => 'everything that has to be known could be read and fits together',
    howToClear: () => 'what could not be read can be read (try as root) and fits together',
  },
  {
    code: 'young',
    label: 'just started',
    when: 'it is younger than min_age',
    holds: ({ evidence, policy }) =>
      evidence.ageMs < policy.minAgeMs
        ? `${seconds(evidence.ageMs)} old, younger than ${seconds(policy.minAgeMs)}`
        : null,
    whyNot: ({ evidence, policy }) =>
      `${formatDuration(evidence.ageMs)} old; min_age is ${formatLimit(policy.minAgeMs)}`,
    howToClear: ({ evidence, policy }) => `it gets older: in ${formatDuration(policy.minAgeMs - evidence.ageMs)}`,
  },
  {
    code: 'terminal',
    label: 'has a terminal',
    when: "it has a controlling terminal: a person's own, or one of Clay's",
    holds: ({ evidence }) => (evidence.hasTerminal ? 'it has a controlling terminal' : null),
    whyNot: () => 'it has no controlling terminal',
    howToClear: () => 'it loses its terminal; until then a person may be using it',
  },
  {
    code: 'connection',
    label: 'open connection',
    when: 'it has a TCP connection; one to the same address for stale_connection_after while no other rule holds is ignored',
    holds: ({ evidence, connectionsAreStale }) =>
      evidence.connections.length > 0 && !connectionsAreStale
        ? `${evidence.connections.length} open TCP connection(s)`
        : null,
    whyNot: ({ evidence, policy }) =>
      evidence.connections.length === 0
        ? 'it has no open TCP connection'
        : `its connections are unchanged, or go to the same addresses, for stale_connection_after, ${formatLimit(policy.staleConnectionAfterMs)}, with nothing else active`,
    howToClear: ({ policy }) =>
      Number.isFinite(policy.staleConnectionAfterMs)
        ? `the connection closes, or the service sees it unchanged, or to the same address again and again, for stale_connection_after, ${formatLimit(policy.staleConnectionAfterMs)}, while no other rule holds`
        : 'the connection closes',
  },
  {
    code: 'cpu',
    label: 'uses CPU',
    when: 'it uses more than cpu_idle_below of a core, or one of its children more than twice that',
    holds: ({ cpu, evidence }) => {
      if (cpu === null) return 'its CPU use is not measured yet';
      return cpu.busy && describeBusyPart(cpu.busy, cpu.overMs, evidence);
    },
    whyNot: ({ cpu, policy }) =>
      cpu === null
        ? 'not measured'
        : `${cpu.percent.toFixed(1)} % of a core in the last ${formatDuration(cpu.overMs)}, no more than an idle process uses; cpu_idle_below is ${policy.cpuIdleBelow} %`,
    howToClear: ({ policy }) =>
      `it uses less than cpu_idle_below, ${policy.cpuIdleBelow} % of a core, and each of its children less than twice that`,
  },
  {
    code: 'tool',
    label: 'runs a tool',
    when: 'a tool or a hook runs below it, also in the background',
    holds: ({ evidence }) => {
      const tool = evidence.tools[0];
      return tool ? `pid ${tool.pid} below it runs a tool (${tool.why})` : null;
    },
    whyNot: ({ evidence }) =>
      evidence.descendants.length === 0
        ? 'nothing runs below it'
        : `none of its ${evidence.descendants.length} descendants leads a session of its own or is the shell of a tool`,
    howToClear: ({ evidence }) => `the tool ends: ${evidence.tools.map((tool) => `pid ${tool.pid}`).join(', ')}`,
  },
  {
    code: 'busy',
    label: 'says it is busy',
    when: 'its session file says so, or has an unknown status',
    // Treat any unknown status as busy.
    holds: ({ evidence: { status } }) =>
      status === null || status === 'idle' || status === 'waiting' ? null : sessionFileSays(status),
    whyNot: ({ evidence }) => describeStatus(evidence),
    howToClear: () => 'its session file says idle',
  },
  {
    code: 'waiting',
    label: 'waits for you',
    when: 'its session file says that it waits for an answer',
    holds: ({ evidence: { status, waitingFor } }) =>
      status === 'waiting' ? `its session file says waiting${waitingFor ? ` for ${waitingFor}` : ''}` : null,
    whyNot: ({ evidence }) => describeStatus(evidence),
    howToClear: () => 'the user answers, and the turn that follows ends',
  },
  {
    code: 'scheduled',
    label: 'waits for its alarm',
    when: 'it waits for a wake-up or cron entry of its own, or for an agent or MCP tool call in the background',
    holds: ({ evidence }) => evidence.schedule,
    whyNot: () => 'it has set itself no alarm that is still to come',
    howToClear: () => 'its last alarm has fired, or the conversation deletes it; the agent or MCP tool call ends',
  },
  {
    code: 'turn',
    label: 'in a turn',
    when: 'the journal of its conversation has an open turn',
    holds: ({ evidence }) => openTurn(evidence),
    whyNot: ({ evidence: { journal } }) => {
      if (journal.state === 'unknown') return 'its journal in Clay is unknown';
      if (journal.state === 'missing') return 'Clay has no journal of its conversation';
      if (journal.turn === 'ended') return 'the last turn in its journal has ended';
      if (journal.turn === 'unclear') return `the end of its journal does not decide (${journal.decidedBy})`;
      return 'the turn that is open in its journal is older than this process';
    },
    howToClear: () => 'the turn ends, by itself or because the user stops it in Clay',
  },
  {
    code: 'processing',
    label: 'project in a turn',
    when: 'its project is in a turn, and its conversation is not known to be at rest',
    holds: ({ evidence }) => projectInTurn(evidence),
    whyNot: ({ evidence: { clay, project } }) => {
      if (clay.state === 'dead') return 'its Clay is dead';
      if (clay.state === 'unreachable') return 'Clay does not say (see api)';
      if (project === null) return 'no project of this Clay is in a turn';
      return project.inTurn
        ? `project ${project.slug} is in a turn, but the journal of this conversation shows that its own turn has ended`
        : `Clay says that project ${project.slug} is at rest`;
    },
    howToClear: () =>
      'its project is at rest in Clay, or the journal of its conversation shows that its own turn has ended',
  },
  {
    code: 'api',
    label: 'Clay is silent',
    when: 'Clay gave no usable answer',
    holds: ({ evidence: { clay } }) => (clay.state === 'unreachable' ? `Clay's API: ${clay.error}` : null),
    whyNot: ({ evidence: { clay } }) => (clay.state === 'dead' ? 'its Clay is dead' : 'Clay answers as expected'),
    howToClear: () => 'Clay answers again',
  },
  {
    code: 'configured',
    label: 'you protect it',
    when: 'the configuration protects its project or conversation',
    holds: ({ evidence, policy }) => protectedByConfig(evidence, policy),
    whyNot: () => 'the configuration protects neither its project nor its conversation',
    howToClear: () => 'its project or conversation is taken out of [protect]',
  },
] as const satisfies readonly Rule<string>[];

/** Why a process is protected. */
export type ReasonCode = (typeof PROTECTION_RULES)[number]['code'];

function describeBusyPart(busy: BusyPart, overMs: number, { id, loadPerCore }: Evidence): string {
  const who = busy.pid === id.pid ? '' : `pid ${busy.pid} below it: `;
  const doubt = busy.isDoubtful ? `, which may be work at a load of ${loadPerCore.toFixed(1)} per core` : '';
  const limit = Number(busy.limit.toFixed(1));
  return `${who}${busy.percent.toFixed(1)} % of a core in the last ${(overMs / 1000).toFixed(1)} s, more than ${limit} %${doubt}`;
}

const seconds = (ms: number): string => `${Math.round(ms / 1000)} s`;

function unverifiedReason({ evidence, now, futureIsSettled }: RuleInput): string | null {
  const future = futureIsSettled ? [] : futureActivity(evidence, now);
  if (evidence.issues.length + future.length === 0) return null;
  const inFuture = future.map(({ what, atMs }) => `${what} changed ${seconds(atMs - now.wallMs)} in the future`);
  return [...evidence.issues, ...inFuture].join('; ');
}

const sessionFileSays = (status: string): string => `its session file says ${JSON.stringify(status)}`;

function describeStatus({ status, sessionId }: Evidence): string {
  if (sessionId === null) return 'it has no session file';
  return status === null ? 'its session file has no status' : sessionFileSays(status);
}

function protectedByConfig({ project, cwd, sessionId }: Evidence, policy: Policy): string | null {
  const { protectedProjects, protectedSessions } = policy;
  if (protectedProjects.length + protectedSessions.length === 0) return null;
  const isBelow = (path: string | null | undefined, folder: string): boolean =>
    path === folder || (folder.startsWith('/') && (path?.startsWith(`${folder.replace(/\/+$/, '')}/`) ?? false));
  const name = protectedProjects.find(
    (entry) => entry === project?.slug || isBelow(project?.path, entry) || isBelow(cwd, entry),
  );
  if (name !== undefined) return `the configuration protects project ${name}`;
  if (project === null && protectedProjects.some((entry) => cwd === null || !entry.startsWith('/'))) {
    return 'the configuration protects projects, and the project of this process is unknown';
  }
  if (protectedSessions.length === 0) return null;
  if (sessionId === null)
    return 'the configuration protects conversations, and the conversation of this process is unknown';
  return protectedSessions.includes(sessionId) ? 'the configuration protects its conversation' : null;
}
