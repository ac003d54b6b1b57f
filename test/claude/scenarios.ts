import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { compareReleases } from '../../src/claude/release.ts';
import type { Clay, Conversation, ConversationState, FakeClaude } from '../helpers/clay.ts';
import type { ProcessReport } from '../helpers/cli.ts';
import { childrenOf, kill, sessionOf } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
import type { HttpMcpServer } from './mcp-http.ts';
import { type ModelApi, type Step, script } from './model-api.ts';

export type World = {
  readonly sdk: string;
  readonly clay: Clay;
  readonly api: ModelApi;
  readonly mcp: HttpMcpServer;
  /** The names of the tools that this release offers. */
  readonly tools: readonly string[];
  readonly query: (project: string, text: string, more?: QueryExtras) => Promise<Conversation>;
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
  /** Tools of Claude without which it cannot be made; of several names in one string, one is enough. */
  readonly needs?: readonly string[];
  /** Why this release cannot be brought into the situation. */
  readonly notMade?: string | null;
  /** Resolves when the process is in its situation. */
  readonly start: (world: World) => Promise<Conversation | FakeClaude>;
};

/** A situation that a release cannot be brought into, as its own answer shows. The message says why. */
export class NotMadeError extends Error {}

/** What differs between releases and decides what can be said of a process; measured on all of `TESTED_SDKS`. */
export type Traits = {
  /** $HOME/.claude/sessions/PID.json; without it, nothing ties a process to its conversation. */
  readonly sessionFile: boolean;
  /** `status` in the session file: `busy` in a turn, `waiting` while the user has to answer, else `idle`. */
  readonly status: boolean;
  /** Keeps a connection to the API open for minutes after a turn. */
  readonly keepsConnection: boolean;
  /** May take up cron entries of an earlier process of the conversation; known not to be so up to 0.2.92. */
  readonly resumesCron: boolean;
  /** A turn is over while an agent that it started in the background is at work. */
  readonly turnLeavesAgents: boolean;
};

export function traitsOf(sdk: string): Traits {
  const isSince = (release: string): boolean => (compareReleases(sdk, release) ?? 0) >= 0;
  return {
    sessionFile: isSince('0.2.92'),
    status: isSince('0.3.287'),
    keepsConnection: isSince('0.2.118'),
    resumesCron: isSince('0.2.93'),
    turnLeavesAgents: isSince('0.3.243'),
  };
}

export const IDLE_PROJECTS = ['rest', 'hooked', 'durable', 'unasked', 'asks', 'alarms', 'resumed'] as const;
export const BUSY_PROJECT = 'busy';
export const IGNORES_SIGTERM = 'ignores SIGTERM (claude)';

/** A claude needs a second of CPU to start, which takes a minute beside twelve others on a busy core. */
const PATIENCE_MS = 180_000;

const bypass = { permissionMode: 'bypassPermissions', allowDangerouslySkipPermissions: true };
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
const backgroundAgent = { description: 'work', subagent_type: 'general-purpose', run_in_background: true };
const mcpStdio = fileURLToPath(new URL('mcp-stdio.js', import.meta.url));

/** Protected for these reasons, and for what it says itself in the session file of a release that has a `status`. */
function protectedBy(traits: Traits, reasons: readonly string[], status?: 'busy' | 'waiting'): Expected {
  return { verdict: 'protected', reasons: status && traits.status ? [...reasons, status] : reasons };
}

/** The file whose existence ends the Bash tool that runs in the foreground. */
export function buildDone({ clay }: Pick<World, 'clay'>): string {
  return join(clay.projectPath(BUSY_PROJECT), 'build-done');
}

