import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Clay, ConversationState, Sham, Talk } from '../support/clay.ts';
import { childrenOf, kill, sessionOf } from '../support/processes.ts';
import type { ProcessReport } from '../support/reaper.ts';
import { until } from '../support/until.ts';
import type { HttpMcpServer } from './mcp-http.ts';
import { type ModelApi, type Step, script } from './model-api.ts';

export type World = {
  readonly sdk: string;
  readonly clay: Clay;
  readonly api: ModelApi;
  readonly mcp: HttpMcpServer;
  readonly query: (project: string, text: string, more?: QueryExtras) => Promise<Talk>;
};

type QueryExtras = {
  readonly options?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
};

/** What `status` has to say of a process: every reason that is named here, and perhaps more. */
export type Expected =
  | { readonly verdict: 'protected'; readonly reasons: readonly string[] }
  | { readonly verdict: 'reap'; readonly orphan: NonNullable<ProcessReport['orphan']> };

export type Scenario = {
  readonly expected: Expected;
  /** Resolves when the process is in its situation. */
  readonly start: (world: World) => Promise<Talk | Sham>;
};

export const IDLE_PROJECTS = ['rest', 'hooked', 'durable', 'unasked'] as const;
export const BUSY_PROJECT = 'busy';
export const IGNORES_SIGTERM = 'ignores SIGTERM (sham)';

const bypass = { permissionMode: 'bypassPermissions', allowDangerouslySkipPermissions: true };
const parked: Expected = { verdict: 'reap', orphan: 'parked' };
const inTwentyDays = new Date(Date.now() + 20 * 24 * 3600 * 1000);
const yearly = {
  cron: `0 4 ${inTwentyDays.getDate()} ${inTwentyDays.getMonth() + 1} *`,
  prompt: 'look again',
  recurring: false,
};
const options = ['A', 'B'].map((label) => ({ label, description: label }));
const question = {
  tool: 'AskUserQuestion',
  input: { questions: [{ question: 'Which?', header: 'Pick', multiSelect: false, options }] },
};
const mcpStdio = fileURLToPath(new URL('mcp-stdio.js', import.meta.url));

/** Only the newer SDK writes its status down. */
function withStatus(sdk: string, status: string, reasons: readonly string[]): Expected {
  return { verdict: 'protected', reasons: sdk.startsWith('0.3.') ? [...reasons, status] : reasons };
}

/** The file whose existence ends the Bash tool that runs in the foreground. */
export function buildDone({ clay }: Pick<World, 'clay'>): string {
  return join(clay.projectPath(BUSY_PROJECT), 'build-done');
}

