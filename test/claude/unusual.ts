import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Clay, Conversation, QueryOptions } from '../helpers/clay.ts';
import { waitFor } from '../helpers/wait-for.ts';
import type { HttpMcpServer } from './mcp-http.ts';
import { type ModelApi, script } from './model-api.ts';
import { BUSY_PROJECT, type Expected, inTurn, turnOver, withToolShell } from './scenarios.ts';
import type { TelemetrySink } from './telemetry.ts';

type World = {
  readonly clay: Clay;
  readonly api: ModelApi;
  readonly mcp: HttpMcpServer;
  readonly telemetry: TelemetrySink;
  readonly query: (
    project: string,
    text: string,
    more?: Pick<QueryOptions, 'options' | 'env'>,
  ) => Promise<Conversation>;
};

type Situation = {
  readonly expected: Expected;
  /** Resolves when the process is in its situation. */
  readonly start: (world: World) => Promise<Conversation>;
};

/** Have a connection now and then, so that a one-shot command sees one, or none. */
export const RECONNECTS = 'idle, an HTTP MCP server that ends its event stream every second';
export const TELEMETRY = 'idle, telemetry is sent every second';
export const WORKTREE = 'idle, in a worktree that it entered';

/** On a machine with a load of 30 per core, a claude takes a minute to start. */
const PATIENCE_MS = 180_000;

const bypass = { permissionMode: 'bypassPermissions', allowDangerouslySkipPermissions: true };
const parked: Expected = { verdict: 'reap', orphan: 'parked' };

/** An MCP server whose tools never answer. */
const mcpTools = {
  options: {
    ...bypass,
    mcpServers: {
      tools: {
        type: 'stdio',
        command: process.execPath,
        args: [fileURLToPath(new URL('mcp-tools.js', import.meta.url))],
      },
    },
  },
};

/** Where it left a file that is in no commit. */
export const worktreeFile = (clay: Clay): string =>
  join(clay.projectPath('worktree'), '.claude/worktrees/side/kept.txt');

/** A command that its release asks for permission to run. */
const askedFor = ({ directory }: Clay) => ({
  tool: 'Bash',
  input: { command: `touch ${join(directory, 'asked-for')}`, description: 'x' },
});

/** The id of the first answer in a transcript, to which a conversation can be rewound, if it is written yet. */
function firstAnswer({ userHome }: Clay, sessionId: string | null): string | undefined {
  const folder = join(userHome, '.claude/projects');
  const file = readdirSync(folder)
    .map((name) => join(folder, name, `${sessionId}.jsonl`))
    .find(existsSync);
  const lines = file === undefined ? [] : readFileSync(file, 'utf8').trim().split('\n');
  const records = lines.map((line) => JSON.parse(line) as { type: string; uuid: string });
  return records.find(({ type }) => type === 'assistant')?.uuid;
}

/** Another process that goes on behind the first answer of a conversation with two, as after a rewind in Clay. */
async function rewound({ clay, query }: World, slug: string, text: string): Promise<Conversation> {
  const talk = await turnOver(query(slug, 'hello'));
  await talk.send('and more');
  const { sessionId } = await (await turnOver(talk, 2)).state();
  // The transcript may be written after the turn's end is told.
  const answer = await waitFor('its answer is in the transcript', () => firstAnswer(clay, sessionId), PATIENCE_MS);
  return query(slug, text, { options: { resume: sessionId, resumeSessionAt: answer } });
}

const untilReleased = (file: string): string => `until [ -e ${file} ]; do sleep 0.2; done`;

function hookSettings(path: string, event: string, command: string, more: object = {}): void {
  mkdirSync(join(path, '.claude'), { recursive: true });
  const hook = { type: 'command', command, timeout: 600, ...more };
  writeFileSync(join(path, '.claude/settings.json'), JSON.stringify({ hooks: { [event]: [{ hooks: [hook] }] } }));
}

async function inJournal(talk: Conversation, type: string): Promise<void> {
  const isWritten = async (): Promise<boolean> => {
    const { journal } = await talk.state();
    return journal !== null && readFileSync(journal, 'utf8').includes(`"type":"${type}"`);
  };
  await waitFor(`${type} is in the journal of ${talk.pid}`, isWritten, PATIENCE_MS);
}

