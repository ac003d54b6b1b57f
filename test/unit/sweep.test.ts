import { describe, expect, it } from 'vitest';
import { orphansToReap } from '../../src/sweep.ts';
import { HOUR, MINUTE } from './evidence.ts';
import { lookWith, orphan, protectedBy } from './look.ts';

describe('orphansToReap', () => {
  it('are those judged so, the longest idle first', () => {
    const [short, long, middle] = [10 * MINUTE, 3 * HOUR, HOUR].map((idleMs) => orphan({ idleMs }));
    const judgements = [
      short,
      protectedBy(['cpu']),
      long,
      orphan({ verdict: 'grace', idleMs: 9 * HOUR }),
      middle,
    ].filter((each) => each !== undefined);
    expect(orphansToReap({ judgements })).toEqual([long, middle, short]);
    // The order of the judgements themselves stays as it was.
    expect(judgements[0]).toBe(short);
  });
  it('are none where there are none', () => expect(orphansToReap(lookWith())).toEqual([]));
});