export function scenarios(sdk: string): Readonly<Record<string, Scenario>> {
  const newer = sdk.startsWith('0.3.');
  return {
    idle: {
      expected: parked,
      start: ({ query }) => turnOver(query('rest', 'hello')),
    },
    'idle, a stdio MCP server': {
      expected: parked,
      start: ({ query }) => {
        const quiet = { type: 'stdio', command: process.execPath, args: [mcpStdio] };
        return turnOver(query('rest', 'hello', { options: { mcpServers: { quiet } } }));
      },
    },
    'idle, an HTTP MCP server': {
      expected: { verdict: 'protected', reasons: ['connection'] },
      start: async ({ query, mcp }) => {
        const quiet = { type: 'http', url: mcp.url };
        const talk = await turnOver(query('rest', 'hello', { options: { mcpServers: { quiet } } }));
        await until('the event stream is open', () => mcp.streams() > 0);
        return talk;
      },
    },
    'idle, another conversation of the project is busy': {
      expected: parked,
      start: ({ query }) => turnOver(query(BUSY_PROJECT, 'hello')),
    },
    'idle, a SessionEnd hook of 5 s': {
      expected: parked,
      start: ({ query, clay }) => {
        const folder = join(clay.projectPath('hooked'), '.claude');
        const hook = { type: 'command', command: 'sleep 5', timeout: 60 };
        mkdirSync(folder, { recursive: true });
        writeFileSync(join(folder, 'settings.json'), JSON.stringify({ hooks: { SessionEnd: [{ hooks: [hook] }] } }));
        // 0.2.92 cuts these hooks at 1.5 s, whatever their own timeout, unless it is told otherwise.
        return turnOver(query('hooked', 'hello', { env: { CLAUDE_CODE_SESSIONEND_HOOKS_TIMEOUT_MS: '60000' } }));
      },
    },
    'a newer process of the conversation': {
      expected: { verdict: 'reap', orphan: 'superseded' },
      start: ({ query }) => turnOver(query('rest', 'hello')),
    },
    'the conversation is deleted': {
      expected: { verdict: 'reap', orphan: 'deleted' },
      start: async ({ query }) => {
        const talk = await turnOver(query('rest', 'hello'));
        await talk.forget();
        return talk;
      },
    },
    [IGNORES_SIGTERM]: {
      expected: parked,
      start: ({ clay }) => clay.sham({ project: 'rest', sdk, start: { ignoreSigterm: true } }),
    },
    'streaming an answer': {
      expected: withStatus(sdk, 'busy', ['connection', 'turn', 'processing']),
      start: async ({ query }) => {
        const talk = await query(BUSY_PROJECT, script({ text: 'the end', until: 'streamed' }));
        return inTurn(talk, ({ text }) => text.includes('word'));
      },
    },
    'a Bash tool running': {
      expected: withStatus(sdk, 'busy', ['tool', 'turn', 'processing']),
      start: async (world) => {
        const command = `until [ -e ${buildDone(world)} ]; do sleep 0.2; done`;
        const steps = script(
          { tool: 'Bash', input: { command, description: 'build', timeout: 600_000 } },
          { text: 'it is built' },
        );
        return withToolShell(await world.query(BUSY_PROJECT, steps, { options: bypass }));
      },
    },
    'a Bash tool in the background, turn over': {
      expected: { verdict: 'protected', reasons: ['tool'] },
      start: async ({ query }) => {
        const input = { command: 'tail -f /dev/null', description: 'server', run_in_background: true };
        const talk = await turnOver(query('rest', script({ tool: 'Bash', input }), { options: bypass }));
        return withToolShell(talk);
      },
    },
    'a permission prompt open': {
      expected: withStatus(sdk, 'waiting', ['turn', 'processing']),
      start: async ({ query, clay }) => {
        const input = { command: `touch ${join(clay.projectPath(BUSY_PROJECT), 'allowed')}`, description: 'x' };
        const talk = await query(BUSY_PROJECT, script({ tool: 'Bash', input }, { text: 'it is allowed' }));
        return inTurn(talk, ({ permissions }) => permissions.length > 0);
      },
    },
    'a question to the user open': {
      expected: withStatus(sdk, 'waiting', ['turn', 'processing']),
      start: async ({ query }) => {
        const talk = await query(BUSY_PROJECT, script(question, { text: 'it is answered' }));
        return inTurn(talk, ({ questions }) => questions.length > 0);
      },
    },
    'a cron entry that it set itself': {
      expected: { verdict: 'protected', reasons: ['scheduled'] },
      start: ({ query }) => turnOver(query('rest', script({ tool: 'CronCreate', input: yearly }), { options: bypass })),
    },
    'a cron entry of an earlier process of the conversation': {
      // Only the newer SDK takes them up again on resume.
      expected: newer ? { verdict: 'protected', reasons: ['scheduled'] } : parked,
      start: async ({ query }) => {
        const talk = await turnOver(query('rest', script({ tool: 'CronCreate', input: yearly }), { options: bypass }));
        await end(talk);
        return turnOver(talk.resume('hello again'), 2);
      },
    },
    'the durable cron entry of another conversation is in its care': {
      expected: { verdict: 'protected', reasons: ['scheduled'] },
      start: async ({ query, clay }) => {
        const input = { ...yearly, durable: true };
        const first = await turnOver(query('durable', script({ tool: 'CronCreate', input }), { options: bypass }));
        await end(first);
        const talk = await turnOver(query('durable', 'hello'));
        const lock = join(clay.projectPath('durable'), '.claude/scheduled_tasks.lock');
        await until('it has the lock', () => existsSync(lock) && readFileSync(lock, 'utf8').includes(`${talk.pid}`));
        return talk;
      },
    },
    'a permission prompt in a turn that it started itself': {
      expected: withStatus(sdk, 'waiting', ['turn']),
      start: async (world) => {
        const input = { command: `touch ${join(world.clay.projectPath('unasked'), 'x')}`, description: 'x' };
        const talk = await startsItself(world, { tool: 'Bash', input });
        return inTurn(talk, ({ turns, permissions }) => turns === 1 && permissions.length > 0);
      },
    },
    'a question to the user in a turn that it started itself': {
      expected: withStatus(sdk, 'waiting', ['turn']),
      start: async (world) => {
        const talk = await startsItself(world, question);
        return inTurn(talk, ({ turns, questions }) => turns === 1 && questions.length > 0);
      },
    },
    ...(newer ? onlyNewer : {}),
  };
}