export function scenarios(sdk: string): Readonly<Record<string, Scenario>> {
  const traits = traitsOf(sdk);
  // Where nothing ties a process to its conversation, it is never more than parked.
  const parked: Expected = { verdict: 'reap', orphan: 'parked' };
  const turnWaits = traits.turnLeavesAgents ? null : 'its turn stays open until the agent is done';
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
      expected: protectedBy(traits, ['connection']),
      start: async ({ query, mcp }) => {
        const quiet = { type: 'http', url: mcp.url };
        const talk = await turnOver(query('rest', 'hello', { options: { mcpServers: { quiet } } }));
        await waitFor('the event stream is open', () => mcp.streams() > 0, PATIENCE_MS);
        return talk;
      },
    },
    'idle, another conversation of the project is busy': {
      expected: traits.sessionFile ? parked : protectedBy(traits, ['processing']),
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
      expected: traits.sessionFile ? { verdict: 'reap', orphan: 'superseded' } : parked,
      start: ({ query }) => turnOver(query('rest', 'hello')),
    },
    'the conversation is deleted': {
      expected: traits.sessionFile ? { verdict: 'reap', orphan: 'deleted' } : parked,
      start: async ({ query }) => {
        const talk = await turnOver(query('rest', 'hello'));
        await talk.deleteConversation();
        return talk;
      },
    },
    [IGNORES_SIGTERM]: {
      expected: parked,
      start: ({ clay }) => {
        const start = { ignoreSigterm: true, sessionFile: traits.sessionFile };
        return clay.spawnClaude({ project: 'rest', sdk, start });
      },
    },
    'streaming an answer': {
      expected: protectedBy(traits, ['connection', 'turn', 'processing'], 'busy'),
      start: async ({ query }) => {
        const talk = await query(BUSY_PROJECT, script({ text: 'the end', waitFor: 'streamed' }));
        return inTurn(talk, ({ text }) => text.includes('word'));
      },
    },
    'a Bash tool running': {
      expected: protectedBy(traits, ['tool', 'turn', 'processing'], 'busy'),
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
      expected: protectedBy(traits, ['tool']),
      start: async ({ query }) => {
        const input = { command: 'tail -f /dev/null', description: 'server', run_in_background: true };
        const talk = await turnOver(query('rest', script({ tool: 'Bash', input }), { options: bypass }));
        return withToolShell(talk);
      },
    },
    'a permission prompt open': {
      expected: protectedBy(traits, ['turn', 'processing'], 'waiting'),
      start: async ({ query, clay }) => {
        const input = { command: `touch ${join(clay.projectPath(BUSY_PROJECT), 'allowed')}`, description: 'x' };
        const talk = await query(BUSY_PROJECT, script({ tool: 'Bash', input }, { text: 'it is allowed' }));
        return inTurn(talk, ({ permissions }) => permissions.length > 0);
      },
    },
    'a question to the user open': {
      expected: protectedBy(traits, ['turn', 'processing'], 'waiting'),
      start: async ({ query }) => {
        const talk = await query(BUSY_PROJECT, script(question, { text: 'it is answered' }));
        return inTurn(talk, ({ questions }) => questions.length > 0);
      },
    },
    'a cron entry that it set itself': {
      needs: ['CronCreate'],
      expected: protectedBy(traits, ['scheduled']),
      start: ({ query }) =>
        turnOver(query('alarms', script({ tool: 'CronCreate', input: yearly }), { options: bypass })),
    },
    'a cron entry of an earlier process of the conversation': {
      needs: ['CronCreate'],
      expected: traits.resumesCron ? protectedBy(traits, ['scheduled']) : parked,
      start: async ({ query, clay }) => {
        const talk = await turnOver(
          query('resumed', script({ tool: 'CronCreate', input: yearly }), { options: bypass }),
        );
        // One that is killed while it writes its lock leaves half of it behind, which protects whoever comes after.
        const lock = join(clay.projectPath('resumed'), '.claude/scheduled_tasks.lock');
        const isWritten = (): boolean => existsSync(lock) && readFileSync(lock, 'utf8').endsWith('}');
        for (let waits = 0; waits < 50 && !isWritten(); waits++) await sleep(100);
        await end(talk);
        return turnOver(talk.resume('hello again'), 2);
      },
    },
    'the durable cron entry of another conversation is in its care': {
      needs: ['CronCreate'],
      expected: protectedBy(traits, ['scheduled']),
      start: async ({ query, clay }) => {
        const input = { ...yearly, durable: true };
        const first = await turnOver(query('durable', script({ tool: 'CronCreate', input }), { options: bypass }));
        const { toolResults } = await first.state();
        if (toolResults.some((text) => text.includes('unexpected parameter `durable`'))) {
          throw new NotMadeError('its cron entries are never durable');
        }
        await end(first);
        const talk = await turnOver(query('durable', 'hello'));
        const lock = join(clay.projectPath('durable'), '.claude/scheduled_tasks.lock');
        const hasLock = (): boolean => existsSync(lock) && readFileSync(lock, 'utf8').includes(`${talk.pid}`);
        await waitFor('it has the lock', hasLock, PATIENCE_MS);
        return talk;
      },
    },
    'a permission prompt in a turn that it started itself': {
      expected: protectedBy(traits, ['turn'], 'waiting'),
      start: async (world) => {
        const input = { command: `touch ${join(world.clay.projectPath('unasked'), 'x')}`, description: 'x' };
        const talk = await startsItself(world, 'unasked', { tool: 'Bash', input });
        return inTurn(talk, ({ turns, permissions }) => turns === 1 && permissions.length > 0);
      },
    },
    'a question to the user in a turn that it started itself': {
      expected: protectedBy(traits, ['turn'], 'waiting'),
      start: async (world) => {
        const talk = await startsItself(world, 'asks', question);
        return inTurn(talk, ({ turns, questions }) => turns === 1 && questions.length > 0);
      },
    },
    'a wake-up that it set itself': {
      needs: ['ScheduleWakeup'],
      expected: protectedBy(traits, ['scheduled']),
      start: async ({ query }) => {
        const input = { delaySeconds: 3000, reason: 'the build', prompt: 'look again' };
        // 0.3.287 wants `noop`, older ones know no such parameter.
        const calls = [input, { ...input, noop: false }].map((one) => ({ tool: 'ScheduleWakeup', input: one }));
        const talk = await turnOver(query('alarms', script(...calls), { options: bypass }));
        const answers = (await talk.state()).toolResults;
        if (answers.some((text) => text.startsWith('Next wakeup scheduled'))) return talk;
        const answer = answers.find((text) => text.startsWith('Wakeup')) ?? answers[0] ?? 'nothing';
        throw new NotMadeError(`its tool ScheduleWakeup answers "${answer.split('.')[0]}"`);
      },
    },
    'an agent in the background, turn over': {
      needs: ['Agent Task'],
      notMade: turnWaits,
      expected: protectedBy(traits, ['connection'], 'busy'),
      start: ({ query, tools }) => {
        const prompt = script({ text: 'the agent is done', waitFor: 'agent' });
        const agent = { tool: agentTool(tools), input: { ...backgroundAgent, prompt } };
        return turnOver(query('rest', script(agent), { options: bypass }));
      },
    },
    'an agent in the background asks for permission, turn over': {
      needs: ['Agent Task'],
      notMade: turnWaits,
      expected: protectedBy(traits, ['processing'], 'waiting'),
      start: async ({ query, clay, tools, api }) => {
        const touch = { command: `touch ${join(clay.projectPath('unasked'), 'x')}`, description: 'x' };
        // A request from before the end of the turn is forgotten by Clay with the turn's result.
        const prompt = script({ tool: 'Bash', input: touch, waitFor: 'turn over' });
        const agent = { tool: agentTool(tools), input: { ...backgroundAgent, prompt } };
        const talk = await turnOver(query('unasked', script(agent)));
        api.release('turn over');
        return inTurn(talk, ({ permissions }) => permissions.length > 0);
      },
    },
    'a Monitor, turn over': {
      needs: ['Monitor'],
      expected: protectedBy(traits, ['tool']),
      start: async ({ query }) => {
        const input = { command: 'tail -f /dev/null', description: 'watch', timeout_ms: 600_000, persistent: false };
        const talk = await turnOver(query('rest', script({ tool: 'Monitor', input }), { options: bypass }));
        return withToolShell(talk);
      },
    },
  };
}

