import type { Alarm } from '../claude/alarms.ts';
import { readSessionFile, type SessionOwner, type SessionRecord } from '../claude/session-file.ts';
import { readConversation, type Transcript } from '../claude/transcript.ts';
import { encodeFolder, encodeFolderAsOlderClay, findConversationFile } from '../clay/encoded-folder.ts';
import { type Journal, readJournal } from '../clay/journal.ts';
import type { JournalEvidence } from '../judge/evidence.ts';
import type { Keeper } from './candidates.ts';
import { type Doubts, unless } from './doubts.ts';
import type { Facts } from './facts.ts';
import type { Moment } from './host.ts';

/** What its session file says of a process; null if it has none. */
export function sessionOf(facts: Facts, owner: SessionOwner, doubts: Doubts): SessionRecord | null {
  const { configDir } = facts.environment;
  if (configDir === null) return null;
  const session = readSessionFile(configDir, owner, facts.sessionFile);
  // Releases before 0.2.92 write none, and no release does in its first second.
  if (!session.ok && session.failure.why === 'gone') return null;
  return unless(doubts, session);
}

/** What the transcript of its conversation says; null if there is none. */
export function transcriptOf(
  facts: Facts,
  sessionId: string,
  cwd: string | null,
  uid: number,
  atRest: boolean,
  doubts: Doubts,
): Transcript | null {
  const base = `${facts.environment.configDir}/projects`;
  const known = facts.transcriptPath?.endsWith(`/${sessionId}.jsonl`) ? facts.transcriptPath : null;
  facts.transcriptPath =
    known ?? foundPath(findConversationFile(base, cwd === null ? [] : [encodeFolder(cwd)], sessionId), doubts);
  if (facts.transcriptPath === null) return null;
  const read = readConversation(facts.transcriptPath, uid, facts.transcripts, facts.environment.timeZone, atRest);
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

/** What Clay's journal of its conversation says, and the folder in which that lies. */
export function journalOf(
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

/** The alarm that a process waits for, in words; null if there is none. */
export function alarmOf(
  transcript: Transcript | null,
  facts: Facts | null,
  startedAtMs: number,
  moment: Moment,
): string | null {
  const forgetsAll = forgetsWhenResumed(facts?.environment.sdkVersion ?? null);
  const isToCome = ({ tool, setAtMs, lastFireMs }: Alarm): boolean =>
    lastFireMs + ALARM_SLACK_MS > moment.wallMs && (setAtMs >= startedAtMs || (tool === 'CronCreate' && !forgetsAll));
  const alarm = transcript?.alarms.find(isToCome);
  if (!alarm) return null;
  const until = alarm.lastFireMs <= LAST_DATE_MS ? ` until ${new Date(alarm.lastFireMs).toISOString()}` : '';
  return `it waits for an alarm that it set itself (${alarm.tool})${until}`;
}

/**
 * Whether a release takes up nothing that an earlier process of the conversation has set: 0.2.92 does not, 0.3.330 takes up
 * cron entries, but no wake-ups (measured). What lies between was not measured.
 */
function forgetsWhenResumed(sdkVersion: string | null): boolean {
  const [, patch] = /^0\.2\.(\d+)$/.exec(sdkVersion ?? '') ?? [];
  return patch !== undefined && Number(patch) <= 92;
}
