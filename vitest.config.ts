import { defineConfig } from 'vitest/config';
import { everyTestRan } from './test/support/every-test-ran.ts';

/** Real processes are started and ended: files run one after the other, so that two cores are not fought over. */
const withProcesses = {
  globalSetup: 'test/support/build.ts',
  fileParallelism: false,
  testTimeout: 60_000,
  hookTimeout: 60_000,
};

export default defineConfig({
  test: {
    reporters: ['default', everyTestRan],
    projects: [
      // Pure functions share nothing: a process for each file would take most of the time.
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'], isolate: false } },
      { test: { name: 'integration', include: ['test/integration/**/*.test.ts'], ...withProcesses } },
      {
        test: {
          name: 'claude',
          include: ['test/claude/*.test.ts'],
          ...withProcesses,
          testTimeout: 180_000,
          hookTimeout: 240_000,
        },
      },
      {
        test: {
          name: 'systemd',
          include: ['test/systemd/*.test.ts'],
          ...withProcesses,
          testTimeout: 180_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          name: 'root',
          include: ['test/root/**/*.test.ts'],
          ...withProcesses,
          globalSetup: ['test/support/build.ts', 'test/root/private-machine.ts'],
          testTimeout: 120_000,
        },
      },
      { test: { name: 'demo', include: ['test/demo/**/*.test.ts'], ...withProcesses, testTimeout: 180_000 } },
      { test: { name: 'faults', include: ['test/faults/**/*.test.ts'], ...withProcesses, testTimeout: 180_000 } },
      {
        // It lasts as long as CLAY_REAPER_SOAK_SECONDS says, and a minute more to begin and to end it all.
        test: { name: 'soak', include: ['test/soak/**/*.test.ts'], ...withProcesses, testTimeout: 24 * 3600_000 },
      },
    ],
  },
});
