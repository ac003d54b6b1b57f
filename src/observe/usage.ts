import type { Evidence } from '../judge/evidence.ts';

/** CPU (percent of one core) and resident memory (bytes), by pid. */
export type UsageByPid = ReadonlyMap<number, { readonly cpuPercent: number; readonly rssBytes: number }>;

/** The processes to measure. */
type Observed = { readonly evidence: readonly Evidence[] };

/**
 * CPU (percent of one core) and resident memory (bytes) of the candidates, as a person is shown them. pidusage's first
 * answer is an average over the whole life of a process: `begin` takes it, `end` gives what was used since.
 */
export function usageSampler(): {
  begin: (observed: Observed) => Promise<void>;
  end: (observed: Observed) => Promise<UsageByPid>;
} {
  const measure = async (observed: Observed): Promise<UsageByPid> => {
    const usage = new Map<number, { cpuPercent: number; rssBytes: number }>();
    if (observed.evidence.length === 0) return usage;
    const { default: pidusage } = await import('pidusage');
    for (const { id } of observed.evidence) {
      // One by one: asked for several, it fails for all if one has vanished.
      const stats = await pidusage(id.pid).catch(() => null);
      if (stats) usage.set(id.pid, { cpuPercent: stats.cpu, rssBytes: stats.memory });
    }
    return usage;
  };
  return {
    begin: async (observed) => void (await measure(observed)),
    end: async (observed) => {
      const usage = await measure(observed);
      // It keeps descriptors open for the next call, which does not come.
      if (usage.size > 0) (await import('pidusage')).default.clear();
      return usage;
    },
  };
}
