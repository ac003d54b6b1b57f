import { existsSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Clay, type Conversation, type FakeClaude, startClay } from '../helpers/clay.ts';
import { type ProcessReport, type Report, runCliJson, startService } from '../helpers/cli.ts';
import { childrenOf } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { inTurns } from './in-turns.ts';
import { type HttpMcpServer, startHttpMcpServer } from './mcp-http.ts';
import { environmentFor, type ModelApi, startModelApi } from './model-api.ts';
import {
  BUSY_PROJECT,
  buildDone,
  type Expected,
  IDLE_PROJECTS,
  IGNORES_SIGTERM,
  NotMadeError,
  type Scenario,
  scenarios,
  traitsOf,
  turnOver,
  type World,
} from './scenarios.ts';

/** Waits as short as they can be told apart; `kill_after` is longer than the hook of 5 s, also on a busy machine. */
const WAITS = ['--min-age', '1s', '--grace', '1s', '--parked-after', '2s', '--kill-after', '15s'];

/** All at once would take the CPU from each other: the start of one takes about 1 s of CPU. */
const STARTED_AT_ONCE = 6;

/** What was seen of one situation. */
export type SeenSituation =
  | { readonly notMade: string }
  | { readonly failed: string }
  | {
      readonly sockets: number;
      readonly connections: number;
      readonly children: number;
      readonly verdict: ProcessReport['verdict'];
      readonly orphan: ProcessReport['orphan'];
      readonly reasons: readonly string[];
      readonly isExpected: boolean;
    };

/** What was seen of one release of the Agent SDK, for docs/releases.md. */
export type SeenRelease = {
  readonly sdk: string;
  /** The program that runs, as /proc/PID/exe names it. */
  readonly program: string;
  /** The fields of the session file at rest; null: there is none. */
  readonly sessionFields: readonly string[] | null;
  /** The values of `status` in the session files. */
  readonly statuses: readonly string[];
  readonly keepsConnection: boolean;
  readonly situations: Readonly<Record<string, SeenSituation>>;
};

/**
 * The situations of one Agent SDK, side by side in one Clay, judged and reaped by the program as a user runs it.
 * `module`: the file URL of the SDK; `resultFile`: where to write what was seen, as JSON.
 */
