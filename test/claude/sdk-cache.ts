import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const SDK = '@anthropic-ai/claude-agent-sdk';

/** Where releases are kept, 80 to 390 MB each: $CLAY_REAPER_SDK_CACHE, else below the user's cache (XDG Base Directory). */
const cacheDirectory = (): string =>
  process.env.CLAY_REAPER_SDK_CACHE ||
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'clay-reaper/agent-sdk');

/** The module of an installed release. */
export const sdkModule = (sdk: string): string => join(cacheDirectory(), sdk, 'node_modules', SDK, 'sdk.mjs');

/** What was seen of a release when it was tested last, as JSON. */
export const resultFile = (sdk: string): string => join(cacheDirectory(), `${sdk}.json`);

const run = promisify(execFile);

/** Installs a release from the npm registry, unless the cache has it. Throws what npm says if it cannot. */
export async function installSdk(sdk: string): Promise<void> {
  if (existsSync(sdkModule(sdk))) return;
  const cache = cacheDirectory();
  mkdirSync(cache, { recursive: true });
  // A folder of its own until it is whole: what was interrupted must not pass for a release.
  const temporary = mkdtempSync(join(cache, `.${sdk}-`));
  try {
    writeFileSync(join(temporary, 'package.json'), JSON.stringify({ private: true, dependencies: { [SDK]: sdk } }));
    await run('npm', ['install', '--no-audit', '--no-fund', '--no-package-lock'], { cwd: temporary });
    rmSync(join(cache, sdk), { recursive: true, force: true });
    renameSync(temporary, join(cache, sdk));
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** The newest release in the npm registry. */
export async function newestSdk(): Promise<string> {
  const { stdout } = await run('npm', ['view', SDK, 'version']);
  return stdout.trim();
}
