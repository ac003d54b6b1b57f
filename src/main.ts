import { CommanderError } from 'commander';
import { UsageError } from './config/load.ts';
import { BlindMoment } from './observe/host.ts';
import { EXIT } from './output/exit-status.ts';
import { tell } from './output/tell.ts';
import { createProgram } from './program.ts';

declare const CLAY_REAPER_VERSION: string;

async function main(): Promise<void> {
  if (process.platform !== 'linux')
    throw new UsageError(`clay-reaper reads Linux's /proc and does not run on ${process.platform}`);
  const program = createProgram(CLAY_REAPER_VERSION, (exit) => {
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
  if (error instanceof BlindMoment) return [EXIT.notGone, error.message];
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
  tell(`the output could not be written: ${error.message}`);
  process.exit(EXIT.notGone);
});
// Nobody can be told that nobody can be told.
process.stderr.on('error', () => {});

main().catch(explainFailure);