export function describeSdk(sdk: string, module: string, resultFile?: string): void {
  describe(`real claude processes of Agent SDK ${sdk}`, () => {
    const traits = traitsOf(sdk);
    const situations = scenarios(sdk);
    const started = new Map<string, Conversation | FakeClaude>();
    const seen: Record<string, SeenSituation> = {};
    let program = '';
    let sessionFields: readonly string[] | null = null;
    let keepsConnection = false;
    const statuses = new Set<string>();
    let api: ModelApi;
    let mcp: HttpMcpServer;
    let clay: Clay;
    let newer: Conversation;
    let ofMcpServer: readonly number[];

    const common = (): string[] => ['--clay-home', clay.home, ...WAITS];
    const find = (name: string): Conversation | FakeClaude => {
      const found = started.get(name);
      if (!found) throw new Error(`not started: ${name}`);
      return found;
    };
    const talk = (name: string): Conversation => find(name) as Conversation;
    const made = (): [string, Scenario][] => Object.entries(situations).filter(([name]) => started.has(name));
    const expectedOf = (verdict: Expected['verdict']): string[] =>
      made().flatMap(([name, { expected }]) => (expected.verdict === verdict ? [name] : []));
    const readSession = (pid: number): Readonly<Record<string, unknown>> | null => {
      const file = join(clay.userHome, '.claude/sessions', `${pid}.json`);
      return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>) : null;
    };

    // An API connection that waits for its next request looks like one at work: 300 s long in 0.3.330, 4 s in 0.2.92. On a busy
    // machine, all situations are made only after that.
    const isConnectedLater = async (pid: number): Promise<boolean> => {
      await sleep(15_000);
      const { report } = await runCliJson(['status', ...common()], { trueAge: true });
      return reported(report, pid)?.reasons.some(({ code }) => code === 'connection') === true;
    };

    beforeAll(async () => {
      [api, mcp] = await Promise.all([startModelApi(), startHttpMcpServer()]);
      clay = await startClay({
        projects: [...IDLE_PROJECTS, BUSY_PROJECT],
        env: environmentFor(api),
      });
      const query = (project: string, text: string, more = {}): Promise<Conversation> =>
        clay.startConversation({ project, text, sdk: module, ...more });
      // The first one tells which tools this release has.
      const first = await turnOver(query('rest', 'hello'));
      const tools = (await first.state()).tools ?? [];
      const world: World = { sdk, clay, api, mcp, tools, query };
      started.set('idle', first);
      const connected = isConnectedLater(first.pid);
      await inTurns(Object.entries(situations), STARTED_AT_ONCE, async ([name, situation]) => {
        const notMade = whyNotMade(situation, tools);
        if (notMade !== null) seen[name] = { notMade };
        if (notMade !== null || name === 'idle') return;
        try {
          started.set(name, await situation.start(world));
        } catch (error) {
          const { message } = error as Error;
          seen[name] = error instanceof NotMadeError ? { notMade: message } : { failed: message };
        }
      });
      newer = await turnOver(talk('a newer process of the conversation').resume('hello again'), 2);
      ofMcpServer = childrenOf(find('idle, a stdio MCP server').pid);
      keepsConnection = await connected;
      program = basename(readlinkSync(`/proc/${first.pid}/exe`));
    });

    afterAll(async () => {
      await clay?.stop();
      await Promise.all([api?.stop(), mcp?.stop()]);
      if (resultFile === undefined) return;
      const release = {
        sdk,
        program,
        sessionFields,
        statuses: [...statuses].sort(),
        keepsConnection,
        situations: seen,
      };
      writeFileSync(resultFile, JSON.stringify(release satisfies SeenRelease));
    });

    test('each situation that this release offers can be made', () => {
      const failed = Object.entries(seen).filter(([, situation]) => 'failed' in situation);
      expect(Object.fromEntries(failed)).toEqual({});
      expect(ofMcpServer).toHaveLength(1);
    });

    test('status gives each situation the expected verdict', async () => {
      if (traits.keepsConnection) expect(keepsConnection).toBe(true);
      sessionFields = Object.keys(readSession(find('idle').pid) ?? {});
      if (sessionFields.length === 0) sessionFields = null;
      api.closeIdle();
      let differing: unknown;
      const judged = await waitFor(
        () => `all are judged as expected, unlike ${JSON.stringify(differing)}`,
        async () => {
          const { report, status, stderr } = await runCliJson(['status', ...common()], { trueAge: true });
          // The newest release may be newer than the list.
          const errors = stderr.split('\n').filter((line) => line !== '' && !line.includes(' is newer than '));
          expect({ status, errors }).toEqual({ status: 0, errors: [] });
          for (const [name, { expected }] of made()) {
            const found = reported(report, find(name).pid);
            if (found) seen[name] = { ...row(found), isExpected: fits(report, name, expected) };
            const session = readSession(find(name).pid);
            if (name !== IGNORES_SIGTERM && typeof session?.status === 'string') statuses.add(session.status);
          }
          // They come to rest at their own pace; but not once may one that is at work be judged an orphan.
          for (const name of expectedOf('protected')) expect(verdict(report, name), name).toBe('protected');
          const others = made().filter(([name, { expected }]) => !fits(report, name, expected));
          differing = others.map(([name]) => ({ name, ...reported(report, find(name).pid) }));
          return others.length === 0 && reported(report, newer.pid)?.verdict === 'reap' && report;
        },
        120_000,
      );
      expect(reported(judged, newer.pid)).toMatchObject({ orphan: 'parked', sdkVersion: sdk });
      expect(sessionFields !== null).toBe(traits.sessionFile);
      expect([statuses.has('busy'), statuses.has('waiting')]).toEqual([traits.status, traits.status]);
    }, 150_000);

    const verdict = (report: Report, name: string): string | undefined => reported(report, find(name).pid)?.verdict;
    const fits = (report: Report, name: string, expected: Expected): boolean => {
      const found = reported(report, find(name).pid);
      if (found?.verdict !== expected.verdict) return false;
      if (expected.verdict !== 'protected') return found.orphan === expected.orphan;
      const codes = found.reasons.map(({ code }) => code);
      return expected.reasons.every((code) => codes.includes(code));
    };

    test('cleanup ends the idle ones and no others', async () => {
      const idle = new Map([...expectedOf('reap').map((name) => [name, find(name)] as const), ['newer', newer]]);
      const outcomes = new Map<string, string | undefined>();
      // An idle 0.3.330 is not quite still, and one that stirs while it is watched is left for the next time.
      await waitFor(
        () => `all idle ones are gone, of which are so far ${JSON.stringify([...outcomes])}`,
        async () => {
          const { report, status } = await runCliJson(['cleanup', '--yes', ...common()], { trueAge: true });
          expect(status).toBe(0);
          for (const name of expectedOf('protected')) expect(verdict(report, name), name).toBe('protected');
          for (const [name, { pid }] of idle) {
            const outcome = reported(report, pid)?.outcome;
            if (outcome) outcomes.set(name, outcome);
          }
          return [...idle.values()].every((one) => !one.isAlive());
        },
        90_000,
      );
      const expected = [...idle.keys()].map((name) => [name, name === IGNORES_SIGTERM ? 'killed' : 'terminated']);
      expect(Object.fromEntries(outcomes)).toEqual(Object.fromEntries(expected));
      expect(ofMcpServer.filter((pid) => existsSync(`/proc/${pid}`))).toEqual([]);
      for (const name of expectedOf('protected')) expect(find(name).isAlive(), name).toBe(true);
    }, 150_000);

    test('processes at work finish their turn', async () => {
      api.release('streamed');
      writeFileSync(buildDone({ clay }), '');
      await talk('a permission prompt open').answer('allow');
      await talk('a question to the user open').answer({ 'Which?': 'A' });
      const last = {
        'streaming an answer': 'the end',
        'a Bash tool running': 'it is built',
        'a permission prompt open': 'it is allowed',
        'a question to the user open': 'it is answered',
      };
      for (const [name, text] of Object.entries(last)) {
        const { processing, text: said } = await (await turnOver(talk(name))).state();
        expect({ processing, said }, name).toEqual({ processing: false, said: expect.stringMatching(`${text}$`) });
      }
      expect(existsSync(join(clay.projectPath(BUSY_PROJECT), 'allowed'))).toBe(true);
    });

    test('run ends an idle one whose only connection is unchanged for stale_connection_after', async () => {
      const config = join(clay.directory, 'config.toml');
      writeFileSync(config, 'stale_connection_after = "5s"\npoll_interval = "1s"\n');
      const idle = find('idle, an HTTP MCP server');
      api.closeIdle();
      const service = startService(['--config', config, ...common()], { trueAge: true });
      try {
        await service.logged('reaped', (line) => line.pid === idle.pid, 120_000);
      } finally {
        await service.stop();
      }
      expect(idle.isAlive()).toBe(false);
      for (const [name, { expected }] of made()) {
        const lasting = expected.verdict === 'protected' && expected.reasons.some((code) => LASTING.includes(code));
        if (lasting && !name.startsWith('a Bash tool running')) expect(find(name).isAlive(), name).toBe(true);
      }
    }, 150_000);

    test('a reaped conversation can be resumed', async () => {
      const before = await talk('idle').state();
      await talk('idle').send('are you there?');
      const after = await (await turnOver(talk('idle'), before.turns + 1)).state();
      expect(after.sessionId).toBe(before.sessionId);
      expect(after.text.length).toBeGreaterThan(before.text.length);
      expect(after.pids).toHaveLength(before.pids.length + 1);
    });
  });
}

/** What is still so when all turns are over. */
const LASTING = ['tool', 'scheduled'];

function reported(report: Report, pid: number): ProcessReport | undefined {
  return report.processes.find((process) => process.pid === pid);
}

function row({ socketFds, connections, children, verdict, orphan, reasons }: ProcessReport) {
  return {
    sockets: socketFds,
    connections,
    children,
    verdict,
    orphan,
    reasons: reasons.map(({ code }) => code),
  };
}

/** Why a release cannot be brought into a situation; null if it can. */
function whyNotMade({ needs = [], notMade = null }: Scenario, tools: readonly string[]): string | null {
  const missing = needs.find((names) => !names.split(' ').some((name) => tools.includes(name)));
  return missing === undefined ? notMade : `it has no tool ${missing.replaceAll(' ', ' or ')}`;
}
