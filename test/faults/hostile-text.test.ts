import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Clay, type Sham, startClay } from '../support/clay.ts';
import { type Finished, reaper, reaperJson, startReaper } from '../support/reaper.ts';
import { onTerminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';
import { interfere } from './interference.ts';

/** Steers terminals, forges lines and turns the direction of text: C0, C1, marks of direction, invisible ones, line breaks. */
const EVIL =
  '\u001b]0;pwned\u0007\u001b[2J\u001b[31m\r\nforged: line\u0008\u007f\u009b31m\u202e\u2066\u200b\ufeff\u2028\u2029\u{e0041}';
const LONG = `${EVIL}${'x'.repeat(64 * 1024)}`;
/** What of it can be part of a file name, which holds no NUL and no slash and has 255 bytes. */
const EVIL_NAME = `..${EVIL}`;

/** Colours, what a terminal and script(1) make of line ends, and Ctrl-C. */
const ESCAPE = '\u001b';
const OWN_SEQUENCES = new RegExp(`${ESCAPE}\\[\\d*m|\\r(?=\\r?\\n)|\\^C`, 'g');
const FORBIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;
const RUTHLESS = ['--min-age', '0s', '--parked-after', '0s', '--grace', '0s'];

let clay: Clay;
let idle: Sham;
let shams: Sham[];

beforeAll(async () => {
  clay = await startClay({ clayHome: `home${EVIL_NAME}` });
  await clay.addProject(`evil${EVIL}\u0000`, clay.projectPath(`evil${EVIL_NAME}`));
  await clay.addProject('rest');
  const inEvil = { project: `evil${EVIL}\u0000`, shape: 'native', idleSeconds: 3600 } as const;
  const inRest = { project: 'rest', shape: 'native', idleSeconds: 3600 } as const;
  idle = await clay.sham(inEvil);
  const title = { type: 'meta', title: `title${LONG}` };
  const ended = [{ type: 'user_message', text: EVIL }, { type: 'done' }];
  shams = [
    idle,
    await clay.sham({ ...inEvil, journal: [title, ...ended, { type: `unknown${LONG}` }] }),
    await clay.sham({ ...inRest, start: { sessionFile: { status: `busy${EVIL}` } } }),
    await clay.sham({ ...inRest, start: { sessionFile: { status: 'waiting', waitingFor: `you${EVIL}` } } }),
    await clay.sham({ ...inRest, start: { sessionFile: { status: LONG } } }),
    await clay.sham({ ...inRest, env: { CLAUDE_CODE_ENTRYPOINT: `cli${LONG}`, CLAUDE_AGENT_SDK_VERSION: LONG } }),
    await clay.sham({ ...inRest, env: { CLAUDE_CONFIG_DIR: join(clay.directory, `config${EVIL_NAME}`) } }),
    await clay.sham({ ...inRest, cwd: folderNamed(EVIL_NAME) }),
    await clay.sham({ ...inRest, start: { sessionFile: { sessionId: '../../../../../../etc/passwd' } } }),
    await clay.sham({ ...inRest, start: { sessionFile: { sessionId: `${crypto.randomUUID()}\u0000/../..` } } }),
    await clay.sham({ ...inRest, start: { sessionFile: { sessionId: LONG } } }),
  ];
});
afterAll(async () => clay?.stop());

function folderNamed(name: string): string {
  const path = join(clay.directory, 'projects', `cwd${name}`);
  mkdirSync(path, { recursive: true });
  return path;
}

const here = (...args: readonly string[]): string[] => [...args, '--clay-home', clay.home];

/** Text for a person or a program: line feeds are its only control characters. */
function expectClean(text: string): void {
  for (const line of text.split('\n')) {
    const found = FORBIDDEN.exec(line);
    expect(found && `${JSON.stringify(found[0])} in ${JSON.stringify(line.slice(0, 300))}`).toBeNull();
  }
}

function expectCleanRun({ stdout, stderr }: Finished, maxLine = 3000): void {
  expectClean(stdout);
  expectClean(stderr);
  for (const line of (stdout + stderr).split('\n')) expect(line.length).toBeLessThan(maxLine);
}

describe('5. text that others chose', () => {
  test('does not reach a table', async () => {
    expectCleanRun(await reaper(here('status', '--min-age', '0s')));
    expectCleanRun(await reaper(here('cleanup', '--dry-run', ...RUTHLESS)));
  });

  test('does not reach an explanation', async () => {
    const explained = await Promise.all(shams.map((sham) => reaper(here('explain', String(sham.pid)))));
    for (const each of explained) expectCleanRun(each, 8000);
  });

  test('is escaped in JSON, and its value is the same', async () => {
    const status = await reaperJson(here('status', '--min-age', '0s'));
    expectCleanRun(status, 20_000);
    const row = status.report.processes.find((each) => each.pid === idle.pid);
    expect(row?.project).toBe(`evil${EVIL}\u0000`);
    expect(row?.cwd).toBe(clay.projectPath(`evil${EVIL_NAME}`));
    expectCleanRun(await reaper(here('explain', String(idle.pid), '--json')), 20_000);
  });

  test('does not reach the message of a refused home, a bad option or a bad configuration', async () => {
    const config = join(clay.directory, 'config.toml');
    for (const text of [
      `"${EVIL.replace(/["\\\p{Cc}]/gu, '?')}" = 1\n`,
      `grace_period = "${EVIL.replace(/["\\\p{Cc}]/gu, '?')}"\n`,
      EVIL,
    ]) {
      writeFileSync(config, text);
      const bad = await reaper(here('status', '--config', config));
      expect(bad.status).toBe(2);
      expectCleanRun(bad);
    }
    const homes = [`/nonexistent/${EVIL_NAME}`, `/nonexistent/${LONG}`, folderNamed(`home${EVIL_NAME}`)];
    writeFileSync(join(homes[2] ?? '', 'daemon.json'), '{');
    for (const home of homes) expectCleanRun(await reaper(['status', '--clay-home', home]));
    expectCleanRun(await reaper([`--${EVIL}`]));
    expectCleanRun(await reaper(['explain', EVIL]));
    expectCleanRun(await reaper(['status', '--config', `/nonexistent/${EVIL_NAME}`]));
  });

  test('a session id that is no UUID becomes part of no path', async () => {
    const interference = interfere([]);
    onTestFinished(interference.remove);
    const { report } = await reaperJson(here('status', '--min-age', '0s'), { env: interference.env });
    const bad = shams.slice(-3).map((sham) => sham.pid);
    for (const row of report.processes.filter((each) => bad.includes(each.pid))) {
      expect(row).toMatchObject({ sessionId: null, verdict: 'protected' });
      expect(row.reasons.map((reason) => reason.code)).toContain('unverified');
    }
    const calls = interference.calls();
    expect(calls.length).toBeGreaterThan(100);
    expect(calls.filter((call) => /etc\/passwd/.test(call) && !/ \/etc\/passwd$/.test(call))).toEqual([]);
    expect(calls.filter((call) => call.includes('/../'))).toEqual([]);
  });

  test('does not forge a line of the log, nor make one endless', async () => {
    const running = startReaper(here('--dry-run', '--poll', '100ms', '--log-level', 'debug', ...RUTHLESS));
    onTestFinished(async () => void (await running.stop()));
    await running.logged('would-reap', (line) => line.pid === idle.pid);
    const { stderr, stdout } = await running.stop();
    expect(stdout).toBe('');
    expectCleanRun({ stdout, stderr, status: 0, signal: null }, 6000);
    for (const line of stderr.split('\n').filter((each) => each !== '')) expect(() => JSON.parse(line)).not.toThrow();
  });

  test('does not steer a terminal that the service runs on', async () => {
    const terminal = onTerminal(here('run', '--dry-run', '--poll', '100ms', ...RUTHLESS));
    await terminal.shows(/would end claude/);
    terminal.type('\u0003');
    await terminal.ended;
    const shown = terminal.output().replaceAll(OWN_SEQUENCES, '');
    expect(shown).toContain('forged: line');
    expectClean(shown);
  });

  test('does not steer a terminal that asks for a yes, or that shows a table', async () => {
    const asking = onTerminal(here('cleanup', ...RUTHLESS), { columns: 120 });
    await asking.shows(/End (this|these)/);
    asking.type('n');
    asking.type('\r');
    await asking.ended;
    expect(asking.output()).not.toContain('\u001b]0');
    expect(asking.output()).not.toContain('\u001b[31m\r');
    expect(asking.output()).not.toMatch(/[\u0080-\u009f\u202e\u2066\u2028]/);
    expect(idle.isAlive()).toBe(true);
  });

  test('does not forge a line of the history', async () => {
    const directory = join(clay.directory, 'state');
    const env = { STATE_DIRECTORY: directory };
    const victim = await clay.sham({ project: `evil${EVIL}\u0000`, shape: 'native', idleSeconds: 7200 });
    await reaper(here('cleanup', '--yes', ...RUTHLESS), { env: { ...env, CLAY_REAPER_MAX_KILLS_PER_SWEEP: '1' } });
    await until('it is ended', () => !victim.isAlive());
    const text = await reaper(['history'], { env });
    expectCleanRun(text);
    expect(text.stdout).toContain('1 process');
    expectCleanRun(await reaper(['history', '--json'], { env }), 6000);
  });
});
