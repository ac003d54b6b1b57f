import { randomUUID } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Clay, type Conversation, startClay, type User, type Worker } from '../helpers/clay.ts';
import { type ProcessReport, type Report, runCliJson } from '../helpers/cli.ts';
import { childrenOf, identify, isAlive, type ProcessId, parentOf } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { environmentFor, type ModelApi, type Step, script, startModelApi } from './model-api.ts';
import { inTurn, turnOver, withToolShell } from './scenarios.ts';

/** Users that exist nowhere else: a uid is all that the kernel knows of one. */
const ADA: User = { uid: 61_801, gid: 61_801 };
const BOB: User = { uid: 61_802, gid: 61_802 };
const CALICE: User = { uid: 61_803, gid: 61_803 };

/** Started through sudo, so that its home is calice's; with OS users, and one conversation of root's own. */
const WORKERS: Readonly<Record<string, Worker>> = {
  'sdk-worker.js, as in 2.17': { ...ADA, script: 'sdk-worker.js' },
  'yoke/adapters/claude-worker.js, as in 2.36 and 2.41': { ...ADA, script: 'yoke/adapters/claude-worker.js' },
  'a script that no release has so far': { ...BOB, script: 'agents/session-worker.js' },
};
const USUAL_WORKER: Worker = { ...ADA, script: 'yoke/adapters/claude-worker.js' };

const WAITS = ['--min-age', '1s', '--grace', '1s', '--parked-after', '2s'];
const bypass = { permissionMode: 'bypassPermissions', allowDangerouslySkipPermissions: true };
const background: Step = {
  tool: 'Bash',
  input: { command: 'tail -f /dev/null', description: 'serve', run_in_background: true },
};

describe.each(['0.2.92', '0.3.330'])('root Clay behind sudo with OS users, real claude of Agent SDK %s', (sdk) => {
  const isNative = sdk.startsWith('0.3.');
  const module = import.meta.resolve(`./node_modules/sdk-${sdk}/sdk.mjs`);
  const idle = new Map<string, Conversation>();
  const working = new Map<string, Conversation>();
  let api: ModelApi;
  let clay: Clay;
  let terminal: { readonly shell: ProcessId; readonly claude: ProcessId };

  const query = (project: string, text: string, more = {}): Promise<Conversation> =>
    clay.startConversation({ project, text, sdk: module, ...more });
  const common = (): string[] => ['--clay-home', clay.home, ...WAITS];
  const rowOf = (report: Report, { pid }: ProcessId): ProcessReport | undefined =>
    report.processes.find((process) => process.pid === pid);

  beforeAll(async () => {
    if (process.getuid?.() !== 0) throw new Error('these tests run claude as other users: run them as root');
    api = await startModelApi();
    clay = await startClay({
      sudo: CALICE,
      osUsers: true,
      projects: ['rest', 'busy'],
      env: environmentFor(api),
    });
    for (const [name, worker] of Object.entries(WORKERS)) idle.set(name, await query('rest', 'hello', { worker }));
    idle.set("root's own", await query('rest', 'hello'));
    const named = isNative ? { options: { pathToClaudeCodeExecutable: versionNamedBinary(clay.directory) } } : {};
    idle.set('named as its version', await query('rest', 'hello', { ...named, worker: USUAL_WORKER }));

    const touch = { tool: 'Bash', input: { command: 'touch asked', description: 'x' } };
    const wait = { tool: 'Bash', input: { command: 'until [ -e built ]; do sleep 0.2; done', description: 'build' } };
    const start = (text: string, options = {}): Promise<Conversation> =>
      query('busy', text, { worker: USUAL_WORKER, ...named, options: { ...named.options, ...options } });
    working.set('a permission prompt', await start(script(touch)));
    working.set('a tool', await start(script(wait), bypass));
    working.set('streaming', await start(script({ text: 'streamed', waitFor: 'streamed' })));
    working.set('a tool in the background', await start(script(background), bypass));
    for (const talk of idle.values()) await turnOver(talk);
    await inTurn(working.get('a permission prompt') as Conversation, ({ permissions }) => permissions.length > 0);
    await withToolShell(working.get('a tool') as Conversation);
    await inTurn(working.get('streaming') as Conversation, ({ text }) => text.length > 0);
    await withToolShell(await turnOver(working.get('a tool in the background') as Conversation));
    terminal = await openTerminal(clay, sdk);
  });
  afterAll(async () => {
    await clay?.stop();
    await api?.stop();
  });

  test('each claude is listed with its user; the idle ones are orphans, those at work and the terminal are not', async () => {
    api.closeIdle();
    let differing: unknown;
    await waitFor(
      () => `the idle ones are orphans, unlike ${JSON.stringify(differing)}`,
      async () => {
        const { report, status, stderr } = await runCliJson(['status', ...common()], { trueAge: true });
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
        for (const [name, talk] of working) expect(rowOf(report, talk)?.verdict, name).toBe('protected');
        expect(rowOf(report, terminal.claude)).toMatchObject({ verdict: 'protected', clayPid: clay.pid });
        expect(rowOf(report, terminal.claude)?.reasons).toContainEqual(expect.objectContaining({ code: 'terminal' }));
        const uids = [...idle.values()].map((talk) => rowOf(report, talk)?.uid);
        expect(uids).toEqual([ADA.uid, ADA.uid, BOB.uid, 0, ADA.uid]);
        const others = [...idle].filter(([, talk]) => rowOf(report, talk)?.verdict !== 'reap');
        differing = others.map(([name, talk]) => [name, rowOf(report, talk)?.reasons]);
        return others.length === 0;
      },
      120_000,
    );
    const comm = readFileSync(`/proc/${(idle.get('named as its version') as Conversation).pid}/comm`, 'utf8').trim();
    expect(comm).toBe(isNative ? '2.1.330' : 'claude');
  });

  test('cleanup ends the idle ones and nothing else: no worker, no shell, nothing in a terminal', async () => {
    const workers = [...idle.values()].flatMap(({ pid }) => identify(parentOf(pid) ?? 0) ?? []);
    expect(new Set(workers.map(({ pid }) => pid)).size).toBe(5);
    await waitFor(
      'the idle ones are gone',
      async () => {
        // Not even with every wait at zero.
        const { report, status } = await runCliJson(['cleanup', '--yes', '--now', ...common()], { trueAge: true });
        expect(status).toBe(0);
        const ended = report.processes.filter(({ outcome }) => outcome === 'terminated' || outcome === 'killed');
        const expected = [...idle.values()].map(({ pid }) => pid);
        expect(ended.map(({ pid }) => pid).filter((pid) => !expected.includes(pid))).toEqual([]);
        return [...idle.values()].every((talk) => !talk.isAlive());
      },
      90_000,
    );
    expect(workers.map(isAlive)).toEqual(workers.map(() => true));
    expect([terminal.shell, terminal.claude].map(isAlive)).toEqual([true, true]);
    for (const [name, talk] of working) expect(talk.isAlive(), name).toBe(true);
  });

  test("an OS user's conversation answers again", async () => {
    const talk = idle.get('yoke/adapters/claude-worker.js, as in 2.36 and 2.41') as Conversation;
    await waitFor('Clay has noticed that its claude ended', async () => !(await talk.state()).running);
    const before = await talk.state();
    await talk.send('are you there?');
    const after = await (await turnOver(talk, before.turns + 1)).state();
    expect(after.sessionId).toBe(before.sessionId);
    expect(after.pids).toHaveLength(before.pids.length + 1);
  });
});

