import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Clay, type FakeClaude, type FakeClaudeOptions, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { type RunningService, runCli, startService } from '../helpers/cli.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { injectFault } from './interference.ts';

const ERRORS = ['ENOSPC', 'EROFS', 'EMFILE', 'ENOMEM', 'EACCES'] as const;
const AT_WORK: readonly FakeClaudeOptions[] = [
  { project: 'busy', shape: 'native', journal: 'permission' },
  { project: 'busy', shape: 'native', journal: 'open', idleSeconds: 3600 },
  { ...IDLE_NATIVE, start: { sessionFile: { status: 'busy' } } },
];
/** So many calls of a kind fail in a row: several sweeps of them, and then all is well again. */
const TIMES = 6;

/** A Clay with somebody's work, and a place for all that a service writes. */
type Stage = {
  readonly clay: Clay;
  readonly workers: readonly FakeClaude[];
  readonly state: string;
  readonly textfile: string;
  /** Where the files are that faults begin with. */
  readonly trigger: string;
};

const directory = mkdtempSync(join(tmpdir(), 'every-file-'));
let stages: Stage[];

beforeAll(async () => {
  stages = await Promise.all(
    Array.from({ length: 4 }, async (_, nth): Promise<Stage> => {
      const clay = await startClay({ projects: ['rest', 'busy'] });
      const workers: FakeClaude[] = [];
      for (const options of AT_WORK) workers.push(await clay.spawnClaude(options));
      const at = join(directory, String(nth));
      mkdirSync(join(at, 'metrics'), { recursive: true });
      const textfile = join(at, 'metrics', 'reaper.prom');
      return { clay, workers, textfile, state: join(at, 'state'), trigger: join(at, 'trigger') };
    }),
  );
});
afterAll(async () => {
  for (const { clay } of stages ?? []) await clay.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** A service on a stage that was told of its Clay already. */
async function serve({ clay, state, textfile }: Stage, env: Readonly<Record<string, string>>): Promise<RunningService> {
  // What could not be read starts the wait again: it must not be long.
  const waits = ['--min-age', '0s', '--poll', '100ms', '--parked-after', '200ms', '--kill-after', '300ms'];
  const args = ['--clay-home', clay.home, ...waits];
  const running = startService([...args, '--log-level', 'debug'], {
    env: { ...env, STATE_DIRECTORY: state, CLAY_REAPER_METRICS_TEXTFILE: textfile },
  });
  await waitFor('it sweeps', () => sweepsOf(running) > 1);
  return running;
}

const sweepsOf = (running: RunningService): number => running.log.filter((line) => line.msg === 'swept').length;

/** A call as it is for any process, conversation and stage: what has to be the same for all of them. */
const classOf = (call: string): string =>
  call
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '<uuid>')
    .replaceAll(/(clay-)\w{6}/g, '$1<stage>')
    .replaceAll(/(every-file-\w{6})\/\d+/g, '$1/<stage>')
    .replaceAll(/\d+/g, '<n>');

/** The pattern of all calls of a class. */
const patternOf = (name: string): string =>
  `^${name
    .replaceAll(/[.*+?^$()|[\]\\{}]/g, '\\$&')
    .replaceAll('<uuid>', '[0-9a-f-]{36}')
    .replaceAll('<stage>', '\\w+')
    .replaceAll('<n>', '\\d+')}$`;

/** Every kind of call that a service makes from its second sweep until it has ended a process and swept once more. */
async function callsOfAService(stage: Stage): Promise<string[]> {
  const interference = injectFault([]);
  const running = await serve(stage, interference.env);
  const before = interference.calls().length;
  const [deaf, claude] = [
    await stage.clay.spawnClaude({ ...IDLE_NATIVE, start: { ignoreSigterm: true } }),
    await stage.clay.spawnClaude(IDLE_NATIVE),
  ];
  for (const { pid } of [deaf, claude]) await running.logged('reaped', (line) => line.pid === pid);
  const swept = sweepsOf(running);
  await waitFor('one sweep more', () => sweepsOf(running) > swept + 1);
  await running.stop();
  const calls = interference.calls().slice(before);
  interference.remove();
  // What has no path is the log, and what it takes to write that.
  return [...new Set(calls.filter((call) => !call.startsWith('kill ')).map(classOf))]
    .filter((name) => !/^\w+ $/.test(name))
    .sort();
}

const historyOf = async ({ state }: Stage): Promise<number> => {
  const { status, stdout } = await runCli(['history', '--json'], { env: { STATE_DIRECTORY: state } });
  expect(status).toBe(0);
  return (JSON.parse(stdout) as { processes: unknown[] }).processes.length;
};

/**
 * A service of which one kind of call after the other fails for a while: it ends nobody wrongly, goes on, and does its work.
 * Gives what was otherwise.
 */
async function findProblems(stage: Stage, names: readonly string[], error: string): Promise<string[]> {
  const kept = existsSync(stage.state) ? await historyOf(stage) : 0;
  const triggerOf = (nth: number): string => `${stage.trigger}-${error}-${nth}`;
  const interference = injectFault(
    names.map((name, nth) => ({ call: patternOf(name), onceThereIs: triggerOf(nth), from: 1, to: TIMES, error })),
  );
  const running = await serve(stage, interference.env);
  const problems: string[] = [];
  for (const [nth, name] of names.entries()) {
    writeFileSync(triggerOf(nth), '');
    const claude = await stage.clay.spawnClaude(IDLE_NATIVE);
    await running
      .logged('reaped', (line) => line.pid === claude.pid, 15_000)
      .catch(() => problems.push(`${name}: no recovery; the log ends with ${JSON.stringify(running.log.slice(-3))}`));
    if (stage.workers.some((worker) => !worker.isAlive())) problems.push(`${name}: somebody at work was ended`);
  }
  const left = await historyOf(stage);
  if (left < kept) problems.push('some of the history is lost');
  for (let more = 0; (await historyOf(stage)) === left; more += 1) {
    // Each file of the history was to fail so often, and is opened once for each that is ended.
    if (more > 4 * TIMES) return [...problems, 'the history is not kept any more'];
    const claude = await stage.clay.spawnClaude(IDLE_NATIVE);
    await running.logged('reaped', (line) => line.pid === claude.pid);
  }
  const { status, stderr } = await running.stop();
  interference.remove();
  if (status !== 0) problems.push(`the service ended with ${status}`);
  if (/\n {4}at |internal error/.test(stderr)) problems.push(`the log has a stack: ${stderr.slice(-600)}`);
  const told = running.log.filter((line) => line.event === 'warning' || line.event === 'sweep-failed').length;
  if (told > TIMES * names.length) problems.push(`${told} warnings are logged`);
  return problems;
}

describe('service with failing system calls', () => {
  let names: string[];
  beforeAll(async () => {
    names = await callsOfAService(stages[0] as Stage);
  });

  test('without faults touches every kind of file that is tested', () => {
    const all = names.join('\n');
    for (const part of [
      ...['daemon.json', 'daemon.sock', '/sessions/', '.jsonl', '/.claude/', '/stat', '/status', '/fd', '/environ'],
      ...['/children', '/proc/uptime', 'history.jsonl', 'reaper.prom'],
    ])
      expect(all).toContain(part);
  });

  test.for(ERRORS)(
    'ends no process at work if any file fails with %s, and recovers',
    { timeout: 600_000 },
    async (error) => {
      const problems = await Promise.all(
        stages.map((stage, nth) => {
          const its = names.filter((_, at) => at % stages.length === nth);
          return findProblems(stage, its, error);
        }),
      );
      expect(problems.flat()).toEqual([]);
    },
  );
});

describe('one-shot without /proc/uptime', () => {
  test.for([['status'], ['cleanup', '--yes', '--now']])(
    '"%s" reports the error in one line and ends nothing',
    async (command, { onTestFinished }) => {
      const [{ clay }] = stages as [Stage];
      const claude = await clay.spawnClaude(IDLE_NATIVE);
      const interference = injectFault([{ call: '^openSync /proc/uptime$', error: 'EMFILE' }]);
      onTestFinished(interference.remove);
      const args = [...command, '--clay-home', clay.home, '--min-age', '0s'];
      const { status, stdout, stderr } = await runCli(args, { env: interference.env });
      const line = 'clay-reaper: nothing can be judged: /proc/uptime could not be read (EMFILE)\n';
      expect({ status, stdout, stderr }).toEqual({ status: 1, stdout: '', stderr: line });
      expect(claude.isAlive()).toBe(true);
    },
  );
});