/** What the older SDK has not, or does not do after its turn. */
const onlyNewer: Readonly<Record<string, Scenario>> = {
  'a wake-up that it set itself': {
    expected: { verdict: 'protected', reasons: ['scheduled'] },
    start: ({ query }) => {
      const input = { delaySeconds: 3000, reason: 'the build', prompt: 'look again' };
      return turnOver(query('rest', script({ tool: 'ScheduleWakeup', input }), { options: bypass }));
    },
  },
  'an agent in the background, turn over': {
    expected: { verdict: 'protected', reasons: ['connection', 'busy'] },
    start: ({ query }) => {
      const prompt = script({ text: 'the agent is done', until: 'agent' });
      const input = { description: 'work', prompt, subagent_type: 'general-purpose', run_in_background: true };
      return turnOver(query('rest', script({ tool: 'Agent', input }), { options: bypass }));
    },
  },
  'an agent in the background asks for permission, turn over': {
    expected: { verdict: 'protected', reasons: ['waiting'] },
    start: async ({ query, clay }) => {
      const touch = { command: `touch ${join(clay.projectPath('unasked'), 'x')}`, description: 'x' };
      const prompt = script({ tool: 'Bash', input: touch });
      const input = { description: 'work', prompt, subagent_type: 'general-purpose', run_in_background: true };
      const talk = await turnOver(query('unasked', script({ tool: 'Agent', input })));
      // Where it asked before the turn was over, Clay has forgotten the request with the turn's result.
      const file = join(clay.userHome, '.claude/sessions', `${talk.pid}.json`);
      await until('the agent asks', () => readFileSync(file, 'utf8').includes('"waiting"'));
      return talk;
    },
  },
  'a Monitor, turn over': {
    expected: { verdict: 'protected', reasons: ['tool'] },
    start: async ({ query }) => {
      const input = { command: 'tail -f /dev/null', description: 'watch', timeout_ms: 600_000, persistent: false };
      const talk = await turnOver(query('rest', script({ tool: 'Monitor', input }), { options: bypass }));
      return withToolShell(talk);
    },
  },
};

/** A turn that nobody asked for: claude goes on by itself when what it left in the background has ended. */
async function startsItself({ query, clay }: World, then: Step): Promise<Talk> {
  const ended = join(clay.directory, randomUUID());
  const input = { command: `until [ -e ${ended} ]; do sleep 0.2; done`, description: 'wait', run_in_background: true };
  const talk = await query('unasked', script({ tool: 'Bash', input }, { text: 'it runs' }, then));
  await inTurn(talk, ({ permissions, turns }) => permissions.length > 0 || turns > 0);
  // The newer SDK sees that the command changes nothing, and does not ask.
  if ((await talk.state()).permissions.length > 0) await talk.answer('allow');
  await turnOver(talk);
  writeFileSync(ended, '');
  return talk;
}

async function end(talk: Talk): Promise<void> {
  kill(talk, 'SIGTERM');
  await until(`${talk.pid} is gone`, () => !talk.isAlive());
}

/** The turn that was just begun has ended in Clay's eyes. */
export async function turnOver(starting: Promise<Talk> | Talk, turns = 1): Promise<Talk> {
  const talk = await starting;
  await until(`turn ${turns} of ${talk.pid} is over`, async () => (await talk.state()).turns >= turns, 90_000);
  return talk;
}

async function inTurn(talk: Talk, condition: (state: ConversationState) => boolean): Promise<Talk> {
  let state: ConversationState | undefined;
  await until(
    () => `${talk.pid} is in its situation, unlike ${JSON.stringify(state)}`,
    async () => {
      state = await talk.state();
      return condition(state);
    },
    90_000,
  );
  return talk;
}

async function withToolShell(talk: Talk): Promise<Talk> {
  const ofItsOwn = (child: number): boolean => sessionOf(child) === child;
  await until(`${talk.pid} runs its tool`, () => childrenOf(talk.pid).some(ofItsOwn), 90_000);
  return talk;
}
