import { claudeEnvironment, looksLikeClaude, startedBySdk } from '../claude/recognise.ts';
import { areTasksScheduled, readTaskLock } from '../claude/scheduled-tasks.ts';
import type { Evidence } from '../judge/evidence.ts';
import { readProcLink } from '../proc/read.ts';
import { readRuns } from '../proc/runs.ts';
import { readSocketFds } from '../proc/sockets.ts';
import { isDead, readStat, type Stat } from '../proc/stat.ts';
import { readStatus, singleUid } from '../proc/status.ts';
import { readEnviron } from '../proc/strings.ts';
import type { Candidate, Keeper } from './candidates.ts';
import { type ClayWord, clayWord, openClayWords } from './clay-word.ts';
import { type ConnectionTables, openConnectionTables } from './connections.ts';
import { alarmOf, journalOf, sessionOf, transcriptOf } from './conversation.ts';
import { type Doubts, noDoubts, unless } from './doubts.ts';
import { type Facts, type FactsByProcess, factsOn, type Inside, newFacts } from './facts.ts';
import { readFamily } from './family.ts';
import { type Holdings, noHoldings } from './holdings.ts';
import type { Host, Moment } from './host.ts';

/**
 * Collects the evidence on all candidates of one look. One that vanishes meanwhile is left out without a word.
 * `facts` is brought up to date: processes that are gone are forgotten. `givenTables`: of sockets, if they are there already.
 */
export function collectEvidence(
  host: Host,
  candidates: readonly Candidate[],
  facts: FactsByProcess,
  moment: Moment,
  givenTables: ConnectionTables | null = null,
): Evidence[] {
  const holdings = noHoldings();
  const looks = candidates.flatMap((candidate) => lookAtProcess(host, candidate, facts, holdings) ?? []);
  // Only now, see ConnectionTables.
  const allSockets = () => new Set(looks.flatMap(({ inside }) => [...(inside.sockets?.values() ?? [])]));
  const tables = givenTables ?? openConnectionTables(host, allSockets);
  const wordOf = openClayWords();
  const kept = new Set(looks.map((look) => look.stat.pid));
  for (const pid of facts.keys()) if (!kept.has(pid)) facts.delete(pid);
  return looks.flatMap((look) => {
    const { sockets, unixSockets } = look.inside;
    const { pid } = look.stat;
    const connections =
      sockets === null ? null : tables.connectionsOf(pid, sockets, look.candidate.expected.uid, unixSockets);
    if (connections && !connections.ok && vanished(host, look)) return [];
    const known = unless(look.doubts, connections) ?? [];
    return [evidenceOf(host, look, known, wordOf(look.candidate.keeper), moment, holdings)];
  });
}

type ProcessLook = {
  readonly candidate: Candidate;
  readonly stat: Stat;
  readonly facts: Facts | null;
  readonly inside: Inside;
  /** It has not run since the last look. */
  readonly atRest: boolean;
  readonly doubts: Doubts;
};

/** Everything from /proc except the tables of sockets; null if the process has vanished. */
function lookAtProcess(
  host: Host,
  candidate: Candidate,
  known: FactsByProcess,
  holdings: Holdings,
): ProcessLook | null {
  const { stat, expected } = candidate;
  const doubts = noDoubts();
  const facts = factsOf(host, stat, known, doubts);
  const last = facts?.inside ?? null;
  const inside = holdable(lookInside(host, stat, last, doubts), expected.uid, holdings, doubts);
  if (facts) facts.inside = inside;

  const identity = inside.status;
  if (identity && singleUid(identity) !== expected.uid)
    doubts.words.push(`it does not run under uid ${expected.uid}, as its Clay does`);
  if (identity && identity.pidNamespaceDepth !== 1) doubts.words.push('it lives in another pid namespace');
  // It was once; but a process can become another program and keep its pid and start time (execve(2)).
  if (!looksLikeClaude(stat)) doubts.words.push(`its name is ${stat.comm} now: it is no claude any more`);
  if (stat.ppid !== expected.ppid) doubts.words.push(`its parent is ${stat.ppid}, not ${expected.ppid}`);
  if (facts && !startedBySdk(facts.environment)) {
    doubts.words.push(
      `CLAUDE_CODE_ENTRYPOINT in its environment is ${facts.environment.entrypoint ?? 'not set'}: the Agent SDK did not start it`,
    );
  }
  const { keeper } = candidate;
  if (keeper.state === 'living' && keeper.look.blind !== null) {
    doubts.words.push(keeper.look.blind);
    doubts.unreadable = true;
  }
  if (doubts.words.length > 0 && vanished(host, { stat })) return null;
  return { candidate, stat, facts, inside, atRest: inside === last, doubts };
}

/** What only the process itself can change: not read again if it is at rest since the last look ({@link statAtRest}). */
function lookInside(host: Host, stat: Stat, last: Inside | null, doubts: Doubts): Inside {
  if (last?.stat === stat) return last;
  // First of all: what is done while the rest is read shows the next time.
  const runs = readRuns(host.procRoot, stat);
  const now = runs === null ? null : readStat(host.procRoot, stat.pid);
  const cwd = unless(doubts, readProcLink(`${host.procRoot}/${stat.pid}/cwd`));
  const status = unless(doubts, readStatus(host.procRoot, stat.pid));
  const family = unless(doubts, readFamily(host, stat));
  const sockets = unless(doubts, readSocketFds(host.procRoot, stat.pid));
  const unixSockets = new Set([...(sockets?.values() ?? [])].filter((inode) => last?.unixSockets.has(inode)));
  const holdsTaskLock = unless(doubts, readTaskLock(host.procRoot, stat));
  const isWhole = cwd !== null && status !== null && sockets !== null && holdsTaskLock !== null;
  // What runs below it does not show in its own runs.
  const mayKeep = isWhole && family?.children === 0 && now?.ok && now.value.startTicks === stat.startTicks;
  return { runs, stat: mayKeep ? now.value : null, cwd, status, family, sockets, unixSockets, holdsTaskLock };
}

