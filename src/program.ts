import { Command } from 'commander';
import { withCommonOptions } from './commands/options.ts';

/**
 * The program, with all its commands; each gives its exit status to `finish`.
 * A command is loaded when it is called: the service needs no tables and no prompts.
 */
export function createProgram(version: string, finish: (status: number) => void): Command {
  const program = new Command('clay-reaper')
    .description('Ends the idle claude processes that a Clay daemon leaves behind, and never one that is at work.')
    .version(version)
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError();

  withCommonOptions(program.command('run').description('sweep again and again (the service, in the foreground)'))
    .option('--dry-run', 'only log what would be reaped')
    .action(async (options) => finish(await (await import('./commands/run.ts')).run(options, version)));
  withCommonOptions(program.command('cleanup').description('sweep once'))
    .option('--dry-run', 'only show what would be reaped')
    .option('--yes', 'do not ask')
    .option('--now', 'do not wait for any grace period; every protection still holds')
    .option('--json', 'print what was done as JSON')
    .action(async (options) => finish(await (await import('./commands/cleanup.ts')).cleanup(options)));
  withCommonOptions(program.command('status').description('show every candidate, its verdict and why'))
    .option('--json', 'print it as JSON')
    .option('--watch', 'redraw it every 2 s, until q or Ctrl-C')
    .action(async (options) => finish(await (await import('./commands/status.ts')).status(options)));
  return program;
}
