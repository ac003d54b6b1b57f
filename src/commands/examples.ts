import type { Command } from 'commander';

/** A command line and its purpose. */
export type Example = { readonly line: string; readonly what: string };

/** Examples by command name, shown by --help and in the man page. */
export const EXAMPLES: Readonly<Record<string, readonly Example[]>> = {
  run: [{ line: 'clay-reaper run --dry-run', what: 'log what it would end' }],
  cleanup: [
    { line: 'clay-reaper cleanup --dry-run', what: 'show what would be ended and the memory that would return' },
    { line: 'clay-reaper cleanup --yes --json', what: 'end them from a script' },
  ],
  status: [
    { line: 'clay-reaper status', what: 'show every process and why it is kept or ended' },
    { line: 'clay-reaper status --watch', what: 'the same, refreshed every 2 s' },
  ],
  explain: [{ line: 'clay-reaper explain 4711', what: 'show why process 4711 is or is not ended' }],
  history: [{ line: 'clay-reaper history --since 30d', what: 'show the last 30 days' }],
  config: [
    { line: 'clay-reaper config', what: 'show every setting and its source' },
    { line: 'clay-reaper config --check new.toml', what: 'check a file before it is used' },
  ],
  doctor: [
    { line: 'clay-reaper doctor', what: 'check this machine' },
    { line: 'sudo clay-reaper doctor --json', what: 'the same for a bug report' },
  ],
  completion: [
    { line: 'clay-reaper completion bash', what: 'for ~/.bashrc: source <(clay-reaper completion bash)' },
    { line: 'clay-reaper completion zsh', what: 'for ~/.zshrc, in the same way' },
    { line: 'clay-reaper completion fish', what: 'for ~/.config/fish/completions/clay-reaper.fish' },
  ],
  install: [{ line: 'sudo clay-reaper install --now', what: 'install the service and start it' }],
  uninstall: [
    { line: 'sudo clay-reaper uninstall --purge', what: 'remove the service, its configuration and the history' },
  ],
};

/** Adds the examples of a command to its --help. */
export function withExamples(command: Command): Command {
  const examples = EXAMPLES[command.name()] ?? [];
  return command.addHelpText('after', () => {
    const help = command.createHelp();
    const width = Math.max(...examples.map(({ line }) => line.length));
    const lines = examples.map(({ line, what }) => help.formatItem(line, width, what, help));
    return ['', examples.length === 1 ? 'Example:' : 'Examples:', ...lines].join('\n');
  });
}
