import { createHash } from 'node:crypto';

/** What a unit starts: absolute paths. `perl` is null where there is none: the notify socket is then served the other way. */
export type StartCommand = {
  readonly perl: string | null;
  readonly notifyFd: string;
  readonly node: string;
  readonly program: string;
};

/** What a file is to `install`: not there, as it was written, changed since, or written by someone else (a link, too). */
export type Origin = 'missing' | 'ours' | 'edited' | 'foreign';

const EXEC_START = /^ExecStart=.*$/m;
const NODE_OPTION = / (--\S+)/g;
const MARK = /^# Written by "clay-reaper install"; SHA-256 of what follows: ([0-9a-f]{64})\n/;

/** A unit made from its template: the V8 options of the template's start command, and the paths of this machine. */
export function renderUnit(template: string, command: StartCommand): string {
  const options = [...(EXEC_START.exec(template)?.[0] ?? '').matchAll(NODE_OPTION)].map(([, option]) => option);
  const launcher = command.perl === null ? [] : [command.perl, command.notifyFd];
  const words = [...launcher, command.node, ...options, command.program, 'run'];
  const start = words.map((word, index) => quoteWord(word ?? '', index === 0)).join(' ');
  const unit = template.replace(EXEC_START, () => `ExecStart=${start}`);
  // See src/service/notify.ts: messages then come from a child process.
  return command.perl === null ? unit.replace(/^NotifyAccess=main$/m, 'NotifyAccess=all') : unit;
}

/**
 * A word of a command line in a unit: systemd.service(5), "Command lines"; specifiers (`%`) are of systemd.unit(5).
 * In the program's own path `$` is nothing special, in all other words it is.
 */
export function quoteWord(word: string, isProgram: boolean): string {
  const escaped = word.replace(/[\\"]/g, '\\$&').replaceAll('%', '%%');
  const literal = isProgram ? escaped : escaped.replaceAll('$', '$$$$');
  return /^[\w@%+=:,./-]+$/.test(literal) ? literal : `"${literal}"`;
}

/** The text with a first line that tells later whether it was edited. */
export function withMark(text: string): string {
  return `# Written by "clay-reaper install"; SHA-256 of what follows: ${sha256(text)}\n${text}`;
}

/** Whose text it is; null: there is no file. */
export function originOf(text: string | null): Origin {
  if (text === null) return 'missing';
  const mark = MARK.exec(text);
  if (mark === null) return 'foreign';
  return sha256(text.slice(mark[0].length)) === mark[1] ? 'ours' : 'edited';
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
