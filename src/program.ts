import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { withExamples } from './commands/examples.ts';
import { withCommonOptions } from './commands/options.ts';
import type { Machine } from './install/machine.ts';

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
  const command = (name: string, description: string): Command => program.command(name).description(description);

  withCommonOptions(
    command('run', 'sweep again and again (the service, in the foreground)').option(
      '--dry-run',
      'only log what would be reaped',
    ),
  ).action(async (options) => finish(await (await import('./commands/run.ts')).run(options, version)));
  withCommonOptions(
    command('cleanup', 'sweep once')
      .option('--dry-run', 'only show what would be reaped')
      .option('--yes', 'do not ask')
      .option('--now', 'do not wait for any grace period; every protection still holds')
      .option('--json', 'print what was done as JSON'),
  ).action(async (options) => finish(await (await import('./commands/cleanup.ts')).cleanup(options)));
  withCommonOptions(
    command('status', 'show every candidate, its verdict and why')
      .option('--json', 'print it as JSON')
      .option('--watch', 'redraw it every 2 s, until q or Ctrl-C'),
  ).action(async (options) => finish(await (await import('./commands/status.ts')).status(options)));
  withCommonOptions(
    command('explain', 'show all the evidence on one process, and the rule that decided')
      .argument('<pid>', 'the process')
      .option('--json', 'print it as JSON'),
  ).action(async (pid, options) => finish(await (await import('./commands/explain.ts')).explain(pid, options)));
  command('history', 'show what was reaped, when, and how much memory came back')
    .option('--since <time>', 'how far to go back (7d)')
    .option('--json', 'print it as JSON')
    .action(async (options) => finish((await import('./commands/history.ts')).history(options)));
  command('install', 'put the systemd unit in place, and a configuration if there is none')
    .option('--user', "a service of this user's own, without root")
    .option('--now', 'enable and start it, too')
    .option('--dry-run', 'only show what would be written and done')
    .option('--force', 'replace an edited unit or configuration')
    .action(async (options) => {
      const machine = await installedHere(options.user === true);
      finish(await (await import('./commands/install.ts')).install(options, machine));
    });
  command('uninstall', 'stop the service and take away what install put there')
    .option('--user', "this user's own service")
    .option('--dry-run', 'only show what would be taken away')
    .option('--purge', 'an edited configuration and the history, too')
    .action(async (options) => {
      const machine = await installedHere(options.user === true);
      finish(await (await import('./commands/uninstall.ts')).uninstall(options, machine));
    });
  withCommonOptions(
    command('config', 'show the configuration in force, each value with where it is from')
      .option('--check <file>', 'show what this file alone would put in force, or what is wrong in it')
      .option('--json', 'print it as JSON'),
  ).action(async (options) => finish((await import('./commands/config.ts')).config(options)));

  for (const each of program.commands) withExamples(each);
  return program;
}

/** This machine as `install` has to know it: with this Node, this program, and the unit files beside it. */
async function installedHere(user: boolean): Promise<Machine> {
  const { thisMachine } = await import('./install/machine.ts');
  const script = realpathSync(process.argv[1] ?? '');
  return thisMachine(script, join(dirname(script), '../systemd'), user);
}
