import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Clay, type FakeClaude, IDLE, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { type Finished, NO_WAITS, runCli, runCliJson, startService } from '../helpers/cli.ts';
import { identify, kill } from '../helpers/processes.ts';
import { onTerminal } from '../helpers/terminal.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { injectFault } from './interference.ts';

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

let clay: Clay;
let idle: FakeClaude;
let claudes: FakeClaude[];

beforeAll(async () => {
  clay = await startClay({ clayHome: `home${EVIL_NAME}` });
  await clay.addProject(`evil${EVIL}\u0000`, clay.projectPath(`evil${EVIL_NAME}`));
  await clay.addProject('rest');
  const inEvil = { project: `evil${EVIL}\u0000`, shape: 'native', idleSeconds: 3600 } as const;
  idle = await clay.spawnClaude(inEvil);
  const title = { type: 'meta', title: `title${LONG}` };
  const ended = [{ type: 'user_message', text: EVIL }, { type: 'done' }];
  claudes = [
    idle,
    await clay.spawnClaude({ ...inEvil, journal: [title, ...ended, { type: `unknown${LONG}` }] }),
    await clay.spawnClaude({ ...IDLE_NATIVE, start: { sessionFile: { status: `busy${EVIL}` } } }),
    await clay.spawnClaude({ ...IDLE_NATIVE, start: { sessionFile: { status: 'waiting', waitingFor: `you${EVIL}` } } }),
    await clay.spawnClaude({ ...IDLE_NATIVE, start: { sessionFile: { status: LONG } } }),
    await clay.spawnClaude({
      ...IDLE_NATIVE,
      env: { CLAUDE_CODE_ENTRYPOINT: `cli${LONG}`, CLAUDE_AGENT_SDK_VERSION: LONG },
    }),
    await clay.spawnClaude({ ...IDLE_NATIVE, env: { CLAUDE_CONFIG_DIR: join(clay.directory, `config${EVIL_NAME}`) } }),
    await clay.spawnClaude({ ...IDLE_NATIVE, cwd: folderNamed(EVIL_NAME) }),
    // A newer release might give it a name of its own choice below its claude.
    await clay.spawnClaude({
      ...IDLE,
      start: { toolShell: `printf "${EVIL_COMM}" >/proc/$$/comm; sleep 86400; : "${EVIL}"` },
    }),
    await clay.spawnClaude({ ...IDLE_NATIVE, start: { sessionFile: { sessionId: '../../../../../../etc/passwd' } } }),
    await clay.spawnClaude({
      ...IDLE_NATIVE,
      start: { sessionFile: { sessionId: `${crypto.randomUUID()}\u0000/../..` } },
    }),
    await clay.spawnClaude({ ...IDLE_NATIVE, start: { sessionFile: { sessionId: LONG } } }),
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

describe('attacker-controlled text', () => {
  test('is stripped from tables', async () => {
    expectCleanRun(await runCli(here('status', '--min-age', '0s')));
    expectCleanRun(await runCli(here('cleanup', '--dry-run', ...NO_WAITS)));
  });

  test('is stripped from explain', async () => {
    const explained = await Promise.all(
      claudes.map((claude) => runCli(here('explain', String(claude.pid), '--verbose'))),
    );
    for (const run of explained) expectCleanRun(run, 8000);
  });

  test('is stripped from explain of a non-candidate', async () => {
    // Only a process itself may set its name.
    const script = `printf "${EVIL_COMM}" >/proc/$$/comm; echo named; read wait`;
    const stranger = spawn('sh', ['-c', script, LONG], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise((resolve) => stranger.stdout.once('data', resolve));
    const found = identify(stranger.pid ?? 0);
    onTestFinished(() => {
      if (found) kill(found);
    });
    for (const more of [[], ['--json']]) {
      const explained = await runCli(here('explain', String(stranger.pid), ...more));
      expect(explained.status).toBe(0);
      expectCleanRun(explained, 8000);
    }
  });

  test('is escaped in JSON with its value unchanged', async () => {
    const status = await runCliJson(here('status', '--min-age', '0s'));
    expectCleanRun(status, 20_000);
    const row = status.report.processes.find((process) => process.pid === idle.pid);
    expect(row?.project).toBe(`evil${EVIL}\u0000`);
    expect(row?.cwd).toBe(clay.projectPath(`evil${EVIL_NAME}`));
    expectCleanRun(await runCli(here('explain', String(idle.pid), '--json')), 20_000);
  });

  test('is stripped from messages about a refused home, an invalid option or an invalid configuration', async () => {
    const config = join(clay.directory, 'config.toml');
    for (const text of [
      `"${EVIL.replace(/["\\\p{Cc}]/gu, '?')}" = 1\n`,
      `grace_period = "${EVIL.replace(/["\\\p{Cc}]/gu, '?')}"\n`,
      EVIL,
    ]) {
      writeFileSync(config, text);
      const bad = await runCli(here('status', '--config', config));
      expect(bad.status).toBe(2);
      expectCleanRun(bad);
    }
    const homes = [`/nonexistent/${EVIL_NAME}`, `/nonexistent/${LONG}`, folderNamed(`home${EVIL_NAME}`)];
    writeFileSync(join(homes[2] ?? '', 'daemon.json'), '{');
    for (const home of homes) expectCleanRun(await runCli(['status', '--clay-home', home]));
    expectCleanRun(await runCli([`--${EVIL}`]));
    expectCleanRun(await runCli(['explain', EVIL]));
    expectCleanRun(await runCli(['status', '--config', `/nonexistent/${EVIL_NAME}`]));
  });

  test('is not used in a path if it is a session id but no UUID', async () => {
    const interference = injectFault([]);
    onTestFinished(interference.remove);
    const { report } = await runCliJson(here('status', '--min-age', '0s'), { env: interference.env });
    const bad = claudes.slice(-3).map((claude) => claude.pid);
    for (const row of report.processes.filter((process) => bad.includes(process.pid))) {
      expect(row).toMatchObject({ sessionId: null, verdict: 'protected' });
      expect(row.reasons.map((reason) => reason.code)).toContain('unverified');
    }
    const calls = interference.calls();
    expect(calls.length).toBeGreaterThan(100);
    expect(calls.filter((call) => /etc\/passwd/.test(call) && !/ \/etc\/passwd$/.test(call))).toEqual([]);
    expect(calls.filter((call) => call.includes('/../'))).toEqual([]);
  });

  test.for([
    ['the log', {}, /^\{.*\}$/],
    ["systemd's journal", { JOURNAL_STREAM: '8:1' }, /^<\d>[^<{]/],
    ["systemd's journal as JSON", { JOURNAL_STREAM: '8:1', CLAY_REAPER_LOG_FORMAT: 'json' }, /^<\d>\{.*\}$/],
  ] as const)('cannot forge or inflate a line of %s', async ([, env, form]) => {
    const args = here('--dry-run', '--poll', '100ms', '--log-level', 'debug', ...NO_WAITS);
    const running = startService(args, { env });
    onTestFinished(async () => void (await running.stop()));
    await waitFor('it is told', () => JSON.stringify(running.log).includes('would end claude'));
    const { stderr, stdout } = await running.stop();
    expect(stdout).toBe('');
    expectCleanRun({ stdout, stderr, status: 0, signal: null }, 6000);
    for (const line of stderr.split('\n').filter((text) => text !== '')) {
      expect(line).toMatch(form);
      if (line.endsWith('}')) expect(() => JSON.parse(line.replace(/^<\d>/, ''))).not.toThrow();
    }
  });

  test('cannot control the terminal of run', async () => {
    const terminal = onTerminal(here('run', '--dry-run', '--poll', '100ms', ...NO_WAITS));
    await terminal.shows(/would end claude/);
    terminal.type('\u0003');
    await terminal.ended;
    const shown = terminal.output().replaceAll(OWN_SEQUENCES, '');
    expect(shown).toContain('forged: line');
    expectClean(shown);
  });

  test('cannot control the terminal of status --watch', async () => {
    const terminal = onTerminal(here('status', '--watch', '--min-age', '0s'), { columns: 200, rows: 50 });
    await terminal.shows('q to quit');
    terminal.type('q');
    await terminal.ended;
    const shown = terminal.output().replaceAll(REDRAWING, '').replaceAll(OWN_SEQUENCES, '');
    expect(shown).toContain('pwned');
    expectClean(shown);
  });

  test("is stripped from metrics and from systemd's status line", async () => {
    const bin = folderNamed('bin');
    const [told, textfile] = [join(bin, 'told'), join(bin, 'reaper.prom')];
    // As systemd's own: each argument is an assignment, and a line break would begin another.
    writeFileSync(join(bin, 'systemd-notify'), `#!/bin/sh\nprintf '%s\\n' "$@" >>'${told}'\n`);
    chmodSync(join(bin, 'systemd-notify'), 0o755);
    const running = startService(here('--dry-run', '--poll', '100ms', ...NO_WAITS), {
      env: {
        PATH: `${bin}:${process.env.PATH}`,
        NOTIFY_SOCKET: '/nonexistent',
        CLAY_REAPER_METRICS_TEXTFILE: textfile,
      },
    });
    onTestFinished(async () => void (await running.stop()));
    await running.logged('would-reap', (line) => line.pid === idle.pid);
    await waitFor('both are written', () => existsSync(told) && existsSync(textfile));
    await running.stop();
    expectClean(readFileSync(textfile, 'utf8'));
    expectClean(readFileSync(told, 'utf8'));
    for (const line of readFileSync(told, 'utf8').trim().split('\n')) {
      expect(line).toMatch(
        /^(READY=1|STOPPING=1|STATUS=(watching Clay|waiting for Clay|stopped by|the first sweep) ?.*)$/,
      );
    }
  });

  test('is stripped from messages about an unwritable history or metrics file', async () => {
    // A colon would end the first of several state directories.
    const file = join(clay.directory, `file${EVIL_NAME.replaceAll(':', '')}`);
    writeFileSync(file, '');
    const env = { STATE_DIRECTORY: join(file, 'state'), CLAY_REAPER_METRICS_TEXTFILE: join(file, 'reaper.prom') };
    const told = await runCli(['history'], { env });
    expectCleanRun(told);
    const victim = await clay.spawnClaude({ project: 'rest', shape: 'native', idleSeconds: 7200 });
    const limits = { CLAY_REAPER_MAX_KILLS_PER_SWEEP: '1' };
    const ended = await runCli(here('cleanup', '--yes', ...NO_WAITS), { env: { ...env, ...limits } });
    expectCleanRun(ended);
    expect(ended.stderr).toContain('the history');
    expect(victim.isAlive()).toBe(false);
    const running = startService(here('--dry-run', '--poll', '100ms'), { env });
    onTestFinished(async () => void (await running.stop()));
    await running.logged('warning');
    expectCleanRun(await running.stop());
  });

  test('cannot control the terminal of the cleanup prompt or of a table', async () => {
    const asking = onTerminal(here('cleanup', ...NO_WAITS), { columns: 120 });
    await asking.shows(/End (this|these)/);
    asking.type('n');
    asking.type('\r');
    await asking.ended;
    expect(asking.output()).not.toContain('\u001b]0');
    expect(asking.output()).not.toContain('\u001b[31m\r');
    expect(asking.output()).not.toMatch(/[\u0080-\u009f\u202e\u2066\u2028]/);
    expect(idle.isAlive()).toBe(true);
  });

  test('cannot forge a line of the history', async () => {
    const directory = join(clay.directory, 'state');
    const env = { STATE_DIRECTORY: directory };
    const victim = await clay.spawnClaude({ project: `evil${EVIL}\u0000`, shape: 'native', idleSeconds: 7200 });
    await runCli(here('cleanup', '--yes', ...NO_WAITS), { env: { ...env, CLAY_REAPER_MAX_KILLS_PER_SWEEP: '1' } });
    await waitFor('it is ended', () => !victim.isAlive());
    const text = await runCli(['history'], { env });
    expectCleanRun(text);
    expect(text.stdout).toContain('1 process');
    expectCleanRun(await runCli(['history', '--json'], { env }), 6000);
  });
});
