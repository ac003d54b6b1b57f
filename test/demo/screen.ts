import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { runCli } from '../helpers/cli.ts';
import { onOlderMachine } from '../helpers/older-machine.ts';

const program = fileURLToPath(new URL('../../dist/clay-reaper.js', import.meta.url));

/** Where a person watches the show. */
export type Screen = {
  /** Lets a moment go by, in which there is something to see. */
  readonly look: (signal: AbortSignal) => Promise<void>;
  /** Leaves the terminal as it was. */
  readonly close: () => Promise<void>;
};

/** On a terminal, `status --watch` until the person quits it; elsewhere one `status` after the other. */
export function openScreen(options: readonly string[], onQuit: () => void): Screen {
  return process.stdin.isTTY && process.stdout.isTTY ? watchedScreen(options, onQuit) : printedScreen(options);
}

function watchedScreen(options: readonly string[], onQuit: () => void): Screen {
  const watch = spawn(process.execPath, [program, 'status', '--watch', ...options], {
    stdio: 'inherit',
    env: onOlderMachine(process.env),
  });
  const closed = new Promise<void>((resolve) => watch.once('close', () => resolve()));
  void closed.then(onQuit);
  return {
    look: (signal) => sleep(100, undefined, { signal }),
    close: async () => {
      watch.kill('SIGTERM');
      await closed;
    },
  };
}

function printedScreen(options: readonly string[]): Screen {
  return {
    look: async (signal) => {
      signal.throwIfAborted();
      const { stdout, stderr } = await runCli(['status', ...options]);
      process.stdout.write(`${stdout}${stderr}\n`);
    },
    close: async () => {},
  };
}
