import type { Look, Reaped } from '../sweep.ts';
import { failedCount } from './report.ts';

/** The exit statuses of all commands; people script against them. 130: Ctrl-C, as shells count it. */
export const EXIT = { done: 0, notGone: 1, usage: 2, nothingFound: 3, leftAlone: 4, interrupted: 130 } as const;

/** What each of them means, by its number; the man page and --help say so. */
export const EXIT_MEANINGS: Readonly<Record<number, string>> = {
  [EXIT.done]: 'Done, also when there was nothing to do.',
  [EXIT.notGone]: 'Something that should be gone is not; or there is nothing that was asked for (explain, history).',
  [EXIT.usage]: 'Bad usage or configuration.',
  [EXIT.nothingFound]: 'No Clay daemon and no abandoned process found.',
  [EXIT.leftAlone]:
    'At least one Clay was left alone, because it gave no usable answer or its processes could not be read.',
  [EXIT.interrupted]: 'Interrupted at a question; nothing was ended.',
};

/** The exit status of a one-shot: what should be gone and is not weighs most. */
export function exitStatus(look: Look, reaped: readonly Reaped[] = []): number {
  if (failedCount(reaped) > 0) return EXIT.notGone;
  if (look.clays.length === 0 && look.judgements.length === 0) return EXIT.nothingFound;
  const silenced = reaped.some(({ ending }) => ending.outcome === 'spared' && ending.because === 'silence');
  return silenced || complaints(look).length > 0 ? EXIT.leftAlone : EXIT.done;
}

/** What kept the reaper from its job, a line each: Clays that gave no usable answer, and processes that could not be read. */
export function complaints(look: Look): string[] {
  const lines = look.clays.flatMap(({ daemon, answer, blind }) => {
    if (blind !== null) return [blind];
    return answer.ok
      ? []
      : [`Clay ${daemon.pid} (${daemon.home}) was left alone: its API gave no usable answer: ${answer.failure.detail}`];
  });
  const blindPids = new Set(look.clays.filter((clay) => clay.blind !== null).map((clay) => clay.daemon.pid));
  for (const { evidence } of look.judgements) {
    const { clay } = evidence;
    if (!evidence.unreadable || (clay.state !== 'dead' && blindPids.has(clay.pid))) continue;
    lines.push(`claude ${evidence.id.pid} was left alone: it could not be read: ${evidence.doubts.join('; ')}`);
  }
  return lines;
}

/** One line that says where Clay was looked for, and what to do. */
export function nothingFound(look: Pick<Look, 'homes' | 'tableNote'>): string {
  // As root there may be hundreds of homes: those that say something come first, the rest are counted.
  const telling = look.homes.filter((each) => each.refusals.length > 0 || !each.nothing?.endsWith(' is not there'));
  const silent = look.homes.filter((each) => !telling.includes(each));
  const words = [
    ...telling.map(
      (each) => `${each.home} (${[...each.refusals, each.nothing ?? ''].filter((word) => word !== '').join('; ')})`,
    ),
    ...(silent.length > 4
      ? [`${silent.length} homes without a daemon.json`]
      : silent.map((each) => `${each.home} (no daemon.json)`)),
  ];
  const note = look.tableNote === null ? '' : `; ${look.tableNote}`;
  return `no Clay daemon found; looked in ${words.join(', ')} and among the running processes${note}; start Clay or name its home with --clay-home DIR`;
}
