import type { Command } from 'commander';

/** A command line that is worth knowing, and what it is good for. */
export type Example = { readonly line: string; readonly what: string };

/** Examples of every command, by its name; --help and the man page show the same. */
export const EXAMPLES: Readonly<Record<string, readonly Example[]>> = {
  run: [{ line: 'clay-reaper run --dry-run', what: 'watch for a day what it would end' }],
  cleanup: [
    { line: 'clay-reaper cleanup --dry-run', what: 'what would be ended, and what would come back' },
    { line: 'clay-reaper cleanup --yes --json', what: 'end it, from a script' },
  ],
  status: [
    { line: 'clay-reaper status', what: 'what is there, and why it is kept or ended' },
    { line: 'clay-reaper status --watch', what: 'the same, as it changes' },
  ],
  explain: [{ line: 'clay-reaper explain 4711', what: 'why process 4711 is not ended, or is' }],
  history: [{ line: 'clay-reaper history --since 30d', what: 'what the last month has given back' }],
  config: [
    { line: 'clay-reaper config', what: 'every setting, and where its value is from' },
    { line: 'clay-reaper config --check new.toml', what: 'try a file before it is put in place' },
  ],
  install: [{ line: 'sudo clay-reaper install --now', what: 'install the service, and start it' }],
  uninstall: [{ line: 'sudo clay-reaper uninstall --purge', what: 'remove the service, its settings and history' }],
};

/** Adds its examples to the help of a command. */
export function withExamples(command: Command): Command {
  const examples = EXAMPLES[command.name()] ?? [];
  return command.addHelpText('after', () => {
    const help = command.createHelp();
    const width = Math.max(...examples.map(({ line }) => line.length));
    const lines = examples.map(({ line, what }) => help.formatItem(line, width, what, help));
    return ['', examples.length === 1 ? 'Example:' : 'Examples:', ...lines].join('\n');
  });
}
