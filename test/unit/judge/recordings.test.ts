import { describe, expect, it } from 'vitest';
import { type AssessState, newAssessState, sampleRepeatedly } from '../../../src/assess.ts';
import { type Judgement, judge } from '../../../src/judge/judge.ts';
import type { Policy } from '../../../src/judge/policy.ts';
import { lookWith } from '../../helpers/assessment.ts';
import { LIMITS, MINUTE, newSweeps, SECOND, single } from '../../helpers/evidence.ts';
import { BEGAN_MS, type Player, play, RECORDINGS, type Recording, randomOf } from '../../helpers/recordings.ts';

const nameOf = ({ sdk, situation }: Recording): string => `${situation} of ${sdk}`;
const AT_WORK = RECORDINGS.filter(({ atWork }) => atWork);
const IDLE = RECORDINGS.filter(({ atWork }) => !atWork);
const clockAt = (ms: number) => ({ wallMs: BEGAN_MS + ms, monotonicMs: ms });

/** Work that comes to its end with the recording: what follows is rest. */
const ENDS = /^(compact|stop-hook)/;

/** Sweeps over a recorded process as `run` does; returns when it would be ended (ms), or null. */
function reapedAfter(recording: Recording, seed: number, policy: Policy, pollMs: number, maxMs: number, speed = 1) {
  const random = randomOf(seed);
  const player = play(recording, random, speed);
  const { judgeSingle } = newSweeps(policy);
  const endMs = ENDS.test(recording.situation) ? (recording.rows.at(-1)?.[0] ?? 0) : maxMs;
  for (let ms = recording.since + random() * pollMs; ms < endMs; ms += pollMs) {
    if (judgeSingle(player.evidenceAt(ms), clockAt(ms)).verdict === 'reap') return ms;
  }
  return null;
}

/** The judgement of a one-shot command at a moment, by the code that the commands use. */
async function judgeOnce(player: Player, atMs: number, policy: Policy): Promise<Judgement> {
  const state: AssessState = newAssessState('/nonexistent');
  let ms = atMs;
  const assessNow = async () => {
    const previous = state.tracking;
    const { judgements, tracking } = judge([player.evidenceAt(ms)], previous, policy, clockAt(ms));
    state.tracking = tracking;
    return lookWith({ judgements, previous });
  };
  const assessment = await sampleRepeatedly(state, assessNow, async (waitMs) => {
    ms += waitMs;
  });
  return single(assessment.judgements);
}

/** Every fourth trial is on a machine that is four times slower. */
const speedOf = (trial: number): number => (Math.floor(trial / AT_WORK.length) % 4 === 3 ? 4 : 1);

/** Waits as short as a person may set them: only the protections are in the way. */
const IMPATIENT: Policy = { ...LIMITS, gracePeriodMs: 0, parkedAfterMs: 0, minAgeMs: 0 };

describe('recorded processes at work', () => {
  it('cover each kind of work of which CPU use may be the only sign', () => {
    const situations = new Set(AT_WORK.map(({ situation }) => situation.replace(/_.*/, '')));
    for (const situation of ['mcp-interrupted', 'mcp-job-100', 'async-hook-5', 'compact', 'retry-429', 'streaming'])
      expect(situations).toContain(situation);
    expect(new Set(AT_WORK.map(({ sdk }) => sdk)).size).toBeGreaterThanOrEqual(12);
  });
  it('are not ended by the service in 1,000 trials', { timeout: 60_000 }, () => {
    const settings = [
      { policy: LIMITS, pollMs: 30 * SECOND, maxMs: 60 * MINUTE },
      { policy: { ...LIMITS, parkedAfterMs: 5 * MINUTE }, pollMs: 30 * SECOND, maxMs: 30 * MINUTE },
      { policy: { ...LIMITS, parkedAfterMs: 30 * SECOND }, pollMs: 5 * SECOND, maxMs: 10 * MINUTE },
    ];
    const ended: string[] = [];
    for (let trial = 0; trial < 1_000; trial++) {
      const recording = AT_WORK[trial % AT_WORK.length] as Recording;
      const { policy, pollMs, maxMs } = settings[trial % settings.length] as (typeof settings)[number];
      if (reapedAfter(recording, trial, policy, pollMs, maxMs, speedOf(trial)) !== null)
        ended.push(`${nameOf(recording)}, seed ${trial}`);
    }
    expect(ended).toEqual([]);
  });
  it('are not ended by cleanup --now in 1,000 trials', { timeout: 60_000 }, async () => {
    const ended: string[] = [];
    for (let trial = 0; trial < 1_000; trial++) {
      const recording = AT_WORK[trial % AT_WORK.length] as Recording;
      const random = randomOf(trial);
      const lastMs = (recording.rows.at(-1)?.[0] ?? 0) - 15 * SECOND;
      const range = ENDS.test(recording.situation) ? Math.max(0, lastMs - recording.since) : 15 * MINUTE;
      const atMs = recording.since + random() * range;
      const { verdict } = await judgeOnce(play(recording, random, speedOf(trial)), atMs, IMPATIENT);
      if (verdict === 'reap') ended.push(`${nameOf(recording)}, seed ${trial}`);
    }
    expect(ended).toEqual([]);
  });
});

describe('recorded idle processes', () => {
  it.each(IDLE.map((recording) => [nameOf(recording), recording] as const))(
    'are ended within parked_after and 5 minutes: %s',
    (_, recording) => {
      for (let seed = 1; seed <= 5; seed++) {
        const afterMs = reapedAfter(recording, seed, LIMITS, 30 * SECOND, 60 * MINUTE);
        expect(afterMs, `seed ${seed}`).not.toBeNull();
        expect((afterMs ?? 0) - recording.since, `seed ${seed}`).toBeLessThanOrEqual(35 * MINUTE);
      }
    },
  );
  it.each(
    IDLE.filter(({ sdk }) => sdk !== '0.2.44' && sdk !== '0.2.76').map(
      (recording) => [nameOf(recording), recording] as const,
    ),
  )('are named by at least 95 of 100 one-shots after a minute of rest: %s', async (_, recording) => {
    let idle = 0;
    for (let seed = 1; seed <= 100; seed++) {
      const random = randomOf(seed);
      const atMs = recording.since + MINUTE + random() * 2 * MINUTE;
      idle += (await judgeOnce(play(recording, random), atMs, LIMITS)).verdict === 'protected' ? 0 : 1;
    }
    expect(idle).toBeGreaterThanOrEqual(95);
  });
  it.each(
    IDLE.filter(({ situation }) => situation === 'rest' || situation === 'mcp-real').map(
      (recording) => [nameOf(recording), recording] as const,
    ),
  )('are ended on a board that is five times slower: %s', (_, recording) => {
    for (let seed = 1; seed <= 3; seed++)
      expect(reapedAfter(recording, seed, LIMITS, 30 * SECOND, 60 * MINUTE, 5), `seed ${seed}`).not.toBeNull();
  });
});
