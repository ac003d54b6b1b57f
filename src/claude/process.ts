/**
 * The usual name of the process: a Node program sets its title to it, the native binary is named so. A binary that is started by
 * another path has the base name of that (`2.1.141`), and some releases set their title to something else. So the name decides
 * nothing; where it is not this one, the process's own session file has to say that it is a `claude`.
 */
export const CLAUDE_COMM = 'claude';

/** Environment variables that say where a `claude` keeps its files and who started it. */
export type ClaudeEnvironment = {
  /** `sdk-ts` for one that the Agent SDK started; a person's own has another value, or sets it after its start. */
  readonly entrypoint: string | null;
  readonly sdkVersion: string | null;
  /** Where its session file and transcript are: $CLAUDE_CONFIG_DIR, else $HOME/.claude. */
  readonly configDir: string | null;
  /** The Clay home that started it, from $CLAY_HOME or the folder of $CLAY_CONFIG; null in worker mode. */
  readonly clayHome: string | null;
  /** Whether a tool of another `claude` started it, or it inherits that from its parents: CLAUDECODE is set. */
  readonly insideTool: boolean;
  /** The time zone in which it reads cron expressions ($TZ); null: the machine's. */
  readonly timeZone: string | null;
};

/** Picks what matters out of a process's environment. */
export function parseClaudeEnvironment(environ: ReadonlyMap<string, string>): ClaudeEnvironment {
  const home = absolutePathOrNull(environ.get('HOME'));
  const clayConfig = absolutePathOrNull(environ.get('CLAY_CONFIG'));
  const environment = {
    entrypoint: truncate(environ.get('CLAUDE_CODE_ENTRYPOINT')),
    sdkVersion: truncate(environ.get('CLAUDE_AGENT_SDK_VERSION')),
    configDir: absolutePathOrNull(environ.get('CLAUDE_CONFIG_DIR')) ?? (home === null ? null : `${home}/.claude`),
    insideTool: (environ.get('CLAUDECODE') ?? '') !== '',
    timeZone: truncate(environ.get('TZ'))?.replace(/^:/, '') || null,
    clayHome:
      absolutePathOrNull(environ.get('CLAY_HOME')) ?? (clayConfig === null ? null : clayConfig.replace(/\/[^/]*$/, '')),
  };
  // A copy: these are kept for as long as the process lives, and a part of a string keeps the whole of it in memory.
  return structuredClone(environment);
}

/** limits.h, PATH_MAX: a longer one leads nowhere. */
const MAX_PATH = 4096;

const absolutePathOrNull = (path: string | undefined): string | null =>
  path?.startsWith('/') && path.length < MAX_PATH ? path : null;

/** What is shown of a variable; a user can make it of any length. */
const truncate = (value: string | undefined): string | null => value?.slice(0, 100) ?? null;

/** Whether the Agent SDK started it: `sdk-ts` in all releases, and what other SDKs would set. */
export const startedBySdk = (environment: ClaudeEnvironment): boolean =>
  environment.entrypoint?.startsWith('sdk') ?? false;

const SNAPSHOT = '/shell-snapshots/snapshot-';
const SAVE_DIRECTORY = 'pwd -P >| ';

/**
 * Whether a command line is that of a shell in which Claude runs a tool (measured on 0.2.92 and 0.3.330). It sources a
 * snapshot of the user's shell, or ends with `pwd -P >| /tmp/claude-ab12-cwd`.
 * Anybody can give a process a command line of 1 MB, so this takes time in proportion to its length and no more.
 */
export function isToolShell(cmdline: readonly string[]): boolean {
  return cmdline.some((word) => word.includes(SNAPSHOT) || savesDirectory(word));
}

function savesDirectory(word: string): boolean {
  for (let at = word.indexOf(SAVE_DIRECTORY); at !== -1; at = word.indexOf(SAVE_DIRECTORY, at + 1)) {
    const path = firstWord(word, at + SAVE_DIRECTORY.length);
    const prefix = path.indexOf('claude-');
    if (prefix !== -1 && path.indexOf('-cwd', prefix + 'claude-'.length) !== -1) return true;
  }
  return false;
}

/** The text from `start` to the next white space. */
function firstWord(text: string, start: number): string {
  let end = start;
  while (end < text.length && !' \t\n\r'.includes(text.charAt(end))) end++;
  return text.slice(start, end);
}
