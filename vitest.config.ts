import { defineConfig } from 'vitest/config';
import { failOnSkippedTests } from './test/helpers/fail-on-skipped-tests.ts';

/** Real processes are started and ended: files run one after another, as parallel ones would compete for two cores. */
const withProcesses = {
  globalSetup: 'test/helpers/build.ts',
  fileParallelism: false,
  testTimeout: 60_000,
  hookTimeout: 60_000,
};

export default defineConfig({
  test: {
    reporters: ['default', failOnSkippedTests],
    projects: [
      // Pure functions share nothing: a process for each file would take most of the time.
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'], isolate: false, testTimeout: 20_000 } },
      { test: { name: 'integration', include: ['test/integration/**/*.test.ts'], ...withProcesses } },
      {
        test: {
          name: 'claude',
          include: ['test/claude/*.test.ts'],
          exclude: ['test/claude/release.test.ts'],
          ...withProcesses,
          testTimeout: 180_000,
          hookTimeout: 240_000,
        },
      },
      // One release of the Agent SDK: `npm run test:releases` starts one after the other, and has built the program.
      {
        test: {
          name: 'release',
          include: ['test/claude/release.test.ts'],
          ...withProcesses,
          testTimeout: 300_000,
          hookTimeout: 900_000,
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
          include: ['test/security/**/*.test.ts'],
          ...withProcesses,
          globalSetup: ['test/helpers/build.ts', 'test/security/private-machine.ts'],
          testTimeout: 120_000,
        },
      },
      { test: { name: 'package', include: ['test/package/*.test.ts'], testTimeout: 180_000, hookTimeout: 180_000 } },
      { test: { name: 'demo', include: ['test/demo/**/*.test.ts'], ...withProcesses, testTimeout: 180_000 } },
      { test: { name: 'faults', include: ['test/faults/**/*.test.ts'], ...withProcesses, testTimeout: 180_000 } },
      // It lasts as long as CLAY_REAPER_FUZZ_SECONDS says.
      {
        test: {
          name: 'fuzz',
          include: ['test/fuzz/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 24 * 3600_000,
          // Growth is measured after a collection.
          execArgv: ['--expose-gc'],
        },
      },
      {
        // Each file lasts as long as CLAY_REAPER_SOAK_SECONDS says, and a minute more to begin and to end it all.
        test: { name: 'soak', include: ['test/soak/**/*.test.ts'], ...withProcesses, testTimeout: 24 * 3600_000 },
      },
    ],
  },
});
