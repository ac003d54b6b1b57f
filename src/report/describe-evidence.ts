import type { ClaudeEnvironment } from '../claude/process.ts';
import { formatDuration } from '../judge/duration.ts';
import type { Evidence } from '../judge/evidence.ts';
import type { RuleInput } from '../judge/rules.ts';
import { formatAddress } from '../proc/net-tcp.ts';
import { formatBytes } from './format.ts';

/** One piece of evidence: its subject, where it was read, what was found, and what that means. */
export type EvidenceLine = {
  readonly what: string;
  readonly from: string;
  readonly value: string;
  readonly meaning: string;
};

/** Where the evidence was read, as far as the evidence does not say so itself. */
export type EvidenceSources = {
  readonly procRoot: string;
  /** Null if it could not be read. */
  readonly environment: ClaudeEnvironment | null;
  readonly transcript: string | null;
  /** Clay's socket, or the home of a dead one. */
  readonly clay: string;
  /** CPU and memory of this process alone, as top shows them; null if they could not be measured. */
  readonly usage: { readonly cpuPercent: number; readonly rssBytes: number } | null;
};

/** Describes all evidence on one process, in the order in which it was collected. */
export function describeEvidence(input: RuleInput, sources: EvidenceSources): EvidenceLine[] {
  const { evidence } = input;
  const proc = `${sources.procRoot}/${evidence.id.pid}`;
  return [
    {
      what: 'process',
      from: `${proc}/stat, status`,
      value: `named claude, child of pid ${evidence.ppid}, uid ${evidence.uid}`,
      meaning: describeParent(evidence),
    },
    describeEnvironment(proc, sources),
    {
      what: 'age',
      from: `${proc}/stat`,
      value: `${formatDuration(evidence.ageMs)}, started at ${new Date(evidence.startedAtMs).toISOString()}`,
      meaning: 'with the pid, its start time identifies this process for good',
    },
    {
      what: 'terminal',
      from: `${proc}/stat`,
      value: evidence.hasTerminal ? 'it has one' : 'none',
      meaning: evidence.hasTerminal ? 'a person may be typing' : 'it is used through Clay only',
    },
    {
      what: 'memory',
      from: `${proc}/stat`,
      value: `${formatBytes(sources.usage?.rssBytes ?? evidence.rssBytes)} resident`,
      meaning: 'about as much comes back when it ends',
    },
    describeCpu(proc, input, sources),
    {
      what: 'folder',
      from: `${proc}/cwd`,
      value: evidence.cwd ?? 'not read',
      meaning: evidence.project
        ? `project ${evidence.project.slug} (${evidence.project.path})`
        : 'no project that Clay names',
    },
    {
      what: 'sockets',
      from: `${proc}/fd`,
      value: `${evidence.socketFds} descriptors`,
      meaning: 'stdio, MCP servers and connections; the number alone says nothing',
    },
    describeConnections(proc, evidence),
    describeDescendants(proc, evidence),
    describeSessionFile(input, sources),
    describeTranscript(input, sources),
    {
      what: 'alarms',
      from: `its transcript, ${evidence.cwd ?? '.'}/.claude/scheduled_tasks.json`,
      value: evidence.schedule === null ? 'none' : 'set',
      meaning: evidence.schedule ?? 'it does not wait for a wake-up that it set itself',
    },
    describeJournal(input),
    describeClay(evidence, sources),
    {
      what: 'configuration',
      from: 'the configuration (clay-reaper config)',
      value: `${input.policy.protectedProjects.length} projects and ${input.policy.protectedSessions.length} conversations protected`,
      meaning: 'processes of these are never ended',
    },
  ];
}

function describeParent({ clay, ppid }: Evidence): string {
  if (clay.state === 'dead') return `its Clay (${clay.home}) is dead`;
  return ppid === clay.pid
    ? `started by Clay ${clay.pid} (${clay.home})`
    : `started by pid ${ppid}, a worker of Clay ${clay.pid} (${clay.home})`;
}

function describeEnvironment(proc: string, { environment }: EvidenceSources): EvidenceLine {
  const at = { what: 'environment', from: `${proc}/environ` };
  if (environment === null) return { ...at, value: 'not read', meaning: 'it is not known who started it' };
  const { entrypoint, sdkVersion } = environment;
  return {
    ...at,
    value: `CLAUDE_CODE_ENTRYPOINT=${entrypoint ?? '(not set)'}, CLAUDE_AGENT_SDK_VERSION=${sdkVersion ?? '(not set)'}`,
    meaning: entrypoint?.startsWith('sdk') ? 'the Agent SDK started it' : 'the Agent SDK did not start it',
  };
}

