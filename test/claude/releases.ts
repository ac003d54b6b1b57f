import { execFile } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { TESTED_SDKS } from '../../src/claude/tested-releases.ts';
import { inTurns } from './in-turns.ts';
import { releasesDocument, summarize } from './releases-document.ts';
import { installSdk, newestSdk, resultFile } from './sdk-cache.ts';
import type { SeenRelease } from './suite.ts';

// npm run test:releases [-- --short | VERSION…], in the package's folder: the scenarios of real claude processes on the releases
// of the Agent SDK, side by side. Writes docs/releases.md; a short run does not.

/** Differ most: Node without a session file; Node with one; native without `status`. The newest is native with `status`. */
const SHORT: readonly (typeof TESTED_SDKS)[number][] = ['0.2.76', '0.2.92', '0.2.118'];

/** Memory of all situations of one release side by side: 2.3 GB for 0.3.330, 2.5 GB for 0.2.44 (Pss of proc_pid_smaps_rollup(5)). */
const BYTES_PER_RELEASE = 3e9;

const DOCUMENT = 'docs/releases.md';

/** What was seen of a release, and all that its suite has printed; `null`: it could not even begin. */
type Outcome = { readonly sdk: string; readonly passed: boolean; readonly seen: SeenRelease | null };

async function main(args: readonly string[]): Promise<void> {
  const isShort = args.includes('--short');
  const newest = args.length === 0 || isShort ? [await newestSdk()] : [];
  const sdks = [...new Set([...(isShort ? SHORT : args.length > 0 ? args : TESTED_SDKS), ...newest])];
  if (newest.some((sdk) => !(TESTED_SDKS as readonly string[]).includes(sdk)))
    console.log(`${newest[0]} is the newest release: add it to src/claude/tested-releases.ts if it passes`);
  const atOnce = Math.min(availableParallelism(), Math.max(1, Math.floor(availableMemory() / BYTES_PER_RELEASE)));
  console.log(`${sdks.length} releases of the Agent SDK, ${atOnce} at a time: ${sdks.join(', ')}`);
  const outcomes = await inTurns(sdks, atOnce, testRelease);
  const failed = outcomes.filter(({ passed }) => !passed).map(({ sdk }) => sdk);
  if (!isShort) writeDocument([...TESTED_SDKS, ...newest]);
  console.log(failed.length === 0 ? 'all passed' : `failed: ${failed.join(', ')}`);
  process.exitCode = failed.length === 0 ? 0 : 1;
}

/** Writes the document from what was seen last of each release, in this run or an earlier one. */
function writeDocument(sdks: readonly string[]): void {
  const missing = sdks.filter((sdk) => !existsSync(resultFile(sdk)));
  if (missing.length > 0) {
    console.log(`${DOCUMENT} is not written: nothing was seen of ${missing.join(', ')}`);
    return;
  }
  const seen = [...new Set(sdks)].map((sdk) => JSON.parse(readFileSync(resultFile(sdk), 'utf8')) as SeenRelease);
  writeFileSync(DOCUMENT, releasesDocument(seen));
  console.log(`${DOCUMENT} is written`);
}

/** MemAvailable of proc_meminfo(5), in bytes. */
function availableMemory(): number {
  return Number(/^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0) * 1024;
}

/** The suite of one release in a process of its own, so that none can break another. */
async function testRelease(sdk: string): Promise<Outcome> {
  const began = performance.now();
  const seconds = (): string => `${Math.round((performance.now() - began) / 1000)} s`;
  try {
    await installSdk(sdk);
  } catch (error) {
    console.log(`\n${sdk}: not tested, npm could not install it: ${(error as Error).message}`);
    return { sdk, passed: false, seen: null };
  }
  const result = resultFile(sdk);
  rmSync(result, { force: true });
  const env = { ...process.env, TEST_BUILT: '1', TEST_SDK: sdk, TEST_SDK_RESULT: result };
  const { passed, output } = await new Promise<{ passed: boolean; output: string }>((resolve) => {
    const command = ['node_modules/vitest/vitest.mjs', 'run', '--project', 'release'];
    execFile(process.execPath, command, { env, maxBuffer: 64e6 }, (error, stdout, stderr) =>
      resolve({ passed: error === null, output: `${stdout}${stderr}` }),
    );
  });
  const seen = existsSync(result) ? (JSON.parse(readFileSync(result, 'utf8')) as SeenRelease) : null;
  if (!passed) console.log(output);
  console.log(
    `\n${sdk}: ${passed ? 'passed' : 'FAILED'} in ${seconds()}${seen === null ? '' : `\n${summarize(seen)}`}`,
  );
  return { sdk, passed: passed && seen !== null, seen };
}

await main(process.argv.slice(2));
