import type { Homes } from './clay/homes.ts';
import { type Judgement, judge, type Tracking } from './judge/judge.ts';
import { applyPressure, type Policy, type PressurePolicy } from './judge/policy.ts';
import { readClock } from './observe/clock.ts';
import { newObserver, type Observation, type Observer, ONE_SHOT_OBSERVER } from './observe/observe.ts';
import { readMemoryPressure } from './proc/pressure.ts';
import { keyOf } from './proc/process-id.ts';
import { sleep } from './sleep.ts';

/** Where to look for Clay, and by which policy to judge. */
export type AssessSettings = {
  readonly procRoot: string;
  readonly homes: () => Homes;
  readonly policy: Policy;
  /** The shorter waits under memory pressure; null: the waits never become shorter. */
  readonly pressure: PressurePolicy | null;
};

/** State kept from one assessment to the next; owned by the caller. */
export type AssessState = { readonly observer: Observer; tracking: Map<string, Tracking> };

/** The state before the first assessment. */
export const newAssessState = (procRoot: string, options = ONE_SHOT_OBSERVER): AssessState => ({
  observer: newObserver(procRoot, options),
  tracking: new Map(),
});

/** What was observed at one moment, and the judgement of each candidate. */
export type Assessment = Observation & {
  readonly judgements: readonly Judgement[];
  /** The policy that was applied. */
  readonly policy: Policy;
  /** The memory pressure (percent) for which the shorter waits hold, or null if they do not. */
  readonly pressure: number | null;
  /** The tracking from before this assessment: a recheck is judged against it. */
  readonly previous: ReadonlyMap<string, Tracking>;
};

/** observe → judge, once. Throws a `ClockUnavailableError` if the kernel does not give the time. */
export async function assess(settings: AssessSettings, state: AssessState): Promise<Assessment> {
  const { procRoot, homes } = settings;
  const observation = await state.observer.observe({ homes, minAgeMs: settings.policy.minAgeMs }, () =>
    readClock(procRoot),
  );
  const previous = state.tracking;
  const pressure = currentPressure(settings);
  const policy =
    pressure !== null && settings.pressure ? applyPressure(settings.policy, settings.pressure) : settings.policy;
  const { judgements, tracking } = judge(observation.evidence, previous, policy, observation.at);
  state.tracking = tracking;
  return { ...observation, judgements, policy, pressure, previous };
}

/** The memory pressure (percent) if it reaches the configured threshold; null below it, or if the kernel does not report it. */
function currentPressure({ procRoot, pressure }: AssessSettings): number | null {
  if (pressure === null) return null;
  const measured = readMemoryPressure(procRoot);
  return measured.ok && measured.value >= pressure.someAvg10 ? measured.value : null;
}

/** CPU use needs two readings. An idle 0.3.330 uses 1 tick in this time (measured); 3 ticks are 1 %. */
const CPU_SAMPLE_MS = 3_000;

/** An idle 0.2.92 uses 0.2 s in one burst about once a minute; the samples after it are quiet again. */
const MAX_EXTRA_CPU_SAMPLES = 3;

/** What a one-shot command does beside assessing. */
export type OneShotHooks = {
  /** Runs after the first assessment, before the first wait. */
  readonly afterFirst?: (first: Assessment) => Promise<void>;
  /** Runs before each wait, with its length in ms. */
  readonly onWait?: (ms: number) => void;
  /** Whether it is worth up to 9 s more to distinguish a CPU burst of this process from work; by default it is. */
  readonly isRelevant?: (judgement: Judgement) => boolean;
};

/**
 * The assessment of a one-shot command, which has no earlier sweep to compare with: assesses twice, 3 s apart, to measure
 * CPU use, and up to three times more while CPU use alone protects a relevant process.
 */
export function assessOnce(settings: AssessSettings, hooks: OneShotHooks = {}): Promise<Assessment> {
  const state = newAssessState(settings.procRoot);
  return sampleRepeatedly(
    state,
    () => assess(settings, state),
    (ms) => sleep(ms, null),
    hooks,
  );
}

/** {@link assessOnce} with the assessing and the waiting given; `assessNow` updates `state`. */
export async function sampleRepeatedly(
  state: AssessState,
  assessNow: () => Promise<Assessment>,
  wait: (ms: number) => Promise<void>,
  { afterFirst = async () => {}, onWait = () => {}, isRelevant = () => true }: OneShotHooks = {},
): Promise<Assessment> {
  const sampleAfterWait = async (): Promise<Assessment> => {
    onWait(CPU_SAMPLE_MS);
    await wait(CPU_SAMPLE_MS);
    return assessNow();
  };
  const shouldResample = (judgement: Judgement): boolean => isProtectedByCpuOnly(judgement) && isRelevant(judgement);
  let assessment = await assessNow();
  await afterFirst(assessment);
  if (assessment.judgements.length === 0) return assessment;
  assessment = await sampleAfterWait();
  for (let extra = 0; extra < MAX_EXTRA_CPU_SAMPLES && assessment.judgements.some(shouldResample); extra++) {
    ignoreCpuBurst(assessment, state);
    assessment = await sampleAfterWait();
  }
  return assessment;
}

const isProtectedByCpuOnly = (judgement: Judgement): boolean =>
  judgement.verdict === 'protected' && judgement.reasons.every((reason) => reason.code === 'cpu');

/** Restores the idle time of processes protected only by `cpu`, so that a single burst does not restart it. */
function ignoreCpuBurst(assessment: Assessment, state: AssessState): void {
  for (const { evidence } of assessment.judgements.filter(isProtectedByCpuOnly)) {
    const key = keyOf(evidence.id);
    const before = assessment.previous.get(key);
    const after = state.tracking.get(key);
    if (before && after) state.tracking.set(key, { ...after, idle: before.idle });
  }
}
