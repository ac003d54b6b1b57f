import type { Command, Help, Option } from 'commander';
import { EXAMPLES } from '../src/commands/examples.ts';
import { COMMON_OPTIONS } from '../src/commands/options.ts';
import { ORPHAN_KINDS } from '../src/judge/orphan-kinds.ts';
import { PROTECTION_RULES } from '../src/judge/rules.ts';
import { EXIT_MEANINGS } from '../src/report/exit-status.ts';
import { allowedSentence, formatSettings } from './doc-tables.ts';

/** clay-reaper(8), in man(7), from the same program that answers to --help and the same table of settings. */
export function manPage(program: Command, version: string): string {
  const help = program.createHelp();
  return [
    `.TH CLAY\\-REAPER 8 "" "clay\\-reaper ${text(version)}" "System Administration"`,
    // Names are to be copied: they are neither torn nor stretched.
    '.nh',
    '.ad l',
    '.SH NAME',
    `clay\\-reaper \\- ${text(firstLower(program.description()).replace(/\.$/, ''))}`,
    '.SH SYNOPSIS',
    ...program.commands.flatMap((command) => [
      '.br',
      `.B clay\\-reaper ${text(command.name())}`,
      usageOf(command, help),
    ]),
    '.SH DESCRIPTION',
    ...DESCRIPTION.flatMap((paragraph) => ['.PP', text(paragraph)]),
    '.SH REASONS',
    text('Any of these protects a process. Its idle time starts again when the last of them ends.'),
    ...PROTECTION_RULES.flatMap(({ code, when }) => item(code, sentence(when))),
    '.SH ORPHANS',
    text('The kinds of idle process, and the setting that says for how long each must be idle before it is ended.'),
    ...ORPHAN_KINDS.flatMap(({ kind, when, waitSetting }) => item(kind, `${sentence(when)} Wait: ${waitSetting}.`)),
    '.SH COMMANDS',
    ...program.commands.flatMap((command) => commandSection(command, help)),
    '.SH COMMON OPTIONS',
    ...commonOptionsOf(program, help).flatMap((option) => optionItem(option, help)),
    '.SH EXIT STATUS',
    ...Object.entries(EXIT_MEANINGS).flatMap(([status, meaning]) => item(status, meaning)),
    '.SH CONFIGURATION',
    text(
      'Defaults, the configuration file (TOML), environment variables and options: a later source overrides an earlier one. Unknown keys and invalid values are errors that name the key.',
    ),
    ...formatSettings().flatMap((setting) => {
      const value = setting.default === null ? ' (not set)' : ` = ${setting.default}`;
      return [
        '.TP',
        `.BR ${quoted(setting.key)} ${quoted(value)}`,
        text(`${setting.meaning} ${allowedSentence(setting)} Environment: ${setting.variable}.`),
      ];
    }),
    '.SH FILES',
    ...FILES.flatMap(([path, what]) => item(path, what)),
    '.SH SIGNALS',
    ...SIGNALS.flatMap(([signal, what]) => item(signal, what)),
    '.SH EXAMPLES',
    ...program.commands.flatMap((command) =>
      (EXAMPLES[command.name()] ?? []).flatMap(({ line, what }) =>
        item(line, `${what.charAt(0).toUpperCase()}${what.slice(1)}.`),
      ),
    ),
    '.SH SEE ALSO',
    '.BR systemctl (1),\n.BR journalctl (1),\n.BR proc (5)',
    '',
  ].join('\n');
}

const DESCRIPTION = [
  'Clay runs a claude process for every conversation and leaves many of them behind. clay-reaper finds the claude processes of the Clay daemons that it may look after, proves that each is idle, and ends it: SIGTERM, then SIGKILL. It never ends a process that is at work. Anything unknown or unreadable protects a process.',
  'As root it looks after the Clays of all users, otherwise only after those of its own user.',
];

const FILES = [
  ['/etc/clay-reaper/config.toml', 'The configuration, when run as root.'],
  [
    '$XDG_CONFIG_HOME/clay-reaper/config.toml',
    'The configuration of any other user; ~/.config where the variable is not set.',
  ],
  ['/var/lib/clay-reaper/history.jsonl', 'The history: processes that the service and root have ended.'],
  [
    '$XDG_STATE_HOME/clay-reaper/history.jsonl',
    'The history of any other user; ~/.local/state where the variable is not set.',
  ],
] as const;

const SIGNALS = [
  ['SIGTERM, SIGINT', 'End run. A process that has received SIGTERM from it ends by itself; no SIGKILL follows.'],
  ['SIGHUP', 'Makes run read its configuration again. An invalid one is refused, and the old one stays in force.'],
] as const;

function commandSection(command: Command, help: Help): string[] {
  const own = command.options.filter((option) => option.helpGroupHeading !== COMMON_OPTIONS);
  return [
    `.SS ${quoted(`${command.name()} ${plainUsage(command)}`.trim())}`,
    text(sentence(command.description())),
    ...own.flatMap((option) => optionItem(option, help)),
  ];
}

const plainUsage = (command: Command): string =>
  command.registeredArguments.map((argument) => argument.name().toUpperCase()).join(' ');

function usageOf(command: Command, help: Help): string {
  const own = command.options
    .filter((option) => option.helpGroupHeading !== COMMON_OPTIONS)
    .map((option) => `[${help.optionTerm(option)}]`);
  return text([plainUsage(command), ...own].filter((word) => word !== '').join(' '));
}

/** The options under the common heading, each once. */
function commonOptionsOf(program: Command, help: Help): Option[] {
  const options = new Map<string, Option>();
  for (const option of program.commands.flatMap((command) => command.options)) {
    if (option.helpGroupHeading === COMMON_OPTIONS) options.set(help.optionTerm(option), option);
  }
  return [...options.values()];
}

const optionItem = (option: Option, help: Help): string[] =>
  item(help.optionTerm(option), sentence(option.description));

const item = (term: string, what: string): string[] => ['.TP', `.B ${quoted(term)}`, text(what)];

const firstLower = (words: string): string => `${words.charAt(0).toLowerCase()}${words.slice(1)}`;

const sentence = (words: string): string => `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;

/** Text as roff takes it literally: groff_char(7), and no line that looks like a request. */
const text = (words: string): string =>
  words
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('~', '\\(ti')
    .replaceAll("'", '\\(aq')
    .replace(/^\./, '\\&.');

/** One argument of a macro. */
const quoted = (words: string): string => `"${text(words).replaceAll('"', '""')}"`;
