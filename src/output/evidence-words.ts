import type { ClaudeEnvironment } from '../claude/recognise.ts';
import type { Evidence } from '../judge/evidence.ts';
import type { Case } from '../judge/rules.ts';
import { addressInWords } from '../proc/address.ts';
import { limitInWords } from './rule-words.ts';
import { memory, shortTime } from './table.ts';

/** One piece of evidence: what it is about, where it was read, what was there, and what that means. */
export type EvidenceWords = {
  readonly what: string;
  readonly from: string;
  readonly value: string;
  readonly meaning: string;
};

/** Where the evidence was read, as far as it does not say so itself. */
export type Places = {
  readonly procRoot: string;
  /** Null if it could not be read. */
  readonly environment: ClaudeEnvironment | null;
  readonly transcript: string | null;
  /** Clay's socket, or the home of a dead one. */
  readonly clay: string;
  /** What a person would see in top, of this process alone; null if it could not be measured. */
  readonly usage: { readonly cpuPercent: number; readonly rssBytes: number } | null;
};

/** All evidence on one process, in words, in the order in which it was collected. */
export function evidenceInWords(which: Case, places: Places): EvidenceWords[] {
  const { evidence } = which;
  const proc = `${places.procRoot}/${evidence.id.pid}`;
  return [
    {
      what: 'process',
      from: `${proc}/stat, status`,
      value: `named claude, child of pid ${evidence.ppid}, uid ${evidence.uid}`,
      meaning: parentage(evidence),
    },
    environmentWords(proc, places),
    {
      what: 'age',
      from: `${proc}/stat`,
      value: `${shortTime(evidence.ageMs)}, started at ${new Date(evidence.startedAtMs).toISOString()}`,
      meaning: 'with the pid, its start time names this process for good',
    },
    {
      what: 'terminal',
      from: `${proc}/stat`,
      value: evidence.hasTerminal ? 'it has one' : 'none',
      meaning: evidence.hasTerminal ? 'a person may be typing' : 'nobody works with it but through Clay',
    },
    {
      what: 'memory',
      from: `${proc}/stat`,
      value: `${memory(places.usage?.rssBytes ?? evidence.rssBytes)} resident`,
      meaning: 'about what comes back when it ends',
    },
    cpuWords(proc, which, places),
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
      meaning: 'stdio, MCP servers and connections; their number alone says nothing',
    },
    connectionWords(proc, evidence),
    belowWords(proc, evidence),
    sessionFileWords(which, places),
    transcriptWords(which, places),
    {
      what: 'alarms',
      from: `its transcript, ${evidence.cwd ?? '.'}/.claude/scheduled_tasks.json`,
      value: evidence.alarm === null ? 'none' : 'set',
      meaning: evidence.alarm ?? 'it does not wait for a wake-up of its own',
    },
    journalWords(which),
    clayWords(evidence, places),
    {
      what: 'configuration',
      from: 'the configuration (clay-reaper config)',
      value: `${which.limits.protectedProjects.length} projects and ${which.limits.protectedSessions.length} conversations protected`,
      meaning: 'what is named under [protect] is never ended',
    },
  ];
}

function parentage({ clay, ppid }: Evidence): string {
  if (clay.state === 'dead') return `left behind by the Clay of ${clay.home}, which is dead`;
  return ppid === clay.pid
    ? `started by Clay ${clay.pid} (${clay.home})`
    : `started by pid ${ppid}, a worker of Clay ${clay.pid} (${clay.home})`;
}

function environmentWords(proc: string, { environment }: Places): EvidenceWords {
  const at = { what: 'environment', from: `${proc}/environ` };
  if (environment === null) return { ...at, value: 'not read', meaning: 'who started it is not known' };
  const { entrypoint, sdkVersion } = environment;
  return {
    ...at,
    value: `CLAUDE_CODE_ENTRYPOINT=${entrypoint ?? '(not set)'}, CLAUDE_AGENT_SDK_VERSION=${sdkVersion ?? '(not set)'}`,
    meaning: entrypoint?.startsWith('sdk') ? 'the Agent SDK started it' : 'the Agent SDK did not start it',
  };
}

function cpuWords(proc: string, { evidence, cpu }: Case, { usage }: Places): EvidenceWords {
  const below = evidence.descendants.length;
  const alone = below === 0 || usage === null ? '' : `, ${usage.cpuPercent.toFixed(1)} % by itself`;
  return {
    what: 'cpu',
    from: below === 0 ? `${proc}/stat` : `${proc}/stat and that of the ${below} below it`,
    value:
      cpu === null
        ? 'not measured'
        : `${cpu.percent.toFixed(1)} % of a core in the last ${shortTime(cpu.overMs)}${alone}`,
    meaning: cpu?.busy ? 'it is at work' : 'no more than an idle one uses',
  };
}

