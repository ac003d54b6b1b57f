import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { stateDirectory } from './cli.ts';
import { onOlderMachine } from './older-machine.ts';
import { waitFor } from './wait-for.ts';

const program = fileURLToPath(new URL('../../dist/clay-reaper.js', import.meta.url));

/** clay-reaper on a terminal of its own, as a person sees it. */
export type Terminal = {
  /** All that was written to the terminal so far, control sequences included. */
  readonly output: () => string;
  /** Resolves when the terminal has shown it. */
  readonly shows: (what: string | RegExp) => Promise<void>;
  readonly type: (keys: string) => void;
  /** Resolves with the exit status of clay-reaper. */
  readonly ended: Promise<number>;
  /** Whether the terminal's modes are what they were before. */
  readonly isRestored: () => boolean;
};

/** Opens a terminal (script(1) makes one) of this size and runs clay-reaper on it. */
export function onTerminal(
  args: readonly string[],
  { columns = 80, rows = 24, term = 'xterm-256color' } = {},
): Terminal {
  const quoted = [process.execPath, program, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  // Ctrl-C is for clay-reaper, not for the shell that started it.
  const script = `trap : INT; stty cols ${columns} rows ${rows}; echo "before:$(stty -g)."; ${quoted}; echo "status:$?."; echo "after:$(stty -g)."`;
  const child = spawn('script', ['--quiet', '--flush', '--command', script, '/dev/null'], {
    env: onOlderMachine({
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      TERM: term,
      STATE_DIRECTORY: stateDirectory,
    }),
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const found = (name: string): string | undefined => new RegExp(`${name}:([^.]*)\\.`).exec(output)?.[1];
  return {
    output: () => output,
    shows: async (what) => {
      await waitFor(`the terminal shows ${what}`, () =>
        typeof what === 'string' ? output.includes(what) : what.test(output),
      );
    },
    type: (keys) => void child.stdin.write(keys),
    ended: new Promise((resolve) => child.once('close', () => resolve(Number(found('status'))))),
    isRestored: () => found('before') !== undefined && found('before') === found('after'),
  };
}
