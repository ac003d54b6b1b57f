import { Command, CommanderError } from 'commander';
import { withCommonOptions } from './commands/options.ts';
import { UsageError } from './config/load.ts';
import { EXIT } from './output/exit-status.ts';
import { tell } from './output/tell.ts';

declare const CLAY_REAPER_VERSION: string;

/**
 * The program, with all its commands; each gives its exit status to `finish`.
 * A command is loaded when it is called: the service needs no tables and no prompts.
 */
function createProgram(finish: (status: number) => void): Command {
  const program = new Command('clay-reaper')
    .description('Ends the idle claude processes that a Clay daemon leaves behind, and never one that is at work.')
    .version(CLAY_REAPER_VERSION)
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError();

  withCommonOptions(program.command('run').description('sweep again and again (the service, in the foreground)'))
    .option('--dry-run', 'only log what would be reaped')
    .action(async (options) => finish(await (await import('./commands/run.ts')).run(options, CLAY_REAPER_VERSION)));
  withCommonOptions(program.command('cleanup').description('sweep once'))
    .option('--dry-run', 'only show what would be reaped')
    .option('--yes', 'do not ask')
    .option('--now', 'do not wait for any grace period; every protection still holds')
    .option('--json', 'print what was done as JSON')
    .action(async (options) => finish(await (await import('./commands/cleanup.ts')).cleanup(options)));
  withCommonOptions(program.command('status').description('show every candidate, its verdict and why'))
    .option('--json', 'print it as JSON')
    .action(async (options) => finish(await (await import('./commands/status.ts')).status(options)));
  return program;
}

async function main(): Promise<void> {
  if (process.platform !== 'linux')
    throw new UsageError(`clay-reaper reads Linux's /proc and does not run on ${process.platform}`);
  const program = createProgram((exit) => {
    process.exitCode = exit;
  });
  if (process.argv.length <= 2)
    throw new UsageError(
      `no command given; there are ${program.commands.map((each) => each.name()).join(', ')} (see clay-reaper --help)`,
    );
  await program.parseAsync();
}

/** Says what is wrong, in one line, and sets the exit status that goes with it. */
function explainFailure(error: unknown): void {
  const [exit, line] = failureOf(error);
  process.exitCode = exit;
  if (line !== null) tell(line);
}

function failureOf(error: unknown): [exit: number, line: string | null] {
  if (error instanceof UsageError) return [EXIT.usage, error.message];
  if (error instanceof CommanderError && error.exitCode === 0) return [EXIT.done, null];
  if (error instanceof CommanderError) {
    return [EXIT.usage, `${error.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ')} (see clay-reaper --help)`];
  }
  // Ctrl-C at a question.
  if (error instanceof Error && error.name === 'ExitPromptError') return [EXIT.interrupted, 'nothing was ended'];
  return [EXIT.notGone, `this should not have happened: ${error instanceof Error ? error.stack : error}`];
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // Whoever read the output has seen enough (`| head`).
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

main().catch(explainFailure);
