import { describe, expect, it } from 'vitest';
import { addSweep, emptyStats, formatStatusLine } from '../../../src/service/stats.ts';
import { clayLook, lookWith, orphan, protectedBy, reapedAs } from '../../helpers/assessment.ts';

describe('service statistics', () => {
  it('counts the current processes and sums the reclaimed bytes since start', () => {
    const judgements = [orphan(), orphan({ verdict: 'grace' }), protectedBy(['cpu'])];
    const bytes = (rssBytes: number) => orphan({}, { rssBytes });
    const first = addSweep(emptyStats, lookWith({ judgements }), [reapedAs('terminated', bytes(700_000_000))]);
    const second = addSweep(first, lookWith({ judgements: judgements.slice(1) }), [
      reapedAs('killed', bytes(500_000_000)),
      reapedAs('survived', bytes(9_000_000_000)),
    ]);
    expect(second).toEqual({ clayPids: [16_199], processes: 2, idle: 1, reclaimedBytes: 1_200_000_000 });
    expect(formatStatusLine(second, null)).toBe(
      'watching Clay 16199: 2 claude processes, 1 idle, 1.2 GB reclaimed since start',
    );
  });
  it('names what keeps it from ending anything', () => {
    expect(formatStatusLine(emptyStats, 'dry_run = true in /etc/clay-reaper/config.toml')).toBe(
      'waiting for Clay: 0 claude processes, 0 idle, ends nothing (dry_run = true in /etc/clay-reaper/config.toml)',
    );
  });
  it('names every Clay in the status line, or says that it waits for one', () => {
    const two = lookWith({ clays: [clayLook(), clayLook({ pid: 7 })] });
    expect(formatStatusLine(addSweep(emptyStats, two, []), null)).toMatch(/^watching Clay 16199, 7: /);
    expect(formatStatusLine(addSweep(emptyStats, lookWith({ clays: [] }), []), null)).toMatch(/^waiting for Clay: /);
  });
});
