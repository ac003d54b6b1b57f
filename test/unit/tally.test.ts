import { describe, expect, it } from 'vitest';
import { addToTally, emptyTally, inWords } from '../../src/service/tally.ts';
import { clayLook, lookWith, orphan, protectedBy, reapedAs } from './look.ts';

describe('the tally of a service', () => {
  it('shows what is there, and adds up what came back', () => {
    const judgements = [orphan(), orphan({ verdict: 'grace' }), protectedBy(['cpu'])];
    const bytes = (rssBytes: number) => orphan({}, { rssBytes });
    const first = addToTally(emptyTally, lookWith({ judgements }), [reapedAs('terminated', bytes(700_000_000))]);
    const second = addToTally(first, lookWith({ judgements: judgements.slice(1) }), [
      reapedAs('killed', bytes(500_000_000)),
      reapedAs('survived', bytes(9_000_000_000)),
    ]);
    expect(second).toEqual({ clayPids: [16_199], processes: 2, idle: 1, reclaimed: 1_200_000_000 });
    expect(inWords(second)).toBe('watching Clay 16199: 2 claude processes, 1 idle, 1.2 GB reclaimed since start');
  });
  it('names every Clay, or that there is none', () => {
    const two = lookWith({ clays: [clayLook(), clayLook({ pid: 7 })] });
    expect(inWords(addToTally(emptyTally, two, []))).toMatch(/^watching Clay 16199, 7: /);
    expect(inWords(addToTally(emptyTally, lookWith({ clays: [] }), []))).toMatch(/^waiting for Clay: /);
  });
});