const TOO_MUCH = 'the processes of its user have more sockets, descendants and alarms than can be followed';

/** What was found inside, as far as it may be kept. */
function holdable(inside: Inside, uid: number, holdings: Holdings, doubts: Doubts): Inside {
  if (holdings.mayHold(uid, (inside.sockets?.size ?? 0) + (inside.family?.descendants.length ?? 0))) return inside;
  doubts.words.push(TOO_MUCH);
  return { ...inside, runs: null, stat: null, family: null, sockets: null, unixSockets: new Set() };
}

function factsOf(host: Host, stat: Stat, known: FactsByProcess, doubts: Doubts): Facts | null {
  const kept = factsOn(known, stat);
  if (kept) return kept;
  const environ = unless(doubts, readEnviron(host.procRoot, stat.pid));
  if (!environ) return null;
  const facts = newFacts(stat.startTicks, claudeEnvironment(environ));
  known.set(stat.pid, facts);
  return facts;
}

/** Whether the process is dead or its pid another's by now. */
function vanished(host: Host, { stat }: { stat: Stat }): boolean {
  const now = readStat(host.procRoot, stat.pid);
  return now.ok ? isDead(now.value) || now.value.startTicks !== stat.startTicks : now.failure.why === 'gone';
}

/** The uptime is told in hundredths of a second. */
const START_SLACK_MS = 1_000;

function evidenceOf(
  host: Host,
  look: ProcessLook,
  connections: Evidence['connections'],
  word: ClayWord,
  moment: Moment,
  holdings: Holdings,
): Evidence {
  const { candidate, stat, facts, doubts } = look;
  const { family, sockets, cwd, holdsTaskLock } = look.inside;
  const startMs = (stat.startTicks * 1000) / host.units.ticksPerSecond;
  const ageMs = Math.max(0, moment.uptimeMs - startMs);
  if (startMs > moment.uptimeMs + START_SLACK_MS) doubts.words.push('it starts in the future');
  const startedAtMs = moment.wallMs - ageMs;
  const uid = candidate.expected.uid;

  const session = facts
    ? sessionOf(facts, { pid: stat.pid, uid, startTicks: stat.startTicks, startedAtMs }, doubts)
    : null;
  // Where the clock was set since, the earlier of both: what may have happened in its time protects it.
  const beganMs = Math.min(startedAtMs, session?.startedAtMs ?? startedAtMs);
  const transcript = facts && session ? transcriptOf(facts, session.sessionId, cwd, uid, look.atRest, doubts) : null;
  if (facts && transcript && !holdings.mayHold(uid, facts.transcripts.size + transcript.alarms.length)) {
    facts.transcripts = new Map();
    doubts.words.push(TOO_MUCH);
  }
  const journal = session ? journalOf(candidate.keeper, session.sessionId, cwd, facts, doubts) : null;
  const durable = holdsTaskLock === true && unless(doubts, areTasksScheduled(host.procRoot, stat));
  return {
    id: { pid: stat.pid, startTicks: stat.startTicks },
    ppid: stat.ppid,
    uid,
    startedAtMs: beganMs,
    ageMs,
    rssBytes: stat.rssPages * host.units.pageBytes,
    cwd,
    sdkVersion: facts?.environment.sdkVersion ?? null,
    hasTerminal: stat.ttyNr !== 0,
    cpuMs: family?.cpuMs ?? 0,
    cpuMsByProcess: family?.cpuMsByProcess ?? new Map(),
    socketFds: sockets?.size ?? 0,
    connections,
    children: family?.children ?? 0,
    descendants: family?.descendants ?? [],
    tools: family?.tools ?? [],
    sessionId: session?.sessionId ?? null,
    status: session?.status ?? null,
    waitingFor: session?.waitingFor ?? null,
    statusUpdatedAtMs: session?.statusUpdatedAtMs ?? null,
    transcriptChangedAtMs: transcript?.changedAtMs ?? null,
    alarm: durable
      ? "it waits for the entries in its project's scheduled_tasks.json"
      : alarmOf(transcript, facts, beganMs, moment),
    journal: journal?.evidence ?? { state: 'unknown' },
    clay: word.evidence,
    project: word.projectOf(cwd, journal?.folder ?? null),
    // Last, so that all that was noted above is in.
    doubts: doubts.words,
    unreadable: doubts.unreadable,
  };
}

/**
 * Evidence with Clay's word on it asked again, and all else as it was: after SIGTERM a process runs its hooks and removes
 * its session file, so that only its conversation's journal and its project in Clay still speak for it.
 */
export function withClaysWord(before: Evidence, keeper: Keeper): Evidence {
  const doubts = noDoubts();
  const word = clayWord(keeper);
  const journal = before.sessionId === null ? null : journalOf(keeper, before.sessionId, before.cwd, null, doubts);
  return {
    ...before,
    journal: journal?.evidence ?? { state: 'unknown' },
    clay: word.evidence,
    project: word.projectOf(before.cwd, journal?.folder ?? null),
    doubts: doubts.words,
    unreadable: doubts.unreadable,
  };
}
