import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Argument, Command } from 'commander';
import { withExamples } from './commands/examples.ts';
import { withCommonOptions } from './commands/options.ts';
import { SHELLS } from './commands/shells.ts';
import type { InstallContext } from './install/context.ts';
import { type Build, versionLine } from './report/build.ts';

/** What a new user types first. */
const FIRST_STEPS = `
Begin with:
  clay-reaper status      see what is there; it changes nothing
  clay-reaper cleanup     end what is idle; it lists the processes and asks
Clays of root or of other users need sudo. Every command has --help.`;

/**
 * The command line. Every command passes its exit status to `finish`. The module of a command is loaded when the command is
 * called: the service needs neither tables nor prompts.
 */
export function createProgram(build: Build, finish: (status: number) => void): Command {
  const program = createCommands(build, finish);
  program
    .command('completion')
    .description('print a script that completes commands and options in your shell')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .action(async (shell) => {
      const { printScript } = await import('./commands/completion.ts');
      printScript(createCommands(build, finish), shell);
    });
  for (const subcommand of program.commands) withExamples(subcommand);
  return program;
}

/** Answers the script of `completion`, which calls `clay-reaper complete -- WORD…`: no command that a person types. */
export async function complete(build: Build, words: readonly string[]): Promise<void> {
  const { printCompletions } = await import('./commands/completion.ts');
  printCompletions(
    createCommands(build, () => {}),
    words,
  );
}

/** All commands but `completion`, which is made of the others. */
function createCommands(build: Build, finish: (status: number) => void): Command {
  const program = new Command('clay-reaper')
    .description('Ends the idle claude processes that a Clay daemon leaves behind, never one that is working.')
    .addHelpText('after', FIRST_STEPS)
    .version(versionLine(build, process.versions.node), '-V, --version', 'print version, commit and Node')
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError();
  const command = (name: string, description: string): Command => program.command(name).description(description);

  program.commandsGroup('See and clean up:');
  withCommonOptions(
    command('status', 'show each claude process, and why it is kept or not')
      .option('--json', 'print JSON')
      .option('--watch', 'refresh every 2 s, until q or Ctrl-C'),
  ).action(async (options) => finish(await (await import('./commands/status.ts')).status(options)));
  withCommonOptions(
    command('cleanup', 'ask, then end the idle ones once')
      .option('--dry-run', 'only show what would be ended')
      .option('--yes', 'end them without asking')
      .option('--now', 'skip both waiting times; every protection still applies')
      .option('--json', 'print the result as JSON'),
  ).action(async (options) => finish(await (await import('./commands/cleanup.ts')).cleanup(options)));
  withCommonOptions(
    command('explain', 'show the verdict on one process and the rules that decided')
      .argument('<pid>', 'process id')
      .option('--verbose', 'also show all evidence, and the rules that do not hold')
      .option('--json', 'print JSON, with all evidence'),
  ).action(async (pid, options) => finish(await (await import('./commands/explain.ts')).explain(pid, options)));
  command('history', 'show which processes were ended, when, and how much memory that returned')
    .option('--since <time>', 'how far to look back: 12h, 7d, 2w, or since a date (7d)')
    .option('--trial', 'show what a trial (or any dry run of the service) would have ended')
    .option('--json', 'print JSON')
    .action(async (options) => finish((await import('./commands/history.ts')).history(options)));

  program.commandsGroup('Let a service do it:');
  command('install', 'install the systemd unit, and a configuration if there is none')
    .option('--user', 'install a service of your own, without root')
    .option('--now', 'also enable and start it')
    .option('--dry-run', 'only show what would be done')
    .option('--trial', 'only record what it would end: see history --trial')
    .option('--live', 'end the trial: end processes from now on')
    .option('--force', 'replace an edited unit or configuration')
    .action(async (options) => {
      const context = await installContext(options.user === true);
      finish(await (await import('./commands/install.ts')).install(options, context));
    });
  command('uninstall', 'stop the service and remove what install wrote')
    .option('--user', 'remove your own service')
    .option('--dry-run', 'only show what would be removed')
    .option('--purge', 'also remove an edited configuration and the history')
    .action(async (options) => {
      const context = await installContext(options.user === true);
      finish(await (await import('./commands/uninstall.ts')).uninstall(options, context));
    });
  withCommonOptions(
    command('run', 'sweep at intervals in the foreground, as the service does, until Ctrl-C').option(
      '--dry-run',
      'end nothing, and log what would be ended',
    ),
  ).action(async (options) => finish(await (await import('./commands/run.ts')).run(options, build.version)));

  program.commandsGroup('Check:');
  withCommonOptions(
    command('config', 'show the configuration in force and the source of each value')
      .option(
        '--check [file]',
        'check a file and show what it would set; without a file, check the configuration in force',
      )
      .option('--json', 'print JSON'),
  ).action(async (options) => finish(await (await import('./commands/config.ts')).config(options)));
  withCommonOptions(
    command('doctor', 'show what works on this machine, what does not, and why').option(
      '--json',
      'print JSON for a bug report: it names no project, conversation, home or login name',
    ),
  ).action(async (options) => finish(await (await import('./commands/doctor.ts')).doctor(options, build)));

  program.helpCommand(true);
  return program;
}

/** The context of `install`: this Node, this program, and the unit templates beside it. */
async function installContext(user: boolean): Promise<InstallContext> {
  const { currentContext } = await import('./install/context.ts');
  const script = realpathSync(process.argv[1] ?? '');
  return currentContext(script, join(dirname(script), '../systemd'), user);
}
