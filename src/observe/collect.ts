import type { Alarm } from '../claude/alarms.ts';
import { type ClaudeEnvironment, claudeEnvironment, looksLikeClaude, startedBySdk } from '../claude/recognise.ts';
import { keepsScheduledTasks } from '../claude/scheduled-tasks.ts';
import { readSessionFile, type SessionFile, type SessionRecord } from '../claude/session-file.ts';
import { readConversation, type Transcript, type TranscriptCursors } from '../claude/transcript.ts';
import { encodeFolder, encodeFolderAsOlderClay, type FoundFile, findConversationFile } from '../clay/encoded-folder.ts';
import { type Journal, readJournal } from '../clay/journal.ts';
import { type Failure, type Memo, newMemo, type Result } from '../files.ts';
import { type Evidence, type JournalEvidence, keyOf } from '../judge/evidence.ts';
import { readProcLink } from '../proc/read.ts';
import { readRuns } from '../proc/runs.ts';
import { readSocketFds } from '../proc/sockets.ts';
import { isDead, readStat, type Stat } from '../proc/stat.ts';
import { readStatus, type Status, singleUid } from '../proc/status.ts';
import { readEnviron } from '../proc/strings.ts';
import type { Candidate, Keeper } from './candidates.ts';
import { type ClayWord, clayWord, openClayWords } from './clay-word.ts';
import { type ConnectionTables, openConnectionTables } from './connections.ts';
import { type Family, readFamily } from './family.ts';
import type { Host, Moment } from './host.ts';

/** What does not change while a process lives, or cannot change unnoticed: kept by {@link keyOf} the process. */
export type Facts = {
  readonly environment: ClaudeEnvironment;
  inside: Inside | null;
  readonly sessionFile: Memo<SessionFile>;
  transcriptPath: string | null;
  transcripts: TranscriptCursors;
  journalPlace: FoundFile | null;
  readonly journal: Memo<Journal>;
};

/** What only the process itself can change, and how often it had run before it was looked at. */
type Inside = {
  readonly runs: string | null;
  readonly status: Status | null;
  readonly family: Family | null;
  readonly sockets: ReadonlyMap<string, number> | null;
  /** Inodes of those of its sockets that are known to be unix ones. */
  readonly unixSockets: Set<number>;
};

/** Facts of the processes of the last look. */
export type FactsByProcess = Map<string, Facts>;

/** What was found wrong with a candidate while its evidence was collected. */
type Doubts = { readonly words: string[]; unreadable: boolean };

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
  const looks = candidates.flatMap((candidate) => lookAtProcess(host, candidate, facts) ?? []);
  // Only now, see ConnectionTables.
  const tables =
    givenTables ??
    openConnectionTables(host, new Set(looks.flatMap(({ inside }) => [...(inside.sockets?.values() ?? [])])));
  const wordOf = openClayWords();
  const kept = new Set(looks.map((look) => keyOf(look.stat)));
  for (const key of facts.keys()) if (!kept.has(key)) facts.delete(key);
  return looks.flatMap((look) => {
    const { sockets, unixSockets } = look.inside;
    const { pid } = look.stat;
    const connections =
      sockets === null ? null : tables.connectionsOf(pid, sockets, look.candidate.expected.uid, unixSockets);
    if (connections && !connections.ok && vanished(host, look)) return [];
    return [evidenceOf(host, look, unless(look.doubts, connections) ?? [], wordOf(look.candidate.keeper), moment)];
  });
}

type ProcessLook = {
  readonly candidate: Candidate;
  readonly stat: Stat;
  readonly facts: Facts | null;
  readonly cwd: string | null;
  readonly inside: Inside;
  readonly doubts: Doubts;
};