/** As native installs keep it: the process is named as the file. */
function versionNamedBinary(directory: string): string {
  const binary = fileURLToPath(import.meta.resolve('./node_modules/@anthropic-ai/claude-agent-sdk-linux-x64/claude'));
  const path = join(directory, 'share/claude/versions/2.1.330');
  mkdirSync(dirname(path), { recursive: true });
  if (!existsSync(path)) cpSync(binary, path);
  return path;
}

/** A person's `claude` in one of Clay's terminals. It waits at its prompt, and needs no login for that. */
async function openTerminal(clay: Clay, sdk: string): Promise<{ shell: ProcessId; claude: ProcessId }> {
  const trusted = { [clay.projectPath('rest')]: { hasTrustDialogAccepted: true, hasCompletedProjectOnboarding: true } };
  const keys = { approved: ['anything'], rejected: [] };
  const state = { hasCompletedOnboarding: true, theme: 'dark', customApiKeyResponses: keys, projects: trusted };
  writeFileSync(join(clay.userHome, '.claude.json'), JSON.stringify(state));
  const cli = fileURLToPath(new URL(`node_modules/sdk-${sdk}/cli.js`, import.meta.url));
  const command = existsSync(cli)
    ? `${process.execPath} ${cli}`
    : join(clay.directory, 'share/claude/versions/2.1.330');
  const shell = await clay.openTerminal('rest', `${command} --session-id ${randomUUID()}`);
  const claude = await waitFor('claude waits in the terminal', () => {
    const [child = 0] = childrenOf(shell.pid);
    const file = join(clay.userHome, '.claude/sessions', `${child}.json`);
    return existsSync(file) && readFileSync(file, 'utf8').includes('"entrypoint":"cli"') && identify(child);
  });
  return { shell, claude };
}
