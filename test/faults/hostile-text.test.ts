import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Clay, type Sham, startClay } from '../support/clay.ts';
import { identify, kill } from '../support/processes.ts';
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

/** What of it can be the name of a process, which has 15 bytes: a line break, an escape, a mark of direction. */
const EVIL_COMM = '\n\u001b[31m\u202e../x';

/** Colours, what a terminal and script(1) make of line ends, and Ctrl-C. */
const ESCAPE = '\u001b';
const OWN_SEQUENCES = new RegExp(`${ESCAPE}\\[\\d*m|\\r(?=\\r?\\n)|\\^C`, 'g');
/** The other screen, the cursor, and what clears: how a table is redrawn in place. */
const REDRAWING = new RegExp(`${ESCAPE}\\[(\\?\\d+[hl]|[HJK])`, 'g');
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
    // A newer release might give it a name of its own choice below its claude.
    await clay.sham({
      ...{ project: 'rest', idleSeconds: 3600 },
      start: { toolShell: `printf "${EVIL_COMM}" >/proc/$$/comm; sleep 86400; : "${EVIL}"` },
    }),
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

  test('does not reach the explanation why a process is no candidate', async () => {
    // Only a process itself may set its name.
    const script = `printf "${EVIL_COMM}" >/proc/$$/comm; echo named; read wait`;
    const stranger = spawn('sh', ['-c', script, LONG], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise((resolve) => stranger.stdout.once('data', resolve));
    const found = identify(stranger.pid ?? 0);
    onTestFinished(() => {
      if (found) kill(found);
    });
    for (const more of [[], ['--json']]) {
      const explained = await reaper(here('explain', String(stranger.pid), ...more));
      expect(explained.status).toBe(0);
      expectCleanRun(explained, 8000);
    }
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

  test.for([
    ['the log', {}],
    ["systemd's journal", { JOURNAL_STREAM: '8:1' }],
  ] as const)('does not forge a line of %s, nor make one endless', async ([, env]) => {
    const args = here('--dry-run', '--poll', '100ms', '--log-level', 'debug', ...RUTHLESS);
    const running = startReaper(args, { env });
    onTestFinished(async () => void (await running.stop()));
    await until('it is told', () => JSON.stringify(running.log).includes('would end claude'));
    const { stderr, stdout } = await running.stop();
    expect(stdout).toBe('');
    expectCleanRun({ stdout, stderr, status: 0, signal: null }, 6000);
    for (const line of stderr.split('\n').filter((each) => each !== '')) {
      expect(() => JSON.parse('JOURNAL_STREAM' in env ? line.replace(/^<\d>/, '') : line)).not.toThrow();
    }
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

  test('does not steer a terminal on which a table is redrawn', async () => {
    const terminal = onTerminal(here('status', '--watch', '--min-age', '0s'), { columns: 200, rows: 50 });
    await terminal.shows('q to quit');
    terminal.type('q');
    await terminal.ended;
    const shown = terminal.output().replaceAll(REDRAWING, '').replaceAll(OWN_SEQUENCES, '');
    expect(shown).toContain('pwned');
    expectClean(shown);
  });

  test('does not reach the metrics, nor the status that systemd shows', async () => {
    const bin = folderNamed('bin');
    const [told, textfile] = [join(bin, 'told'), join(bin, 'reaper.prom')];
    // As systemd's own: each argument is an assignment, and a line break would begin another.
    writeFileSync(join(bin, 'systemd-notify'), `#!/bin/sh\nprintf '%s\\n' "$@" >>'${told}'\n`);
    chmodSync(join(bin, 'systemd-notify'), 0o755);
    const running = startReaper(here('--dry-run', '--poll', '100ms', ...RUTHLESS), {
      env: {
        ...{ PATH: `${bin}:${process.env.PATH}`, NOTIFY_SOCKET: '/nonexistent' },
        CLAY_REAPER_METRICS_TEXTFILE: textfile,
      },
    });
    onTestFinished(async () => void (await running.stop()));
    await running.logged('would-reap', (line) => line.pid === idle.pid);
    await until('both are written', () => existsSync(told) && existsSync(textfile));
    await running.stop();
    expectClean(readFileSync(textfile, 'utf8'));
    expectClean(readFileSync(told, 'utf8'));
    for (const line of readFileSync(told, 'utf8').trim().split('\n')) {
      expect(line).toMatch(/^(READY=1|STOPPING=1|STATUS=(watching Clay|waiting for Clay|stopped by) ?.*)$/);
    }
  });

  test('does not reach the line about a history or metrics that cannot be written', async () => {
    // A colon would end the first of several state directories.
    const file = join(clay.directory, `file${EVIL_NAME.replaceAll(':', '')}`);
    writeFileSync(file, '');
    const env = { STATE_DIRECTORY: join(file, 'state'), CLAY_REAPER_METRICS_TEXTFILE: join(file, 'reaper.prom') };
    const told = await reaper(['history'], { env });
    expectCleanRun(told);
    const victim = await clay.sham({ project: 'rest', shape: 'native', idleSeconds: 7200 });
    const limits = { CLAY_REAPER_MAX_KILLS_PER_SWEEP: '1' };
    const ended = await reaper(here('cleanup', '--yes', ...RUTHLESS), { env: { ...env, ...limits } });
    expectCleanRun(ended);
    expect(ended.stderr).toContain('the history');
    expect(victim.isAlive()).toBe(false);
    const running = startReaper(here('--dry-run', '--poll', '100ms'), { env });
    onTestFinished(async () => void (await running.stop()));
    await running.logged('trouble');
    expectCleanRun(await running.stop());
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