/** What the transcript gets from now on is none of the last turn any more. */
async function longAfterTurn(talk: Conversation): Promise<void> {
  const { journal } = await talk.state();
  const { mtimeMs } = statSync(journal ?? '');
  await waitFor('its last turn is long over', () => Date.now() > mtimeMs + 12_000, PATIENCE_MS);
}

async function project(clay: Clay, slug: string, path?: string): Promise<string> {
  await clay.addProject(slug, path ?? clay.projectPath(slug));
  return path ?? clay.projectPath(slug);
}

/** What goes on in a process seldom, but then for long; 0.3.330 writes its status down, 0.2.92 does not. */
export function unusualSituations(sdk: string): Readonly<Record<string, Situation>> {
  const newer = sdk.startsWith('0.3.');
  const inTurnWith = (status: 'busy' | 'waiting'): Expected => ({
    verdict: 'protected',
    reasons: ['turn', 'processing', ...(newer ? [status] : [])],
  });
  return {
    'the API is overloaded, the next try is a minute away': {
      expected: inTurnWith('busy'),
      start: async ({ query, api }) => {
        const before = api.refusals();
        const talk = await query(BUSY_PROJECT, script({ refuse: 529, retryAfterSeconds: 60 }));
        await waitFor('the API has refused', () => api.refusals() > before, PATIENCE_MS);
        return talk;
      },
    },
    [RECONNECTS]: {
      expected: parked,
      start: async ({ query, mcp }) => {
        const ends = { type: 'http', url: `${mcp.url}?seconds=1` };
        const talk = await turnOver(query('rest', 'hello', { options: { mcpServers: { ends } } }));
        const before = mcp.opened();
        await waitFor('it opens the stream again', () => mcp.opened() > before, PATIENCE_MS);
        return talk;
      },
    },
    [TELEMETRY]: {
      expected: parked,
      start: async ({ query, telemetry }) => {
        const env = { ...telemetry.env, DISABLE_TELEMETRY: null, CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: null };
        const talk = await turnOver(query('rest', 'hello', { env }));
        const before = telemetry.connections();
        await waitFor('it sends again', () => telemetry.connections() > before, PATIENCE_MS);
        return talk;
      },
    },
    'a Stop hook runs': {
      expected: inTurnWith('busy'),
      start: async ({ query, clay }) => {
        const path = await project(clay, 'stop-hook');
        hookSettings(path, 'Stop', `touch ${path}/began; ${untilReleased(`${path}/ended`)}`);
        const talk = await query('stop-hook', 'hello');
        await waitFor('the hook runs', () => existsSync(join(path, 'began')), PATIENCE_MS);
        return talk;
      },
    },
    'an asynchronous Stop hook runs, turn over': {
      expected: { verdict: 'protected', reasons: ['tool'] },
      start: async ({ query, clay }) => {
        const path = await project(clay, 'async-hook');
        hookSettings(path, 'Stop', `touch ${path}/began; ${untilReleased(`${path}/ended`)}`, { async: true });
        const talk = await turnOver(query('async-hook', 'hello'));
        await waitFor('the hook runs', () => existsSync(join(path, 'began')), PATIENCE_MS);
        return talk;
      },
    },
    'an asynchronous hook that wakes the conversation, turn over': {
      expected: { verdict: 'protected', reasons: ['tool'] },
      start: async ({ query, clay }) => {
        const path = await project(clay, 'wake-hook');
        // It wakes the conversation with status 2, and runs again after the turn that follows.
        const command = `[ -e ${path}/ended ] && exit 0; touch ${path}/began; ${untilReleased(`${path}/ended`)}; exit 2`;
        hookSettings(path, 'Stop', command, { async: true, asyncRewake: true });
        const talk = await turnOver(query('wake-hook', 'hello'));
        await waitFor('the hook runs', () => existsSync(join(path, 'began')), PATIENCE_MS);
        return talk;
      },
    },
    'a plan waits for approval': {
      expected: inTurnWith('waiting'),
      start: async ({ query }) => {
        const plan = { tool: 'ExitPlanMode', input: { plan: 'do it' } };
        const talk = await query(BUSY_PROJECT, script(plan), { options: { permissionMode: 'plan' } });
        return inTurn(talk, ({ permissions }) => permissions.length > 0);
      },
    },
    'an MCP server asks the user': {
      expected: inTurnWith('waiting'),
      start: async ({ query }) => {
        const talk = await query(BUSY_PROJECT, script({ tool: 'mcp__tools__ask', input: {} }), mcpTools);
        await inJournal(talk, 'elicitation_request');
        return talk;
      },
    },
    'an MCP tool call that the user stopped, and that goes on': {
      expected: parked,
      start: async ({ query }) => {
        const text = script({ tool: 'mcp__tools__compute', input: { percent: 0.2 } });
        const talk = await query('rest', text, mcpTools);
        await inJournal(talk, 'tool_executing');
        await talk.interrupt();
        return turnOver(talk);
      },
    },
    'a permission prompt, and Clay cannot write the journal': {
      expected: { verdict: 'protected', reasons: ['processing', ...(newer ? ['waiting'] : [])] },
      start: async ({ query, clay }) => {
        const talk = await turnOver(query(BUSY_PROJECT, 'hello'));
        await talk.makeJournalReadOnly();
        await longAfterTurn(talk);
        await talk.send(script(askedFor(clay)));
        return inTurn(talk, ({ permissions }) => permissions.length > 0);
      },
    },
    'a conversation that was rewound': {
      expected: parked,
      start: (world) => turnOver(rewound(world, 'rest', 'go on')),
    },
    'a conversation that was rewound, and a permission prompt after it': {
      expected: inTurnWith('waiting'),
      start: async (world) => {
        const talk = await rewound(world, BUSY_PROJECT, script(askedFor(world.clay)));
        return inTurn(talk, ({ permissions }) => permissions.length > 0);
      },
    },
    'an answer that the user stopped': {
      expected: parked,
      start: async ({ query }) => {
        const talk = await query('rest', script({ text: 'the end', waitFor: 'never' }));
        await inTurn(talk, ({ text }) => text.includes('word'));
        await talk.interrupt();
        return turnOver(talk);
      },
    },
    '/compact': {
      expected: parked,
      start: async ({ query }) => {
        const talk = await turnOver(query('rest', 'hello'));
        await talk.send('/compact');
        return turnOver(talk, 2);
      },
    },
    '/clear': {
      expected: parked,
      start: async ({ query }) => {
        const talk = await turnOver(query('rest', 'hello'));
        await talk.send('/clear');
        return turnOver(talk, 2);
      },
    },
    '/clear, and a permission prompt after it': {
      expected: inTurnWith('waiting'),
      start: async ({ query, clay }) => {
        const talk = await turnOver(query(BUSY_PROJECT, 'hello'));
        await talk.send('/clear');
        await turnOver(talk, 2);
        await talk.send(script(askedFor(clay)));
        return inTurn(talk, ({ permissions }) => permissions.length > 0);
      },
    },
    'a fork of a conversation': {
      expected: parked,
      start: async ({ query }) => {
        const talk = await turnOver(query('rest', 'hello'));
        const { sessionId } = await talk.state();
        return turnOver(query('rest', 'hello again', { options: { resume: sessionId, forkSession: true } }));
      },
    },
    'the user has not logged in': {
      expected: parked,
      start: ({ query }) => turnOver(query('rest', 'hello', { env: { ANTHROPIC_API_KEY: null } })),
    },
    'a message sent while a tool ran, turn over': {
      expected: parked,
      start: async ({ query, clay }) => {
        const ended = join(clay.directory, 'queued-ended');
        const input = { command: untilReleased(ended), description: 'wait', timeout: 600_000 };
        const talk = await withToolShell(await query('rest', script({ tool: 'Bash', input }), { options: bypass }));
        await talk.send('and another thing');
        writeFileSync(ended, '');
        return turnOver(talk);
      },
    },
    'a path of 240 characters': {
      expected: parked,
      start: async ({ query, clay }) => {
        // Claude shortens what it makes of a path from 200 characters on. Clay cannot open a project with more than 255.
        const parent = join(clay.directory, 'projects');
        await project(clay, 'long', join(parent, 'l'.repeat(100), 'o'.repeat(240 - 102 - parent.length)));
        return turnOver(query('long', 'hello'));
      },
    },
    'a path with spaces, behind a link': {
      expected: parked,
      start: async ({ query, clay }) => {
        const target = join(clay.directory, 'projects', 'with spaces é');
        mkdirSync(target);
        const link = join(clay.directory, 'projects', 'a link');
        symlinkSync(target, link);
        await project(clay, 'link', link);
        return turnOver(query('link', 'hello'));
      },
    },
    'the project was removed from Clay and from the disk': {
      expected: parked,
      start: async ({ query, clay }) => {
        const path = await project(clay, 'removed');
        const talk = await turnOver(query('removed', 'hello'));
        await clay.removeProject('removed');
        rmSync(path, { recursive: true });
        return talk;
      },
    },
    'the project was moved': {
      expected: parked,
      start: async ({ query, clay }) => {
        const path = await project(clay, 'moved');
        const talk = await turnOver(query('moved', 'hello'));
        renameSync(path, `${path}-away`);
        return talk;
      },
    },
    'the project was moved while a permission prompt is open': {
      expected: inTurnWith('waiting'),
      start: async ({ query, clay }) => {
        const path = await project(clay, 'moved-asking');
        const talk = await query('moved-asking', script(askedFor(clay)));
        await inTurn(talk, ({ permissions }) => permissions.length > 0);
        renameSync(path, `${path}-away`);
        return talk;
      },
    },
    'another project with the same folder name is busy': {
      expected: parked,
      start: async ({ query, clay }) => {
        await project(clay, 'dash', join(clay.directory, 'projects', 'one-name'));
        await project(clay, 'dot', join(clay.directory, 'projects', 'one.name'));
        const busy = await query('dot', script({ text: 'the end', waitFor: 'never' }));
        await inTurn(busy, ({ text }) => text.includes('word'));
        return turnOver(query('dash', 'hello'));
      },
    },
    '300 skills': {
      expected: parked,
      start: async ({ query, clay }) => {
        const path = await project(clay, 'skills');
        for (let number = 0; number < 300; number++) {
          const folder = join(path, '.claude/skills', `skill-${number}`);
          mkdirSync(folder, { recursive: true });
          const head = `name: skill-${number}\ndescription: Does the thing number ${number}.`;
          writeFileSync(join(folder, 'SKILL.md'), `---\n${head}\n---\n\n${'Some words. '.repeat(200)}\n`);
        }
        return turnOver(query('skills', 'hello'));
      },
    },
    ...(newer
      ? {
          'an agent in the background waits for its next try, turn over': {
            expected: { verdict: 'protected', reasons: ['busy'] },
            start: async ({ query, api }) => {
              const before = api.refusals();
              const prompt = script({ refuse: 529, retryAfterSeconds: 60 });
              const input = { description: 'work', prompt, subagent_type: 'general-purpose', run_in_background: true };
              const talk = await turnOver(query('rest', script({ tool: 'Agent', input }), { options: bypass }));
              await waitFor('the API has refused', () => api.refusals() > before, PATIENCE_MS);
              return talk;
            },
          } satisfies Situation,
          [WORKTREE]: {
            expected: parked,
            start: async ({ query, clay }) => {
              const path = await project(clay, 'worktree');
              const git = (...args: string[]) => execFileSync('git', ['-C', path, ...args]);
              git('init', '-q');
              git('-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-q', '--allow-empty', '-m', 'first');
              const enter = { tool: 'EnterWorktree', input: { name: 'side' } };
              const write = { tool: 'Bash', input: { command: 'echo kept > kept.txt', description: 'write' } };
              return turnOver(query('worktree', script(enter, write), { options: bypass }));
            },
          } satisfies Situation,
        }
      : {}),
  };
}