function describeCpu(proc: string, { evidence, cpu }: RuleInput, { usage }: EvidenceSources): EvidenceLine {
  const below = evidence.descendants.length;
  const alone = below === 0 || usage === null ? '' : `, ${usage.cpuPercent.toFixed(1)} % by itself`;
  return {
    what: 'cpu',
    from: below === 0 ? `${proc}/stat` : `${proc}/stat, and the stat of its ${below} descendants`,
    value:
      cpu === null
        ? 'not measured'
        : `${cpu.percent.toFixed(1)} % of a core in the last ${formatDuration(cpu.overMs)}${alone}`,
    meaning: cpu?.busy ? 'it may be at work' : 'no more than an idle process uses',
  };
}

function describeConnections(proc: string, { connections }: Evidence): EvidenceLine {
  const pairs = connections.map(({ local, remote }) => `${formatAddress(local)} → ${formatAddress(remote)}`);
  return {
    what: 'connections',
    from: `${proc}/fd, net/unix, net/tcp, net/tcp6`,
    value: pairs.length === 0 ? 'none open' : pairs.join(', '),
    meaning: pairs.length === 0 ? 'no answer is streaming in' : 'an answer may be streaming in',
  };
}

function describeDescendants(proc: string, { children, descendants, tools }: Evidence): EvidenceLine {
  const at = { what: 'below it', from: `${proc}/task/*/children` };
  if (descendants.length === 0) return { ...at, value: 'nothing', meaning: 'no tool, no MCP server' };
  return {
    ...at,
    value: `${descendants.length} processes, ${children} of them its own children`,
    meaning:
      tools.length === 0
        ? 'MCP servers, which end with it; none is a tool'
        : tools.map(({ pid, why }) => `pid ${pid} runs a tool (${why})`).join(', '),
  };
}

/** How long ago something on the wall clock was. */
const ago = (atMs: number, { now }: RuleInput): string =>
  atMs > now.wallMs ? `${formatDuration(atMs - now.wallMs)} in the future` : `${formatDuration(now.wallMs - atMs)} ago`;

function describeSessionFile(input: RuleInput, { environment }: EvidenceSources): EvidenceLine {
  const { id, sessionId, doubtfulSessionId, claudeRelease, status, waitingFor, statusUpdatedAtMs } = input.evidence;
  const at = { what: 'session file', from: `${environment?.configDir ?? '?'}/sessions/${id.pid}.json` };
  if (doubtfulSessionId !== null) {
    return {
      ...at,
      value: `conversation ${doubtfulSessionId}, begun at another time than the process`,
      meaning: 'the clock was set, or an earlier process left it: it can protect the process, but not clear it',
    };
  }
  if (sessionId === null) return { ...at, value: 'none of its own', meaning: 'its conversation is not known' };
  const parts = [
    `conversation ${sessionId}`,
    ...(claudeRelease === null ? [] : [`Claude ${claudeRelease}`]),
    ...(status === null ? [] : [`status ${status}${waitingFor === null ? '' : ` for ${waitingFor}`}`]),
    ...(statusUpdatedAtMs === null ? [] : [`changed ${ago(statusUpdatedAtMs, input)}`]),
  ];
  return { ...at, value: parts.join(', '), meaning: 'what claude says about itself' };
}

function describeTranscript(input: RuleInput, { environment, transcript }: EvidenceSources): EvidenceLine {
  const { sessionId, transcriptChangedAtMs } = input.evidence;
  const expectedPath = `${environment?.configDir ?? '?'}/projects/*/${sessionId ?? '?'}.jsonl`;
  return {
    what: 'transcript',
    from: transcript ?? expectedPath,
    value: transcriptChangedAtMs === null ? 'not found' : `changed ${ago(transcriptChangedAtMs, input)}`,
    meaning: 'every message changes it',
  };
}

function describeJournal(input: RuleInput): EvidenceLine {
  const { journal, clay, sessionId } = input.evidence;
  const what = 'journal';
  if (journal.state === 'found') {
    return {
      what,
      from: journal.path,
      value: `last turn ${journal.turn} (record ${journal.decidedBy}), changed ${ago(journal.changedAtMs, input)}`,
      meaning: "Clay's record of the conversation",
    };
  }
  return {
    what,
    from: `${clay.home}/sessions/*/${sessionId ?? '?'}.jsonl`,
    value: journal.state === 'missing' ? 'not there' : 'not known',
    meaning: journal.state === 'missing' ? 'Clay no longer has this conversation' : 'Clay says nothing about it',
  };
}

function describeClay({ clay, project }: Evidence, { clay: from }: EvidenceSources): EvidenceLine {
  const what = 'Clay';
  if (clay.state === 'dead')
    return { what, from, value: 'dead', meaning: 'nothing but its files can speak for the process' };
  if (clay.state === 'unreachable')
    return { what, from, value: clay.error, meaning: 'without an answer no process is ended' };
  const turns = clay.busyProjects.length === 0 ? 'no project' : `project ${clay.busyProjects.join(', ')}`;
  return {
    what,
    from,
    value: `answered: ${turns} is in a turn`,
    meaning: project === null ? 'its project is unknown' : `this is project ${project.slug}`,
  };
}
