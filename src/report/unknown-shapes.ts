import { compareReleases } from '../claude/release.ts';
import { claudeReleaseOf, TESTED_SDKS } from '../claude/tested-releases.ts';
import type { Judgement } from '../judge/judge.ts';

/** Something about a `claude` that no tested release shows. It is judged as carefully as ever. */
export type UnknownShape = {
  /** What kind of thing is not known. */
  readonly shape: 'release' | 'status' | 'session-file' | 'journal-record' | 'journal' | 'no-connection';
  /** What was seen: a name or a number, nothing of the user's. */
  readonly seen: string;
};

/** The newest release of Claude that was tested. */
export const NEWEST_TESTED = claudeReleaseOf(TESTED_SDKS[TESTED_SDKS.length - 1] as string);

/** `status` in the session file, as far as tested releases write it. */
const KNOWN_STATUS: readonly (string | null)[] = [null, 'idle', 'busy', 'waiting'];

/**
 * What is not known about a process, each thing once. Not of one in a terminal: that is a person's, and never ended.
 */
export function unknownShapes({ evidence, streamsUnseen }: Judgement): UnknownShape[] {
  const { claudeRelease, status, unknownSessionFields, journal, hasTerminal } = evidence;
  if (hasTerminal) return [];
  const shapes: UnknownShape[] = [];
  if (isNewerThanTested(claudeRelease)) shapes.push({ shape: 'release', seen: nameOnly(claudeRelease ?? '') });
  if (!KNOWN_STATUS.includes(status)) shapes.push({ shape: 'status', seen: nameOnly(status ?? '') });
  if (unknownSessionFields.length > 0)
    shapes.push({ shape: 'session-file', seen: unknownSessionFields.map(nameOnly).join(' ') });
  if (journal.state === 'found' && journal.unknown)
    shapes.push({
      shape: journal.unknown.where === 'none-known' ? 'journal' : 'journal-record',
      seen: nameOnly(journal.unknown.type),
    });
  if (streamsUnseen) shapes.push({ shape: 'no-connection', seen: 'streams' });
  return shapes;
}

/** Whether a release of Claude is newer than the newest that was tested; false if it is not known. */
export const isNewerThanTested = (release: string | null): boolean =>
  release !== null && (compareReleases(release, NEWEST_TESTED) ?? 0) > 0;

/** The user who writes these files can put any text there: only what looks like a name of a program's is passed on. */
const nameOnly = (text: string): string => (/^[\w.+-]{1,40}$/.test(text) ? text : '(not a name)');

/** An unknown shape as a sentence, with the releases that a bug report needs. */
export function describeShape(
  { shape, seen }: UnknownShape,
  { evidence: { claudeRelease, sdkVersion } }: Judgement,
  clayRelease: string | null,
): string {
  const claude = `Claude ${claudeRelease === null ? 'of unknown release' : nameOnly(claudeRelease)}`;
  if (shape === 'release')
    return `${claude} is newer than ${NEWEST_TESTED}, the newest that this clay-reaper was tested with; it is judged as carefully as ever`;
  const what = {
    status: `the status ${seen} in its session file`,
    'session-file': `the fields ${seen} in its session file`,
    'journal-record': `a record ${seen} after the end of a turn in Clay's journal`,
    journal: `a journal of Clay in which no record is known, such as ${seen}`,
    'no-connection': 'an answer that streams in over no TCP connection',
  }[shape];
  const releases = `Agent SDK ${sdkVersion === null ? 'unknown' : nameOnly(sdkVersion)}, Clay ${clayRelease ?? 'of unknown release'}`;
  return `${claude} shows something that no tested release does: ${what} (${releases}); it is judged as carefully as ever; please report this line`;
}
