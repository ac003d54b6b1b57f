import type { Look } from '../sweep.ts';
import type { UsageByPid } from './report.ts';

/**
 * CPU (percent of one core) and resident memory (bytes) of the candidates, as a person is shown them. pidusage's first
 * answer is an average over the whole life of a process: `begin` takes it, `end` gives what was used since.
 */
export function watchUsage(): { begin: (look: Look) => Promise<void>; end: (look: Look) => Promise<UsageByPid> } {
  const measure = async (look: Look): Promise<UsageByPid> => {
    const usage = new Map<number, { cpuPercent: number; rssBytes: number }>();
    if (look.judgements.length === 0) return usage;
    const { default: pidusage } = await import('pidusage');
    for (const { evidence } of look.judgements) {
      // One by one: asked for several, it fails for all if one has vanished.
      const stats = await pidusage(evidence.id.pid).catch(() => null);
      if (stats) usage.set(evidence.id.pid, { cpuPercent: stats.cpu, rssBytes: stats.memory });
    }
    return usage;
  };
  return {
    begin: async (look) => void (await measure(look)),
    end: async (look) => {
      const usage = await measure(look);
      // It keeps descriptors open for the next call, which does not come.
      if (usage.size > 0) (await import('pidusage')).default.clear();
      return usage;
    },
  };
}