function connectionWords(proc: string, { connections }: Evidence): EvidenceWords {
  const pairs = connections.map(({ local, remote }) => `${addressInWords(local)} → ${addressInWords(remote)}`);
  return {
    what: 'connections',
    from: `${proc}/fd, net/unix, net/tcp, net/tcp6`,
    value: pairs.length === 0 ? 'none open' : pairs.join(', '),
    meaning: pairs.length === 0 ? 'no answer is streaming in' : 'an answer may be streaming in',
  };
}

function belowWords(proc: string, { children, descendants, tools }: Evidence): EvidenceWords {
  const at = { what: 'below it', from: `${proc}/task/*/children` };
  if (descendants.length === 0) return { ...at, value: 'nothing', meaning: 'no tool, no MCP server' };
  return {
    ...at,
    value: `${descendants.length} processes, ${children} of them its children`,
    meaning:
      tools.length === 0
        ? 'MCP servers: none is a tool; they end with it'
        : tools.map(({ pid, why }) => `pid ${pid} runs a tool (${why})`).join(', '),
  };
}

/** How long ago something on the wall clock was. */
const ago = (atMs: number, { now }: Case): string =>
  atMs > now.wallMs ? `${shortTime(atMs - now.wallMs)} in the future` : `${shortTime(now.wallMs - atMs)} ago`;

function sessionFileWords(which: Case, { environment }: Places): EvidenceWords {
  const { id, sessionId, status, waitingFor, statusUpdatedAtMs } = which.evidence;
  const at = { what: 'session file', from: `${environment?.configDir ?? '?'}/sessions/${id.pid}.json` };
  if (sessionId === null) return { ...at, value: 'none that is its own', meaning: 'its conversation is not known' };
  const words = [
    `conversation ${sessionId}`,
    ...(status === null ? [] : [`status ${status}${waitingFor === null ? '' : ` for ${waitingFor}`}`]),
    ...(statusUpdatedAtMs === null ? [] : [`changed ${ago(statusUpdatedAtMs, which)}`]),
  ];
  return { ...at, value: words.join(', '), meaning: 'what claude says about itself' };
}

function transcriptWords(which: Case, { environment, transcript }: Places): EvidenceWords {
  const { sessionId, transcriptChangedAtMs } = which.evidence;
  const expected = `${environment?.configDir ?? '?'}/projects/*/${sessionId ?? '?'}.jsonl`;
  return {
    what: 'transcript',
    from: transcript ?? expected,
    value: transcriptChangedAtMs === null ? 'not found' : `changed ${ago(transcriptChangedAtMs, which)}`,
    meaning: 'every message changes it',
  };
}

function journalWords(which: Case): EvidenceWords {
  const { journal, clay, sessionId } = which.evidence;
  const what = 'journal';
  if (journal.state === 'found') {
    return {
      what,
      from: journal.path,
      value: `last turn ${journal.turn} (record ${journal.decidedBy}), changed ${ago(journal.changedAtMs, which)}`,
      meaning: 'what Clay keeps of the conversation',
    };
  }
  return {
    what,
    from: `${clay.home}/sessions/*/${sessionId ?? '?'}.jsonl`,
    value: journal.state === 'missing' ? 'not there' : 'not known',
    meaning:
      journal.state === 'missing' ? 'Clay does not have this conversation (any more)' : 'Clay says nothing of it',
  };
}

function clayWords({ clay, project }: Evidence, { clay: from }: Places): EvidenceWords {
  const what = 'Clay';
  if (clay.state === 'dead') return { what, from, value: 'dead', meaning: 'nobody can speak for the process' };
  if (clay.state === 'silent') return { what, from, value: clay.error, meaning: 'without its word nothing is ended' };
  const turns = clay.busyProjects.length === 0 ? 'no project' : `project ${clay.busyProjects.join(', ')}`;
  return {
    what,
    from,
    value: `answered: ${turns} is in a turn`,
    meaning: project === null ? 'which project this is cannot be told' : `this is project ${project.slug}`,
  };
}

/** A setting that decides about a wait, as it is now. */
export const waitInWords = (name: 'grace_period' | 'parked_after', { limits }: Case): string =>
  `${name}, ${limitInWords(name === 'grace_period' ? limits.gracePeriodMs : limits.parkedAfterMs)}`;
