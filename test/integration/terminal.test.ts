import { describe, expect, test } from 'vitest';
import { type Clay, type ShamOptions, startClay } from '../support/clay.ts';
import { onTerminal } from '../support/terminal.ts';

const IDLE: ShamOptions = { project: 'rest', journal: 'ended', transcript: true, idleSeconds: 3600 };
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
    'status --watch follows what happens, ends with %j and leaves the terminal as it was',
    async (key, { clay, expect }) => {
      const sham = await clay.sham({ ...IDLE, shape: 'native' });
      const terminal = onTerminal(['status', '--watch', '--clay-home', clay.home, '--min-age', '0s']);
      await terminal.shows(RED);
      await sham.tell({ sessionFile: { status: 'waiting' } });
      await terminal.shows(/protected.*waits for you/);
      expect(terminal.output()).toContain(GREEN);
      terminal.type(key);
      expect(await terminal.ended).toBe(0);
      const output = terminal.output();
      expect(output.indexOf(OTHER_SCREEN)).toBeGreaterThan(-1);
      expect(output.indexOf(OWN_SCREEN)).toBeGreaterThan(output.lastIndexOf('q to quit'));
      expect(output.indexOf(SHOW_CURSOR)).toBeGreaterThan(output.lastIndexOf('q to quit'));
      expect(terminal.isRestored()).toBe(true);
      expect(sham.isAlive()).toBe(true);
    },
  );

  it('status --watch cuts what does not fit instead of scrolling', async ({ clay, expect }) => {
    for (let each = 0; each < 8; each++) await clay.sham({ ...IDLE, shape: 'native' });
    const terminal = onTerminal(['status', '--watch', '--clay-home', clay.home], { rows: 8 });
    await terminal.shows(/… \d+ more/);
    terminal.type('q');
    await terminal.ended;
    const [, drawn = ''] = terminal.output().split('\u001b[H');
    expect(drawn.split(CLEAR_BELOW)[0]?.split('\r\n').length).toBeLessThanOrEqual(8);
  });

  it('cleanup shows what it would end, asks, and does it after a yes', async ({ clay, expect }) => {
    const idle = await clay.sham(IDLE);
    const waiting = await clay.sham({ project: 'busy', journal: 'permission' });
    const terminal = onTerminal(['cleanup', '--clay-home', clay.home, '--min-age', '0s']);
    await terminal.shows(/End this process \(\d+ MB\)\?/);
    expect(terminal.output()).toContain(String(idle.pid));
    expect(terminal.output()).not.toContain(String(waiting.pid));
    expect(idle.isAlive()).toBe(true);
    terminal.type('y\r');
    expect(await terminal.ended).toBe(0);
    expect(terminal.output()).toMatch(/reaped 1 process, \d+ MB back/);
    expect([idle.isAlive(), waiting.isAlive()]).toEqual([false, true]);
    expect(terminal.isRestored()).toBe(true);
  });

  it.for([
    ['n\r', 0],
    ['\r', 0],
    ['\u0003', 130],
  ] as const)('cleanup ends nothing when it is answered with %j', async ([keys, status], { clay, expect }) => {
    const idle = await clay.sham(IDLE);
    const terminal = onTerminal(['cleanup', '--clay-home', clay.home, '--min-age', '0s']);
    await terminal.shows('End this process');
    terminal.type(keys);
    expect(await terminal.ended).toBe(status);
    expect(idle.isAlive()).toBe(true);
    expect(terminal.isRestored()).toBe(true);
  });

  it('cleanup shows how far it is while a process takes its time', async ({ clay, expect }) => {
    const deaf = await clay.sham({ ...IDLE, start: { ignoreSigterm: true } });
    const terminal = onTerminal([
      'cleanup',
      '--yes',
      '--clay-home',
      clay.home,
      '--min-age',
      '0s',
      '--kill-after',
      '2s',
    ]);
    await terminal.shows(/0 of 1 ended, 1 s \(SIGKILL after 2s\)/);
    expect(await terminal.ended).toBe(0);
    expect(deaf.isAlive()).toBe(false);
  });

  it('one that wakes up while the person thinks is spared', async ({ clay, expect }) => {
    const sham = await clay.sham({ ...IDLE, shape: 'native' });
    const terminal = onTerminal(['cleanup', '--clay-home', clay.home, '--min-age', '0s']);
    await terminal.shows('End this process');
    await sham.tell({ sessionFile: { status: 'busy' } });
    terminal.type('y\r');
    expect(await terminal.ended).toBe(0);
    expect(terminal.output()).toMatch(/reaped 0 processes, 0 B back, spared 1 that woke up/);
    expect(sham.isAlive()).toBe(true);
  });
});

test('the log of run is pretty on a terminal', async () => {
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
