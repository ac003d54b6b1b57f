import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Clay, type Conversation, startClay } from '../helpers/clay.ts';
import { type ProcessReport, runCliJson, startService } from '../helpers/cli.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { type HttpMcpServer, startHttpMcpServer } from './mcp-http.ts';
import { environmentFor, type ModelApi, startModelApi } from './model-api.ts';
import { BUSY_PROJECT } from './scenarios.ts';
import { startTelemetrySink, type TelemetrySink } from './telemetry.ts';
import { RECONNECTS, TELEMETRY, unusualSituations, WORKTREE, worktreeFile } from './unusual.ts';

const AT_ONCE = 4;

const WAITS = ['--min-age', '1s', '--grace', '1s', '--parked-after', '2s'];

describe.each(['0.2.92', '0.3.330'])('unusual situations of a real claude of Agent SDK %s', (sdk) => {
  const situations = Object.entries(unusualSituations(sdk));
  const started = new Map<string, Conversation>();
  let api: ModelApi;
  let mcp: HttpMcpServer;
  let telemetry: TelemetrySink;
  let clay: Clay;

  const common = (): string[] => ['--clay-home', clay.home, ...WAITS];
  const find = (name: string): Conversation => started.get(name) as Conversation;
  const atWork = situations.filter(([, { expected }]) => expected.verdict === 'protected').map(([name]) => name);
  const idle = situations.filter(([, { expected }]) => expected.verdict === 'reap').map(([name]) => name);

  beforeAll(async () => {
    [api, mcp, telemetry] = await Promise.all([startModelApi(), startHttpMcpServer(), startTelemetrySink()]);
    clay = await startClay({
      projects: ['rest', BUSY_PROJECT],
      env: environmentFor(api),
    });
    const module = import.meta.resolve(`./node_modules/sdk-${sdk}/sdk.mjs`);
    const query = (project: string, text: string, more = {}): Promise<Conversation> =>
      clay.startConversation({ project, text, sdk: module, ...more });
    // A claude needs a second of CPU to start: a few at a time.
    for (let first = 0; first < situations.length; first += AT_ONCE) {
      await Promise.all(
        situations.slice(first, first + AT_ONCE).map(async ([name, { start }]) => {
          started.set(name, await start({ clay, api, mcp, telemetry, query }));
        }),
      );
    }
  }, 600_000);

  afterAll(async () => {
    await clay?.stop();
    await Promise.all([api?.stop(), mcp?.stop(), telemetry?.stop()]);
  });

  test('status gives each the expected verdict', async () => {
    let differing: unknown;
    await waitFor(
      () => `all are judged as expected, unlike ${JSON.stringify(differing)}`,
      async () => {
        api.closeIdle();
        const { report, status, stderr } = await runCliJson(['status', ...common()], { trueAge: true });
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
        const rowOf = (name: string) => report.processes.find(({ pid }) => pid === find(name).pid);
        // They come to rest at their own pace; but not once may one that is at work be judged an orphan.
        for (const name of atWork) expect(rowOf(name)?.verdict, name).toBe('protected');
        const others = situations.filter(([name, { expected }]) => {
          const row = rowOf(name);
          if (expected.verdict === 'protected') return !expected.reasons.every((code) => codesOf(row).includes(code));
          const comesAndGoes = name === RECONNECTS || name === TELEMETRY;
          if (comesAndGoes && codesOf(row).every((code) => code === 'connection')) return false;
          return row?.orphan !== expected.orphan;
        });
        differing = others.map(([name]) => ({ name, verdict: rowOf(name)?.verdict, reasons: rowOf(name)?.reasons }));
        return others.length === 0;
      },
      240_000,
    );
  }, 300_000);

  test('run ends the idle ones, also where connections come and go, and none at work', async () => {
    const config = join(clay.directory, 'config.toml');
    writeFileSync(config, 'stale_connection_after = "5s"\npoll_interval = "1s"\nmax_kills_per_sweep = 100\n');
    const service = startService(['--config', config, ...common()], { trueAge: true });
    try {
      for (const name of idle) await service.logged('reaped', ({ pid }) => pid === find(name).pid, 240_000);
    } finally {
      await service.stop();
    }
    for (const name of atWork) expect(find(name).isAlive(), name).toBe(true);
  }, 300_000);

  if (sdk === '0.3.330') {
    test('a worktree that it entered stays, with what is in no commit', async () => {
      expect(find(WORKTREE).isAlive()).toBe(false);
      expect(readFileSync(worktreeFile(clay), 'utf8')).toBe('kept\n');
    });

    // 0.2.92 does not begin a turn within 90 s of its end.
    test('a conversation goes on after its asynchronous hook has woken it', async () => {
      const talk = find('an asynchronous hook that wakes the conversation, turn over');
      const ended = join(clay.projectPath('wake-hook'), 'ended');
      expect(existsSync(ended)).toBe(false);
      writeFileSync(ended, '');
      await waitFor('it has noticed', async () => (await talk.state()).turns > 1, 90_000);
      expect(talk.isAlive()).toBe(true);
    });
  }
});

const codesOf = (row: ProcessReport | undefined): string[] => row?.reasons.map(({ code }) => code) ?? [];
