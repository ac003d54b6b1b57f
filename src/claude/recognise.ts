import type { Stat } from '../proc/stat.ts';

/**
 * What every release of the Agent SDK calls its process (measured from 0.2.44 to 0.3.330): a Node program sets its
 * title to it, the native binary is named so. A name proves nothing; it only says where a closer look is worth it.
 */
export const CLAUDE_COMM = 'claude';

/** Whether a process may be a `claude` at all. */
export const looksLikeClaude = (stat: Stat): boolean => stat.comm === CLAUDE_COMM;

/** Environment variables that tell where a `claude` keeps its files and who started it. */
export type ClaudeEnvironment = {
  /** `sdk-ts` for one that the Agent SDK started; a person's own has another value, or sets it after its start. */
  readonly entrypoint: string | null;
  readonly sdkVersion: string | null;
  /** Where its session file and transcript are: $CLAUDE_CONFIG_DIR, else $HOME/.claude. */
  readonly configDir: string | null;
  /** The Clay home that started it, from $CLAY_HOME or the folder of $CLAY_CONFIG; null in worker mode. */
  readonly clayHome: string | null;
  /** The time zone in which it reads cron expressions ($TZ); null: the machine's. */
  readonly timeZone: string | null;
};

/** Picks what matters out of a process's environment. */
export function claudeEnvironment(environ: ReadonlyMap<string, string>): ClaudeEnvironment {
  const home = absolute(environ.get('HOME'));
  const clayConfig = absolute(environ.get('CLAY_CONFIG'));
  const environment = {
    entrypoint: shown(environ.get('CLAUDE_CODE_ENTRYPOINT')),
    sdkVersion: shown(environ.get('CLAUDE_AGENT_SDK_VERSION')),
    configDir: absolute(environ.get('CLAUDE_CONFIG_DIR')) ?? (home === null ? null : `${home}/.claude`),
    timeZone: shown(environ.get('TZ'))?.replace(/^:/, '') || null,
    clayHome: absolute(environ.get('CLAY_HOME')) ?? (clayConfig === null ? null : clayConfig.replace(/\/[^/]*$/, '')),
  };
  // A copy: these are kept for as long as the process lives, and a part of a string keeps the whole of it in memory.
  return structuredClone(environment);
}

/** limits.h, PATH_MAX: a longer one leads nowhere. */
const MAX_PATH = 4096;

const absolute = (path: string | undefined): string | null =>
  path?.startsWith('/') && path.length < MAX_PATH ? path : null;

/** What is shown of a variable; whoever starts a process can make it as long as he likes. */
const shown = (value: string | undefined): string | null => value?.slice(0, 100) ?? null;

/** Whether the Agent SDK started it: `sdk-ts` in all releases, and what other SDKs would set. */
export const startedBySdk = (environment: ClaudeEnvironment): boolean =>
  environment.entrypoint?.startsWith('sdk') ?? false;

const SNAPSHOT_SHELL = /\/shell-snapshots\/snapshot-/;
const SHELL_WITHOUT_SNAPSHOT = /pwd -P >\| \S*claude-\S*-cwd/;

/** Whether a command line is that of a shell in which Claude runs a tool (measured on 0.2.92 and 0.3.330). */
export function isToolShell(cmdline: readonly string[]): boolean {
  return cmdline.some((word) => SNAPSHOT_SHELL.test(word) || SHELL_WITHOUT_SNAPSHOT.test(word));
}
