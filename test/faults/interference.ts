import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What happens at a system call of the program: something is run before or after it, or it fails. */
export type Rule = {
  /** A regular expression on `<call> <path>`: `^openSync /proc/123/stat$`, `^kill 123 SIGTERM$`. */
  readonly call: string;
  /** Counts only when this file is there. */
  readonly onceThereIs?: string;
  /** The first and the last time at which it happens, from 1 on; every time, if they are left out. */
  readonly from?: number;
  readonly to?: number;
  readonly when?: 'before' | 'after';
  /** A shell command, run to its end. */
  readonly run?: string;
  /** The call fails so. */
  readonly error?: string;
  /** A signal is not sent, and the program believes that it was. */
  readonly swallow?: boolean;
};

/** A signal that the program sent, and the start time of the process that had the pid in that moment. */
export type SentSignal = { readonly pid: number; readonly startTicks: number; readonly signal: string };

const preload = new URL('interfere.js', import.meta.url).href;
export const program = fileURLToPath(new URL('../../dist/clay-reaper.js', import.meta.url));

/** Interferes with one run of the built program; `remove` it in the end. */
export function injectFault(rules: readonly Rule[]): {
  readonly env: Record<string, string>;
  /** Sets its clocks off the real ones by so much, from now on. */
  readonly setClock: (shift: { readonly wallMs: number; readonly uptimeMs: number }) => void;
  /** All calls so far, as the rules see them. */
  readonly calls: () => string[];
  readonly signals: () => SentSignal[];
  readonly remove: () => void;
} {
  const folder = mkdtempSync(join(tmpdir(), 'interference-'));
  const [trace, signals, clock] = [join(folder, 'calls'), join(folder, 'signals'), join(folder, 'clock')];
  const setClock = (shift: { readonly wallMs: number; readonly uptimeMs: number }): void => {
    // At once: the program reads it at any time.
    writeFileSync(`${clock}.new`, JSON.stringify(shift));
    renameSync(`${clock}.new`, clock);
  };
  setClock({ wallMs: 0, uptimeMs: 0 });
  const lines = (path: string): string[] =>
    existsSync(path)
      ? readFileSync(path, 'utf8')
          .split('\n')
          .filter((line) => line !== '')
      : [];
  return {
    env: { NODE_OPTIONS: `--import=${preload}`, INTERFERE: JSON.stringify({ rules, trace, signals, clock }) },
    setClock,
    calls: () => lines(trace),
    signals: () =>
      lines(signals).map((line) => {
        const [pid, startTicks, signal = ''] = line.split(' ');
        return { pid: Number(pid), startTicks: Number(startTicks), signal };
      }),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