/** Everything from /proc except the tables of sockets; null if the process has vanished. */
function lookAtProcess(host: Host, candidate: Candidate, known: FactsByProcess): ProcessLook | null {
  const { stat, expected } = candidate;
  const doubts: Doubts = { words: [], unreadable: false };
  const facts = factsOf(host, stat, known, doubts);
  const cwd = unless(doubts, readProcLink(`${host.procRoot}/${stat.pid}/cwd`));
  const inside = lookInside(host, stat, facts?.inside ?? null, doubts);
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
  return { candidate, stat, facts, cwd, inside, doubts };
}

/** What only the process itself can change: not read again if it has not run since, and there is nobody below it who has. */
function lookInside(host: Host, stat: Stat, last: Inside | null, doubts: Doubts): Inside {
  // First of all: what is done while the rest is read shows the next time.
  const runs = readRuns(host.procRoot, stat);
  if (last && runs !== null && runs === last.runs && last.status && last.family?.children === 0 && last.sockets)
    return last;
  const status = unless(doubts, readStatus(host.procRoot, stat.pid));
  const family = unless(doubts, readFamily(host, stat));
  const sockets = unless(doubts, readSocketFds(host.procRoot, stat.pid));
  const unixSockets = new Set([...(sockets?.values() ?? [])].filter((inode) => last?.unixSockets.has(inode)));
  return { runs, status, family, sockets, unixSockets };
}

function factsOf(host: Host, stat: Stat, known: FactsByProcess, doubts: Doubts): Facts | null {
  const key = keyOf(stat);
  const kept = known.get(key);
  if (kept) return kept;
  const environ = unless(doubts, readEnviron(host.procRoot, stat.pid));
  if (!environ) return null;
  const facts: Facts = {
    environment: claudeEnvironment(environ),
    inside: null,
    sessionFile: newMemo(),
    transcriptPath: null,
    transcripts: new Map(),
    journalPlace: null,
    journal: newMemo(),
  };
  known.set(key, facts);
  return facts;
}

/** The facts for a last look before a signal: it reads again whatever might have changed. */
export const factsToReadAgain = (facts: Facts): Facts => ({
  ...facts,
  inside: null,
  sessionFile: newMemo(),
  journalPlace: null,
  journal: newMemo(),
});

/** Whether the process is dead or its pid another's by now. */
function vanished(host: Host, { stat }: { stat: Stat }): boolean {
  const now = readStat(host.procRoot, stat.pid);
  return now.ok ? isDead(now.value) || now.value.startTicks !== stat.startTicks : now.failure.why === 'gone';
}

/** The value, or null after noting why there is none. */
function unless<T>(doubts: Doubts, result: Result<T> | null): T | null {
  if (result === null) return null;
  if (result.ok) return result.value;
  note(doubts, result.failure);
  return null;
}

function note(doubts: Doubts, failure: Failure): void {
  doubts.words.push(failure.detail);
  if (failure.why === 'denied' || failure.why === 'error') doubts.unreadable = true;
}

/** The uptime is told in hundredths of a second. */
const START_SLACK_MS = 1_000;

