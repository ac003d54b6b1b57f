import { describe, expect, it, vi } from 'vitest';
import { type Assessment, type AssessState, newAssessState, sampleRepeatedly } from '../../src/assess.ts';
import type { Judgement, Tracking } from '../../src/judge/judge.ts';
import { lookWith, orphan, protectedBy } from '../helpers/assessment.ts';
import { HOUR, idleEvidence, NOW } from '../helpers/evidence.ts';

const ID = idleEvidence().id;
const KEY = `${ID.pid}:${ID.startTicks}`;

/** Assesses a list of judgements, one assessment after the other, and records the order of calls. */
async function sample(
  judgements: readonly (readonly Judgement[])[],
  hooks: Parameters<typeof sampleRepeatedly>[3] = {},
): Promise<{ result: Assessment; calls: string[] }> {
  const calls: string[] = [];
  const queue = [...judgements];
  const result = await sampleRepeatedly(
    newAssessState('/proc'),
    async () => {
      calls.push('assess');
      return lookWith({ judgements: queue.shift() ?? [] });
    },
    async (ms) => void calls.push(`wait ${ms}`),
    hooks,
  );
  return { result, calls };
}

const busy = protectedBy(['cpu']);
const idle = orphan();

describe('sampling of a one-shot command', () => {
  it('assesses once, without a wait, if there is no candidate', async () => {
    expect((await sample([[]])).calls).toEqual(['assess']);
  });

  it('assesses twice, 3 s apart, and returns the second assessment', async () => {
    const { result, calls } = await sample([[busy], [idle]]);
    expect(calls).toEqual(['assess', 'wait 3000', 'assess']);
    expect(result.judgements).toEqual([idle]);
  });

  it('samples again while CPU use alone protects a process, at most three times', async () => {
    expect(
      (await sample([[busy], [busy], [busy], [idle], [idle]])).calls.filter((call) => call === 'assess'),
    ).toHaveLength(4);
    const { calls } = await sample(Array.from({ length: 9 }, () => [busy]));
    expect(calls.filter((call) => call === 'assess')).toHaveLength(5);
  });

  it('does not sample again for a process that something else protects too', async () => {
    expect((await sample([[busy], [protectedBy(['cpu', 'turn'])]])).calls).toEqual(['assess', 'wait 3000', 'assess']);
  });

  it('does not sample again for a process that is not relevant to the command', async () => {
    const hooks = { isRelevant: ({ evidence }: Judgement) => evidence.id.pid !== ID.pid };
    expect((await sample([[busy], [busy]], hooks)).calls).toEqual(['assess', 'wait 3000', 'assess']);
  });

  it('says before each wait how long it is', async () => {
    const waits: number[] = [];
    await sample([[busy], [busy], [idle]], { onWait: (ms) => void waits.push(ms) });
    expect(waits).toEqual([3000, 3000]);
    const none: number[] = [];
    await sample([[]], { onWait: (ms) => void none.push(ms) });
    expect(none).toEqual([]);
  });

  it('runs the hook after the first assessment and before the first wait', async () => {
    const afterFirst = vi.fn(async () => {});
    const { calls } = await sample([[busy], [idle]], { afterFirst });
    expect(afterFirst).toHaveBeenCalledOnce();
    expect(calls[0]).toBe('assess');
  });
});

describe('a CPU burst between two samples', () => {
  const trackingWith = (idleMs: number): Tracking => ({
    cpu: { atMs: 0, cpuMs: 0 } as unknown as Tracking['cpu'],
    connections: {} as Tracking['connections'],
    future: null,
    idle: { atMs: NOW.monotonicMs, idleMs, wasProtected: idleMs === 0 },
    unseenStreamMs: null,
  });

  /** The idle time in the state after a burst, judged as `reason`, was seen in the second sample. */
  async function idleMsAfter(reason: Judgement): Promise<number | undefined> {
    const state: AssessState = newAssessState('/proc');
    const queue: Judgement[][] = [[busy], [reason], [idle]];
    let seen: number | undefined;
    await sampleRepeatedly(
      state,
      async () => {
        const judgements = queue.shift() ?? [];
        if (queue.length === 0) seen = state.tracking.get(KEY)?.idle.idleMs;
        const previous = new Map([[KEY, trackingWith(HOUR)]]);
        state.tracking = new Map([[KEY, trackingWith(0)]]);
        return lookWith({ judgements, previous });
      },
      async () => {},
    );
    return seen;
  }

  it('does not restart the idle time of a process that nothing else protects', async () => {
    expect(await idleMsAfter(busy)).toBe(HOUR);
  });
});
