import { createHash } from 'node:crypto';

/** The parts of the start command, absolute paths. */
export type StartCommand = { readonly node: string; readonly program: string };

/** The origin of an installed file: missing, unchanged since `install`, edited since, or not from `install` (as any link). */
export type Provenance = 'missing' | 'ours' | 'edited' | 'foreign';

const EXEC_START = /^ExecStart=.*$/m;
const EXEC_RELOAD_CHECK = /^ExecReload=.* config --check$/m;
const NODE_OPTION = / (--\S+)/g;
const CHECKSUM_HEADER = /^# Written by "clay-reaper install"; SHA-256 of what follows: ([0-9a-f]{64})\n/;

/** The first release that knows all that the templates use; older ones log a warning with each daemon-reload. */
const CURRENT_SYSTEMD = 254;

const RESTART_DELAY = /^(?:# .*systemd 254.*\n)?Restart(?:Steps|MaxDelaySec)=.*\n/gm;
const OWN_NOTIFICATIONS = /^(?:# .*\n)*NotifyAccess=main\nOpenFile=.*\n/m;
const NOTIFICATIONS_BY_CHILD = `# The service notifies through systemd-notify, which is a child process.
NotifyAccess=all
`;

/** A template for a systemd before {@link CURRENT_SYSTEMD}. */
const forOlderSystemd = (template: string): string =>
  template.replace(RESTART_DELAY, '').replace(OWN_NOTIFICATIONS, NOTIFICATIONS_BY_CHILD);

/**
 * Renders a unit template for this machine: replaces the paths of ExecStart=, whose V8 options it keeps, and of the check in
 * ExecReload=, and does without what `systemdVersion` does not know; null: an unknown version.
 */
export function renderUnit(template: string, command: StartCommand, systemdVersion: number | null): string {
  const options = [...(EXEC_START.exec(template)?.[0] ?? '').matchAll(NODE_OPTION)].map(([, option]) => option);
  const words = [command.node, ...options, command.program, 'run'];
  const start = words.map((word) => quoteWord(word ?? '')).join(' ');
  const check = [command.node, command.program].map(quoteWord).join(' ');
  const known = systemdVersion !== null && systemdVersion >= CURRENT_SYSTEMD ? template : forOlderSystemd(template);
  return known
    .replace(EXEC_START, () => `ExecStart=/usr/bin/env ${start}`)
    .replace(EXEC_RELOAD_CHECK, () => `ExecReload=/usr/bin/env ${check} config --check`);
}

/**
 * Quotes one word of ExecStart=: systemd.service(5), "Command lines"; `%` starts a specifier, systemd.unit(5).
 * systemd expands `$` in every word but the first, which is always /usr/bin/env.
 */
export function quoteWord(word: string): string {
  const escaped = word.replace(/[\\"]/g, '\\$&').replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /^[\w@%+=:,./-]+$/.test(escaped) ? escaped : `"${escaped}"`;
}

/** Adds a first line with a checksum, from which {@link provenanceOf} finds out later whether the text was edited. */
export function withChecksum(text: string): string {
  return `# Written by "clay-reaper install"; SHA-256 of what follows: ${sha256(text)}\n${text}`;
}

/** The provenance of a file with this text; null: there is no file. */
export function provenanceOf(text: string | null): Provenance {
  if (text === null) return 'missing';
  const header = CHECKSUM_HEADER.exec(text);
  if (header === null) return 'foreign';
  return sha256(text.slice(header[0].length)) === header[1] ? 'ours' : 'edited';
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
