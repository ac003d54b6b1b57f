import { type Assessment, type AssessSettings, type AssessState, assess, newAssessState } from './assess.ts';
import { SERVICE_OBSERVER } from './observe/observe.ts';
import { type ReapSettings, reap } from './reap/reap.ts';
import type { ReapResult } from './reap/result.ts';
import { type NotEnded, notEndedAfter, orphansToReap } from './reap/select.ts';

/** Everything the configuration says about a sweep. */
export type SweepSettings = AssessSettings &
  ReapSettings & {
    /** Nothing is signalled. */
    readonly dryRun: boolean;
  };

/** State kept from one sweep to the next; owned by the caller. */
export type SweepState = AssessState & { notEnded: NotEnded };

/** The state before the first sweep. */
export const newSweepState = (procRoot: string): SweepState => ({
  ...newAssessState(procRoot, SERVICE_OBSERVER),
  notEnded: new Set(),
});

/** What one sweep saw and did. */
export type SweepResult = { readonly assessment: Assessment; readonly reaped: readonly ReapResult[] };

/** One sweep: assess → reap. Reporting is up to the caller. */
export async function sweep(settings: SweepSettings, state: SweepState, abort: AbortSignal): Promise<SweepResult> {
  const assessment = await assess(settings, state);
  if (settings.dryRun || abort.aborted) return { assessment, reaped: [] };
  const reaped = await reap(settings, assessment, orphansToReap(assessment), { abort, notEnded: state.notEnded });
  state.notEnded = notEndedAfter(state.notEnded, assessment.judgements, reaped);
  return { assessment, reaped };
}
