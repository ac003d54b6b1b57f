import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { resolveTrustedDirectory } from '../fs/trusted-directory.ts';
import { bytesOf, type HistoryRecord } from '../history/store.ts';
import { sanitize } from '../report/sanitize.ts';
import { ok } from '../result.ts';

/** A hook that hangs is killed after this time. */
const TIMEOUT_MS = 10_000;

/**
 * Runs the program of `hooks.on_reaped` for each record, one after the other, without a shell and without arguments. It has the
 * capabilities of the service: the unit forbids capset(2), so no child can give them up. Resolves with undefined, or with why it
 * did not succeed for one of them; a hook never delays or stops the reaping.
 */
export async function runHooks(
  path: string,
  records: readonly HistoryRecord[],
  timeoutMs = TIMEOUT_MS,
): Promise<string | undefined> {
  if (path === '' || records.length === 0) return undefined;
  const refusal = whyNotTrusted(path);
  if (refusal !== null) return `hooks.on_reaped was not run: ${refusal}`;
  let failure: string | undefined;
  for (const record of records) failure = (await run(path, hookEnvironment(record), timeoutMs)) ?? failure;
  return failure === undefined ? undefined : `hooks.on_reaped failed: ${failure}`;
}

/** The path is the administrator's: any file system is accepted. */
const NAMED_BY_ROOT = { checkPath: () => ok<true>(true) };

/** A user who can replace the program gets the rights of the service. Returns why another user can, or null. */
export function whyNotTrusted(path: string): string | null {
  const directory = resolveTrustedDirectory(dirname(path), NAMED_BY_ROOT);
  if (!directory.ok) return directory.failure.detail;
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined || !stats.isFile()) return `${path} is not a file`;
  if (stats.uid !== 0 && stats.uid !== process.geteuid?.()) return `${path} belongs to uid ${stats.uid}`;
  return (stats.mode & 0o022) === 0 ? null : `others may write to ${path}`;
}

/** The variables of the hook. Values are stripped of control characters: titles and projects are what users wrote. */
export function hookEnvironment(record: HistoryRecord): Record<string, string> {
  const values: Readonly<Record<string, string | number | null>> = {
    REAPED_AT: record.at,
    REAPED_PID: record.pid,
    REAPED_UID: record.uid,
    REAPED_USER: record.user,
    REAPED_PROJECT: record.project,
    REAPED_TITLE: record.title,
    REAPED_SESSION_ID: record.sessionId,
    REAPED_ORPHAN: record.orphan,
    REAPED_OUTCOME: record.outcome,
    REAPED_SIGNAL: record.signal,
    REAPED_IDLE_SECONDS: record.idleSeconds,
    REAPED_BYTES: bytesOf(record),
  };
  const entries = Object.entries(values).map(([name, value]) => [name, sanitize(String(value ?? ''))] as const);
  return { PATH: '/usr/local/bin:/usr/bin:/bin', ...Object.fromEntries(entries) };
}

function run(path: string, env: NodeJS.ProcessEnv, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const options = { env, timeout: timeoutMs, killSignal: 'SIGKILL', cwd: '/' } as const;
    const child = execFile(path, [], options, (error) => {
      if (error === null) return resolve(undefined);
      const reason = error.killed ? `no end within ${timeoutMs / 1000} s` : `exit status ${error.code ?? error.signal}`;
      resolve(`${path}: ${reason}`);
    });
    child.stdin?.end();
  });
}
