import type { Assessment } from '../assess.ts';
import { failedCount, type ReapResult } from '../reap/result.ts';
import { warnings } from './messages.ts';

/** The exit statuses of all commands; people script against them. 130: Ctrl-C, as shells count it. */
export const EXIT = { ok: 0, failed: 1, usage: 2, noClay: 3, incomplete: 4, interrupted: 130 } as const;

/** What each status means, by its number; shown in the man page and by --help. */
export const EXIT_MEANINGS: Readonly<Record<number, string>> = {
  [EXIT.ok]: 'Done, also when there was nothing to do.',
  [EXIT.failed]:
    'A process that should be gone is not; or what was asked for is not there (explain, history); or the service has failed or runs an older program (doctor).',
  [EXIT.usage]: 'Bad usage or configuration.',
  [EXIT.noClay]: 'No Clay daemon and no abandoned process found.',
  [EXIT.incomplete]:
    'At least one Clay was left alone, because it gave no usable answer or its processes could not be read.',
  [EXIT.interrupted]: 'Interrupted at a question; no process was ended.',
};

/** The exit status of a one-shot: a process that survived outweighs everything else. */
export function exitStatus(assessment: Assessment, reaped: readonly ReapResult[] = []): number {
  if (failedCount(reaped) > 0) return EXIT.failed;
  if (assessment.clays.length === 0 && assessment.judgements.length === 0)
    return assessment.inContainers === null && assessment.withoutHome.length === 0 ? EXIT.noClay : EXIT.incomplete;
  const becameUnreachable = reaped.some(
    ({ result }) => result.outcome === 'spared' && result.because === 'unreachable',
  );
  return becameUnreachable || warnings(assessment).length > 0 ? EXIT.incomplete : EXIT.ok;
}
