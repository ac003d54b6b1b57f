import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Clay, type Sham, startClay, type Talk } from '../support/clay.ts';
import { childrenOf, isAlive } from '../support/processes.ts';
import { type ProcessReport, type Report, reaperJson, startReaper } from '../support/reaper.ts';
import { until } from '../support/until.ts';
import { type HttpMcpServer, startHttpMcpServer } from './mcp-http.ts';
import { type ModelApi, startModelApi } from './model-api.ts';
import {
  BUSY_PROJECT,
  buildDone,
  type Expected,
  IDLE_PROJECTS,
  IGNORES_SIGTERM,
  scenarios,
  turnOver,
} from './scenarios.ts';

/** Waits as short as they can be told apart; `kill_after` is longer than the hook of 5 s, as it has to be. */
const WAITS = ['--min-age', '1s', '--grace', '1s', '--parked-after', '2s', '--kill-after', '8s'];

/** The situations of one Agent SDK, side by side in one Clay, judged and reaped by the program as a user runs it. */
export function describeSdk(sdk: string): void {
  describe(`real claude processes of Agent SDK ${sdk}`, () => {
    const situations = scenarios(sdk);
    const started = new Map<string, Talk | Sham>();
    let api: ModelApi;
    let mcp: HttpMcpServer;
    let clay: Clay;
    let newer: Talk;
    let ofMcpServer: readonly number[];

    const common = (): string[] => ['--clay-home', clay.home, ...WAITS];
    const find = (name: string): Talk | Sham => {
      const found = started.get(name);
      if (!found) throw new Error(`not started: ${name}`);
      return found;
    };
    const talk = (name: string): Talk => find(name) as Talk;
    const expectedOf = (verdict: Expected['verdict']): string[] =>
      Object.entries(situations)
        .filter(([, { expected }]) => expected.verdict === verdict)
        .map(([name]) => name);

    beforeAll(async () => {
      [api, mcp] = await Promise.all([startModelApi(), startHttpMcpServer()]);
      clay = await startClay({
        projects: [...IDLE_PROJECTS, BUSY_PROJECT],
        env: {
          ANTHROPIC_BASE_URL: api.url,
          ANTHROPIC_API_KEY: 'anything',
          // Lets root bypass permissions.
          IS_SANDBOX: '1',
          DISABLE_TELEMETRY: '1',
          CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
        },
      });
      const module = import.meta.resolve(`./node_modules/sdk-${sdk}/sdk.mjs`);
      const query = (project: string, text: string, more = {}): Promise<Talk> =>
        clay.converse({ project, text, sdk: module, ...more });
      await Promise.all(
        Object.entries(situations).map(async ([name, situation]) => {
          started.set(name, await situation.start({ sdk, clay, api, mcp, query }));
        }),
      );
      newer = await turnOver(talk('a newer process of the conversation').resume('hello again'), 2);
      ofMcpServer = childrenOf(find('idle, a stdio MCP server').pid);
      expect(ofMcpServer).toHaveLength(1);
    });

    afterAll(async () => {
      await clay?.stop();
      await Promise.all([api?.stop(), mcp?.stop()]);
    });

    test('each situation is judged as it has to be', async () => {
      // An API connection that waits for its next request looks like one at work: 300 s long in 0.3.330, 4 s in 0.2.92.
      if (sdk.startsWith('0.3.')) {
        const { report } = await reaperJson(['status', ...common()]);
        expect(reported(report, find('idle').pid)?.reasons).toContainEqual(
          expect.objectContaining({ code: 'connection' }),
        );
      }
      api.closeIdle();
      let differing: unknown;
      const judged = await until(
        () => `all are judged as expected, unlike ${JSON.stringify(differing)}`,
        async () => {
          const { report, status, stderr } = await reaperJson(['status', ...common()]);
          expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
          // They come to rest at their own pace; but not once may one that is at work be judged an orphan.
          for (const name of expectedOf('protected')) expect(verdict(report, name), name).toBe('protected');
          const others = Object.entries(situations).filter(([name, { expected }]) => !fits(report, name, expected));
          differing = others.map(([name]) => ({ name, ...row(report, find(name).pid) }));
          return others.length === 0 && reported(report, newer.pid)?.verdict === 'reap' && report;
        },
        120_000,
      );
      console.table(Object.fromEntries(Object.keys(situations).map((name) => [name, row(judged, find(name).pid)])));
      expect(reported(judged, newer.pid)).toMatchObject({ orphan: 'parked', sdkVersion: sdk });
    }, 150_000);

    const verdict = (report: Report, name: string): string | undefined => reported(report, find(name).pid)?.verdict;
    const fits = (report: Report, name: string, expected: Expected): boolean => {
      const found = reported(report, find(name).pid);
      if (found?.verdict !== expected.verdict) return false;
      if (expected.verdict === 'reap') return found.orphan === expected.orphan;
      const codes = found.reasons.map(({ code }) => code);
      return expected.reasons.every((code) => codes.includes(code));
    };

    test('cleanup ends the idle ones, and no other', async () => {
      const idle = new Map([...expectedOf('reap').map((name) => [name, find(name)] as const), ['newer', newer]]);
      const outcomes = new Map<string, string | undefined>();
      // An idle 0.3.330 is not quite still, and one that stirs while it is watched is left for the next time.
      await until(
        () => `all idle ones are gone, of which are so far ${JSON.stringify([...outcomes])}`,
        async () => {
          const { report, status } = await reaperJson(['cleanup', '--yes', ...common()]);
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

    test('those at work finish their turn', async () => {
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

    test('a reaped conversation answers again', async () => {
      const before = await talk('idle').state();
      await talk('idle').send('are you there?');
      const after = await (await turnOver(talk('idle'), before.turns + 1)).state();
      expect(after.sessionId).toBe(before.sessionId);
      expect(after.text.length).toBeGreaterThan(before.text.length);
      expect(after.pids).toHaveLength(before.pids.length + 1);
    });

    test('run ends an idle one whose only connection has stayed the same for stale_connection_after', async () => {
      const config = join(clay.directory, 'config.toml');
      writeFileSync(config, 'stale_connection_after = "5s"\npoll_interval = "1s"\n');
      const { pid } = find('idle, an HTTP MCP server');
      api.closeIdle();
      const service = startReaper(['--config', config, ...common()]);
      try {
        await service.logged('reaped', (line) => line.pid === pid, 90_000);
      } finally {
        await service.stop();
      }
      expect(isAlive(find('idle, an HTTP MCP server'))).toBe(false);
      for (const [name, { expected }] of Object.entries(situations)) {
        const lasting = expected.verdict === 'protected' && expected.reasons.some((code) => LASTING.includes(code));
        if (lasting && !name.startsWith('a Bash tool running')) expect(find(name).isAlive(), name).toBe(true);
      }
    }, 120_000);
  });
}

/** What is still so when all turns are over. */
const LASTING = ['tool', 'scheduled'];

function reported(report: Report, pid: number): ProcessReport | undefined {
  return report.processes.find((process) => process.pid === pid);
}

function row(report: Report, pid: number): Record<string, unknown> {
  const found = reported(report, pid);
  const reasons = found?.reasons.map(({ code }) => code).join(' ');
  return {
    sockets: found?.socketFds,
    connections: found?.connections,
    children: found?.children,
    verdict: found?.orphan ? `${found.verdict} (${found.orphan})` : found?.verdict,
    reasons,
  };
}