function evidenceOf(
  host: Host,
  look: ProcessLook,
  connections: Evidence['connections'],
  word: ClayWord,
  moment: Moment,
): Evidence {
  const { candidate, stat, facts, cwd, doubts } = look;
  const { family, sockets } = look.inside;
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
  const transcript = facts && session ? transcriptOf(facts, session.sessionId, cwd, uid, doubts) : null;
  const journal = session ? journalOf(candidate.keeper, session.sessionId, cwd, facts, doubts) : null;
  const durable = unless(doubts, keepsScheduledTasks(host.procRoot, stat));
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
  const doubts: Doubts = { words: [], unreadable: false };
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

function sessionOf(facts: Facts, owner: Parameters<typeof readSessionFile>[1], doubts: Doubts): SessionRecord | null {
  const { configDir } = facts.environment;
  if (configDir === null) return null;
  const session = readSessionFile(configDir, owner, facts.sessionFile);
  // Releases before 0.2.92 write none, and no release does in its first second.
  if (!session.ok && session.failure.why === 'gone') return null;
  return unless(doubts, session);
}

function transcriptOf(
  facts: Facts,
  sessionId: string,
  cwd: string | null,
  uid: number,
  doubts: Doubts,
): Transcript | null {
  const base = `${facts.environment.configDir}/projects`;
  const known = facts.transcriptPath?.endsWith(`/${sessionId}.jsonl`) ? facts.transcriptPath : null;
  facts.transcriptPath =
    known ?? foundPath(findConversationFile(base, cwd === null ? [] : [encodeFolder(cwd)], sessionId), doubts);
  if (facts.transcriptPath === null) return null;
  const read = readConversation(facts.transcriptPath, uid, facts.transcripts, facts.environment.timeZone);
  if (!read.ok && read.failure.why === 'gone') {
    facts.transcriptPath = null;
    return null;
  }
  const value = unless(doubts, read);
  if (value) facts.transcripts = value.cursors;
  return value?.transcript ?? null;
}

function foundPath(found: ReturnType<typeof findConversationFile>, doubts: Doubts): string | null {
  if (!found.ok && found.failure.why === 'gone') return null;
  return unless(doubts, found)?.path ?? null;
}

function journalOf(
  keeper: Keeper,
  sessionId: string,
  cwd: string | null,
  facts: Facts | null,
  doubts: Doubts,
): { evidence: JournalEvidence; folder: string | null } {
  const { home, uid } = keeper.state === 'living' ? keeper.look.daemon : keeper;
  const known = facts?.journalPlace;
  if (known?.path === `${home}/sessions/${known?.folder}/${sessionId}.jsonl`) {
    const journal = readJournal(known.path, uid, facts?.journal);
    if (journal.ok) return { evidence: { state: 'found', path: known.path, ...journal.value }, folder: known.folder };
  }
  const likely = cwd === null ? [] : [...new Set([encodeFolder(cwd), encodeFolderAsOlderClay(cwd)])];
  const found = findConversationFile(`${home}/sessions`, likely, sessionId);
  // No folder at all: this Clay keeps its journals elsewhere, so their absence says nothing.
  if (!found.ok && found.failure.why === 'gone') return { evidence: { state: 'unknown' }, folder: null };
  const place = unless(doubts, found);
  if (!found.ok) return { evidence: { state: 'unknown' }, folder: null };
  if (place === null) return { evidence: { state: 'missing' }, folder: null };
  const journal: Journal | null = unless(doubts, readJournal(place.path, uid, facts?.journal));
  if (facts) facts.journalPlace = place;
  return {
    evidence: journal ? { state: 'found', path: place.path, ...journal } : { state: 'unknown' },
    folder: place.folder,
  };
}

/** The last time that a Date can hold. */
const LAST_DATE_MS = 8.64e15;

/** One-shot entries fire on their minute, and after some more if the process is busy just then. */
const ALARM_SLACK_MS = 120_000;

function alarmOf(
  transcript: Transcript | null,
  facts: Facts | null,
  startedAtMs: number,
  moment: Moment,
): string | null {
  // An earlier process of the conversation may have set it: 0.3.330 takes up cron entries again when it resumes, but no
  // wake-ups, and 0.2.92 neither (measured).
  const forgetsAll = facts?.environment.sdkVersion?.startsWith('0.2.') ?? false;
  const isToCome = ({ tool, setAtMs, lastFireMs }: Alarm): boolean =>
    lastFireMs + ALARM_SLACK_MS > moment.wallMs && (setAtMs >= startedAtMs || (tool === 'CronCreate' && !forgetsAll));
  const alarm = transcript?.alarms.find(isToCome);
  if (!alarm) return null;
  const until = alarm.lastFireMs <= LAST_DATE_MS ? ` until ${new Date(alarm.lastFireMs).toISOString()}` : '';
  return `it waits for an alarm that it set itself (${alarm.tool})${until}`;
}
