import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'vitest';
import { withEnvironment } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const demo = `${process.execPath} --import tsx test/demo/demo.ts`;

type Show = {
  readonly output: () => string;
  readonly type: (keys: string) => void;
  readonly ended: Promise<number | null>;
  /** Files and processes of it that are still there. */
  readonly leftovers: () => readonly unknown[];
};

/** Plays the demo with its output in a pipe, or on a terminal, in a temporary folder of its own. */
function play(temporary: string, onTerminal: boolean): Show {
  const command = onTerminal
    ? ['script', '--quiet', '--flush', '--return', '--command', `stty cols 80 rows 24; ${demo}`, '/dev/null']
    : demo.split(' ');
  const child = spawn(command[0] ?? '', command.slice(1), {
    cwd: root,
    env: {
      ...{ PATH: process.env.PATH, HOME: process.env.HOME, TERM: 'xterm', TMPDIR: temporary },
      // tsx keeps its cache in the temporary folder, and the test looks for what the demo leaves there.
      TSX_DISABLE_CACHE: '1',
    },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  return {
    output: () => output,
    type: (keys) => void child.stdin.write(keys),
    ended: new Promise((resolve) => child.once('close', resolve)),
    leftovers: () => [...readdirSync(temporary), ...withEnvironment(temporary)],
  };
}

const it = test.extend<{ temporary: string }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures that are needed from the pattern.
  temporary: async ({}, use) => {
    const folder = mkdtempSync(join(tmpdir(), 'demo-'));
    await use(folder);
    // Fails if something is left in it.
    rmdirSync(folder);
  },
});

// One after the other: the show has waits of some seconds, in which three at once on a small machine see too little.
describe('demo', () => {
  it('reaps the four orphans, spares the four at work, and explains why', {
    timeout: 150_000,
  }, async ({ temporary, expect }) => {
    const { ended, output, leftovers } = play(temporary, false);
    expect(await ended, output()).toBe(0);
    const [start, end] = output().split(/^Reaped/m);
    expect(end).toMatch(/^, and \d\d MB came back$/m);
    // The table changes before one's eyes.
    expect(start).toMatch(/8 claude processes, .*: 4 protected, 4 in grace/);
    expect(start).toMatch(/4 claude processes, .*: 4 protected, 0 in grace, 0 to reap$/m);
    for (const orphan of ['superseded', 'deleted', 'abandoned', 'parked']) {
      expect(start).toMatch(new RegExp(`grace +${orphan}, in \\d+s`));
      expect(end).toMatch(new RegExp(`^ +\\d+ ${orphan} +idle for \\d+ s, ended with SIGTERM$`, 'm'));
    }
    expect(end).toMatch(/^ +\d+ streaming an answer +connection: /m);
    expect(end).toMatch(/^ +\d+ running a tool +tool: /m);
    expect(end).toMatch(/^ +\d+ a tool in the background +tool: /m);
    expect(end).toMatch(/^ +\d+ waiting for a permission +turn: [^:]*permission_request/m);
    expect(end).toContain('All four that were left over are gone, and all four at work live.');
    expect(leftovers()).toEqual([]);
  });

  it('fails if a process at work dies', { timeout: 150_000 }, async ({ temporary, expect }) => {
    const { ended, output, leftovers } = play(temporary, false);
    const pid = await waitFor(
      'the table is there',
      () => /^(\d+) .* protected runs a tool$/m.exec(output())?.[1],
      60_000,
    );
    process.kill(Number(pid), 'SIGKILL');
    expect(await ended, output()).toBe(1);
    expect(output()).toContain(`demo failed: claude ${pid} (a tool in the background) was at work and is dead`);
    expect(leftovers()).toEqual([]);
  });

  it('redraws one table on a terminal until the user quits, and restores the terminal', {
    timeout: 90_000,
  }, async ({ temporary, expect }) => {
    const { type, ended, output, leftovers } = play(temporary, true);
    await waitFor('the table is there', () => /4 in grace/.test(output()) && output().includes('q to quit'), 60_000);
    type('q');
    expect(await ended).toBe(130);
    expect(output().lastIndexOf('\u001b[?1049l')).toBeGreaterThan(output().lastIndexOf('\u001b[?1049h'));
    expect(leftovers()).toEqual([]);
  });
});
