import { describe, expect, test } from 'vitest';
import { type Clay, IDLE, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { runCli } from '../helpers/cli.ts';
import { onTerminal } from '../helpers/terminal.ts';
import { waitFor } from '../helpers/wait-for.ts';

// xterm's other screen, and the cursor.
const OTHER_SCREEN = '\u001b[?1049h';
const OWN_SCREEN = '\u001b[?1049l';
const SHOW_CURSOR = '\u001b[?25h';
const CLEAR_BELOW = '\u001b[J';
const GREEN = '\u001b[32mprotected';
const RED = '\u001b[31mreap';

const it = test.extend<{ clay: Clay }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures that are needed from the pattern.
  clay: async ({}, use) => {
    const clay = await startClay({ projects: ['rest', 'busy'] });
    await use(clay);
    await clay.stop();
  },
});

describe.concurrent('on a terminal', () => {
  it.for(['q', '\u0003'])(
    'status --watch updates, quits on %j and restores the terminal',
    async (key, { clay, expect }) => {
      const claude = await clay.spawnClaude(IDLE_NATIVE);
      const terminal = onTerminal(['status', '--watch', '--clay-home', clay.home, '--min-age', '0s']);
      await terminal.shows(RED);
      await claude.command({ sessionFile: { status: 'waiting' } });
      await terminal.shows(/protected.*waits for you/);
      expect(terminal.output()).toContain(GREEN);
      terminal.type(key);
      expect(await terminal.ended).toBe(0);
      const output = terminal.output();
      expect(output.indexOf(OTHER_SCREEN)).toBeGreaterThan(-1);
      expect(output.indexOf(OWN_SCREEN)).toBeGreaterThan(output.lastIndexOf('q to quit'));
      expect(output.indexOf(SHOW_CURSOR)).toBeGreaterThan(output.lastIndexOf('q to quit'));
      expect(terminal.isRestored()).toBe(true);
      expect(claude.isAlive()).toBe(true);
    },
  );

  it('status --watch truncates to the screen height instead of scrolling', async ({ clay, expect }) => {
    for (let n = 0; n < 8; n++) await clay.spawnClaude(IDLE_NATIVE);
    const terminal = onTerminal(['status', '--watch', '--clay-home', clay.home], { rows: 8 });
    await terminal.shows(/… \d+ more/);
    terminal.type('q');
    await terminal.ended;
    const [, drawn = ''] = terminal.output().split('\u001b[H');
    expect(drawn.split(CLEAR_BELOW)[0]?.split('\r\n').length).toBeLessThanOrEqual(8);
  });

  it('status says how long it looks, what the verdicts mean, and what comes next', async ({ clay, expect }) => {
    await clay.spawnClaude(IDLE_NATIVE);
    const terminal = onTerminal(['status', '--clay-home', clay.home, '--min-age', '0s']);
    await terminal.shows('\r\u001b[Klooking for 3 s ');
    expect(await terminal.ended).toBe(0);
    // The line is gone before the table begins.
    const [notice = '', table = ''] = terminal.output().split('\r\u001b[KPID');
    expect(notice).toContain('how much CPU time they use');
    expect(table).toContain('parked');
    expect(terminal.output()).toContain('reap: its wait is over');
    expect(terminal.output()).toContain('"clay-reaper cleanup" asks, then ends those to reap');
  });

  it.for([['status', '--watch'], ['status'], ['run', '--dry-run', '--poll', '200ms']])(
    '%s is plain if TERM is dumb',
    async (command, { clay, expect }) => {
      await clay.spawnClaude(IDLE_NATIVE);
      const terminal = onTerminal([...command, '--clay-home', clay.home, '--min-age', '0s'], { term: 'dumb' });
      await terminal.shows(command[0] === 'run' ? 'would end claude' : /reap +parked/);
      if (command.length > 1) terminal.type('\u0003');
      expect(await terminal.ended).toBe(0);
      expect(terminal.output()).not.toContain('\u001b');
    },
  );

  it.for([
    ['y\r', false],
    ['\r', true],
    ['\u0004', true],
  ] as const)(
    'cleanup asks with a plain line if TERM is dumb, and takes %j',
    async ([keys, lives], { clay, expect }) => {
      const idle = await clay.spawnClaude(IDLE);
      const options = ['cleanup', '--clay-home', clay.home, '--min-age', '0s'];
      const terminal = onTerminal(options, { term: 'dumb' });
      await terminal.shows(/End this process \(\d+ MB\)\? \(y\/N\) $/);
      terminal.type(keys);
      expect(await terminal.ended).toBe(0);
      expect(idle.isAlive()).toBe(lives);
      expect(terminal.output()).not.toContain('\u001b');
    },
  );

  it('cleanup lists what it would end, asks, and ends it after "yes"', async ({ clay, expect }) => {
    const idle = await clay.spawnClaude(IDLE);
    const waiting = await clay.spawnClaude({ project: 'busy', journal: 'permission' });
    const terminal = onTerminal(['cleanup', '--clay-home', clay.home, '--min-age', '0s']);
    await terminal.shows(/End this process \(\d+ MB\)\?/);
    expect(terminal.output()).toContain(String(idle.pid));
    expect(terminal.output()).not.toContain(String(waiting.pid));
    expect(idle.isAlive()).toBe(true);
    terminal.type('y\r');
    expect(await terminal.ended).toBe(0);
    expect(terminal.output()).toMatch(/reaped 1 process, \d+ MB back/);
    expect(terminal.output()).toContain('"clay-reaper history" lists what was ended');
    expect([idle.isAlive(), waiting.isAlive()]).toEqual([false, true]);
    expect(terminal.isRestored()).toBe(true);
  });

  it.for([
    ['n\r', 0],
    ['\r', 0],
    ['\u0003', 130],
  ] as const)('cleanup ends nothing if answered with %j', async ([keys, status], { clay, expect }) => {
    const idle = await clay.spawnClaude(IDLE);
    const terminal = onTerminal(['cleanup', '--clay-home', clay.home, '--min-age', '0s']);
    await terminal.shows('End this process');
    terminal.type(keys);
    expect(await terminal.ended).toBe(status);
    expect(idle.isAlive()).toBe(true);
    expect(terminal.isRestored()).toBe(true);
  });

  it('cleanup shows progress while a process takes long to exit', async ({ clay, expect }) => {
    const deaf = await clay.spawnClaude({ ...IDLE, start: { ignoreSigterm: true } });
    const terminal = onTerminal([
      'cleanup',
      '--yes',
      '--clay-home',
      clay.home,
      '--min-age',
      '0s',
      '--kill-after',
      '5s',
    ]);
    await terminal.shows(/0 of 1 ended, [1-4] s \(SIGKILL after 5s\)/);
    expect(await terminal.ended).toBe(0);
    expect(deaf.isAlive()).toBe(false);
  });

  it('cleanup ends no process if it is interrupted while it asks Clay once more', async ({ clay, expect }) => {
    const idle = await clay.spawnClaude(IDLE);
    const terminal = onTerminal(['cleanup', '--clay-home', clay.home, '--min-age', '0s']);
    await terminal.shows('End this process');
    await clay.answerStatus({ mode: 'slow', delayMs: 5 });
    const asked = await clay.statusRequests();
    terminal.type('y\r');
    await waitFor('Clay is asked once more', async () => (await clay.statusRequests()) > asked);
    terminal.type('\u0003');
    expect(await terminal.ended).toBe(130);
    expect(idle.isAlive()).toBe(true);
    expect(terminal.output()).not.toContain('reaped');
  });

  it('cleanup reports and records what has ended if it is interrupted while it waits', async ({ clay, expect }) => {
    const idle = await clay.spawnClaude(IDLE_NATIVE);
    const deaf = await clay.spawnClaude({ ...IDLE_NATIVE, start: { ignoreSigterm: true } });
    const terminal = onTerminal(['cleanup', '--yes', '--clay-home', clay.home, '--min-age', '0s']);
    await terminal.shows('1 of 2 ended');
    terminal.type('\u0003');
    expect(await terminal.ended).toBe(1);
    expect(terminal.output()).toMatch(/reaped 1 process, .* back, 1 did not end/);
    expect(terminal.output()).toContain(`claude ${deaf.pid} did not end: cleanup was interrupted`);
    expect([idle.isAlive(), deaf.isAlive()]).toEqual([false, true]);
    const { stdout } = await runCli(['history', '--json']);
    expect(stdout).toContain(`"pid": ${idle.pid}`);
    expect(stdout).not.toContain(`"pid": ${deaf.pid}`);
  });

  it('cleanup spares a process that becomes busy while it waits for an answer', async ({ clay, expect }) => {
    const claude = await clay.spawnClaude(IDLE_NATIVE);
    const terminal = onTerminal(['cleanup', '--clay-home', clay.home, '--min-age', '0s']);
    await terminal.shows('End this process');
    await claude.command({ sessionFile: { status: 'busy' } });
    terminal.type('y\r');
    expect(await terminal.ended).toBe(0);
    expect(terminal.output()).toMatch(/reaped 0 processes, 0 B back, spared 1 that woke up/);
    expect(claude.isAlive()).toBe(true);
  });
});

test('run prints a readable log on a terminal', async () => {
  const clay = await startClay({ projects: ['rest'] });
  try {
    const terminal = onTerminal(['run', '--dry-run', '--clay-home', clay.home, '--poll', '200ms']);
    await terminal.shows(`watching Clay ${clay.pid}`);
    terminal.type('\u0003');
    expect(await terminal.ended).toBe(0);
    expect(terminal.output()).not.toContain('{"level"');
    expect(terminal.output()).toContain('stopped by SIGINT');
  } finally {
    await clay.stop();
  }
});
