// In the build a file of its own, read only when a shell asks: see scripts/build.ts.
import { type Complete, ShellCompDirective } from '@bomb.sh/tab';
import tab from '@bomb.sh/tab/commander';
import type { Command } from 'commander';
import { LOG_LEVELS } from '../config/log-levels.ts';
import { SHELLS } from './shells.ts';

/** The name by which the shell calls this program. */
const NAME = 'clay-reaper';

/** Options whose value is a path, which the shell itself completes best. */
const PATH_OPTIONS: ReadonlySet<string | undefined> = new Set(['--config', '--check', '--clay-home']);

/** Prints the script for a shell that asks `clay-reaper complete` when somebody presses Tab. `program` has not been parsed. */
export function printScript(program: Command, shell: string): void {
  completionsOf(program).setup(NAME, NAME, shell);
}

/** Prints what fits behind the words of a command line, the last of which may be unfinished, in the form of that script. */
export function printCompletions(program: Command, words: readonly string[]): void {
  if (PATH_OPTIONS.has(words.at(-2))) process.stdout.write(`:${ShellCompDirective.ShellCompDirectiveDefault}\n`);
  else completionsOf(program).parse([...words]);
}

/** A handler that offers these values. */
const offer =
  (values: readonly string[]) =>
  (complete: Complete): void => {
    for (const value of values) complete(value, '');
  };

function completionsOf(program: Command) {
  const completions = tab(program, { completionCommandName: 'completion' });
  const completion = completions.commands.get('completion');
  const shell = completion?.arguments.get('shell');
  if (completion) completion.description = 'print a script that completes commands and options';
  if (shell) shell.handler = offer(SHELLS);
  for (const { options } of completions.commands.values()) {
    const level = options.get('log-level');
    if (level) level.handler = offer(LOG_LEVELS);
  }
  return completions;
}
