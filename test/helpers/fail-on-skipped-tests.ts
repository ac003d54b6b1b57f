import type { Reporter, TestModule } from 'vitest/node';

/** Where it counts (CI is set), a run in which nothing was tested or something was skipped is a failed one. */
export const failOnSkippedTests: Reporter = {
  onTestRunEnd(modules: readonly TestModule[]) {
    const results = modules.flatMap((module) => [...module.children.allTests()].map((test) => test.result().state));
    const passed = results.filter((state) => state === 'passed').length;
    const failed = results.filter((state) => state === 'failed').length;
    const skipped = results.length - passed - failed;
    console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
    if (process.env.CI && (passed === 0 || skipped > 0)) process.exitCode = 1;
  },
};
