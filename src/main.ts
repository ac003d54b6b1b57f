import { CommanderError } from 'commander';
import { complete, createProgram } from './cli.ts';
import { UsageError } from './config/load.ts';
import type { Build } from './report/build.ts';
import { EXIT } from './report/exit-status.ts';
import { printError } from './report/stderr.ts';
import { UnavailableError } from './result.ts';

/** By scripts/build.ts. */
declare const CLAY_REAPER_BUILD: Build;

async function main(): Promise<void> {
  if (process.platform !== 'linux')
    throw new UsageError(`clay-reaper reads Linux's /proc and does not run on ${process.platform}`);
  if (process.argv[2] === 'complete' && process.argv[3] === '--')
    return complete(CLAY_REAPER_BUILD, process.argv.slice(4));
  const program = createProgram(CLAY_REAPER_BUILD, (exit) => {
    process.exitCode = exit;
  });
  if (process.argv.length <= 2)
    throw new UsageError(
      `no command given: begin with "clay-reaper status", then "clay-reaper cleanup"; there are also ${program.commands
        .map((command) => command.name())
        .filter((name) => name !== 'status' && name !== 'cleanup')
        .join(', ')} (see clay-reaper --help)`,
    );
  await program.parseAsync();
}

/** Prints an error as one line on stderr and sets the exit status. */
function explainFailure(error: unknown): void {
  const [exit, line] = exitFor(error);
  process.exitCode = exit;
  if (line !== null) printError(line);
}

function exitFor(error: unknown): [exit: number, line: string | null] {
  if (error instanceof UsageError) return [EXIT.usage, error.message];
  if (error instanceof UnavailableError) return [EXIT.failed, error.message];
  if (error instanceof CommanderError && error.exitCode === 0) return [EXIT.ok, null];
  if (error instanceof CommanderError) {
    const message = error.message
      .replace(/^error: /, '')
      .replace(/\s*\n\(Did you mean (.*)\)$/, ': did you mean $1')
      .replace(/\s*\n\s*/g, ' ')
      .replace(/\.$/, '');
    return [EXIT.usage, `${message} (see clay-reaper --help)`];
  }
  // @inquirer throws this on Ctrl-C at a question.
  if (error instanceof Error && error.name === 'ExitPromptError')
    return [EXIT.interrupted, 'aborted, no process was ended'];
  return [EXIT.failed, `internal error: ${error instanceof Error ? error.stack : error}`];
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader closed the pipe (`| head`).
  if (error.code === 'EPIPE') process.exit();
  printError(`cannot write to stdout: ${error.message}`);
  process.exit(EXIT.failed);
});
// stderr is gone; there is nowhere left to report it.
process.stderr.on('error', () => {});

main().catch(explainFailure);