/** `Agent` was called `Task` in older releases. */
const agentTool = (tools: readonly string[]): string => (tools.includes('Agent') ? 'Agent' : 'Task');

/** A turn that nobody asked for: claude goes on by itself when what it left in the background has ended. */
async function startsItself({ query, clay }: World, project: string, then: Step): Promise<Conversation> {
  const ended = join(clay.directory, randomUUID());
  const input = { command: `until [ -e ${ended} ]; do sleep 0.2; done`, description: 'wait', run_in_background: true };
  const talk = await query(project, script({ tool: 'Bash', input }, { text: 'it runs' }, then));
  await inTurn(talk, ({ permissions, turns }) => permissions.length > 0 || turns > 0);
  // The newer SDK sees that the command changes nothing, and does not ask.
  if ((await talk.state()).permissions.length > 0) await talk.answer('allow');
  await turnOver(talk);
  writeFileSync(ended, '');
  return talk;
}

async function end(talk: Conversation): Promise<void> {
  kill(talk, 'SIGTERM');
  await waitFor(`${talk.pid} is gone`, () => !talk.isAlive(), PATIENCE_MS);
}

/** The turn that was just begun has ended in Clay's eyes. */
export async function turnOver(starting: Promise<Conversation> | Conversation, turns = 1): Promise<Conversation> {
  const talk = await starting;
  await waitFor(`turn ${turns} of ${talk.pid} is over`, async () => (await talk.state()).turns >= turns, PATIENCE_MS);
  return talk;
}

export async function inTurn(
  talk: Conversation,
  condition: (state: ConversationState) => boolean,
): Promise<Conversation> {
  let state: ConversationState | undefined;
  await waitFor(
    () => `${talk.pid} is in its situation, unlike ${JSON.stringify(state)}`,
    async () => {
      state = await talk.state();
      return condition(state);
    },
    PATIENCE_MS,
  );
  return talk;
}

export async function withToolShell(talk: Conversation): Promise<Conversation> {
  const ofItsOwn = (child: number): boolean => sessionOf(child) === child;
  await waitFor(`${talk.pid} runs its tool`, () => childrenOf(talk.pid).some(ofItsOwn), PATIENCE_MS);
  return talk;
}
