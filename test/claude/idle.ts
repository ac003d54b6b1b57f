import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import ms from 'ms';
import { type Conversation, startClay } from '../helpers/clay.ts';
import { runCliJson, startService } from '../helpers/cli.ts';
import { inTurns } from './in-turns.ts';
import { environmentFor, startModelApi } from './model-api.ts';
import { turnOver } from './scenarios.ts';
import { installSdk, sdkModule } from './sdk-cache.ts';

// npm run measure:idle [-- --parked-after 5m], in the package's folder: real idle processes of six releases, each beside an MCP
// server that polls at 1.5 or 5 % of a core. Tells how many looks of `status` are right, and when the service ends each of them.
// Takes 36 min with the default of 30m on a machine that does nothing else.

const SDKS = ['0.2.92', '0.2.118', '0.2.141', '0.3.193', '0.3.243', '0.3.330'];
const PERCENTS = [1.5, 5];
const REST_MS = 60_000;
const LOOKS = 9;
const SLACK_MS = 5 * 60_000;
const MIN_RIGHT = 0.95;

type Idle = { readonly name: string; readonly talk: Conversation; readonly turnOverAtMs: number; endedAtMs?: number };

const { values } = parseArgs({ options: { 'parked-after': { type: 'string', default: '30m' } } });
const parkedAfter = values['parked-after'];
const server = fileURLToPath(new URL('mcp-stdio.js', import.meta.url));
for (const sdk of SDKS) await installSdk(sdk);
const api = await startModelApi();
const clay = await startClay({ projects: ['rest'], env: environmentFor(api) });
const waits = ['--clay-home', clay.home, '--parked-after', parkedAfter];
try {
  const idle = await startIdle();
  const service = startService(waits, { trueAge: true });
  try {
    process.exitCode = (await measure(idle)) ? 0 : 1;
  } finally {
    await service.stop();
  }
} finally {
  await clay.stop();
  await api.stop();
}

/** Starts them, two at a time; their turns are over, and the server keeps no connection of theirs. */
async function startIdle(): Promise<Idle[]> {
  const wanted = SDKS.flatMap((sdk) => PERCENTS.map((percent) => ({ sdk, percent })));
  const idle: Idle[] = [];
  await inTurns(wanted, 2, async ({ sdk, percent }) => {
    const polls = { type: 'stdio', command: process.execPath, args: [server, `${percent}`] };
    const options = { mcpServers: { polls } };
    const module = pathToFileURL(sdkModule(sdk)).href;
    const talk = await turnOver(clay.startConversation({ project: 'rest', text: 'hello', sdk: module, options }));
    idle.push({ name: `${sdk} at ${percent} %`, talk, turnOverAtMs: performance.now() });
  });
  // A connection protects: left to itself, 0.3.330 keeps it for 5 minutes.
  api.closeIdle();
  return idle;
}

/** Whether as many looks as wanted were right, and all were ended in time. */
async function measure(idle: readonly Idle[]): Promise<boolean> {
  await sleep(REST_MS);
  const right = await countRightLooks(idle);
  const looked = LOOKS * idle.length;
  console.log(`${right} of ${looked} looks right (goal ${MIN_RIGHT * 100} %), ${loads()}`);
  return (await allEnded(idle)) && right >= MIN_RIGHT * looked;
}

const loads = (): string =>
  `load ${loadavg()
    .map((load) => load.toFixed(1))
    .join(' ')}`;

/** A look is right if it shows an idle process as an orphan whose wait has begun. */
async function countRightLooks(idle: readonly Idle[]): Promise<number> {
  let right = 0;
  for (let look = 0; look < LOOKS; look++) {
    const { report } = await runCliJson(['status', ...waits], { trueAge: true });
    for (const { name, talk } of idle) {
      const row = report.processes.find(({ pid }) => pid === talk.pid);
      if (row?.verdict === 'grace' && row.orphan === 'parked') right += 1;
      else console.log(`${name}: ${row?.verdict} ${row?.reasons.map(({ detail }) => detail).join('; ')}`);
    }
  }
  return right;
}

/** Whether the service ends each in time after its turn. */
async function allEnded(idle: readonly Idle[]): Promise<boolean> {
  const limitMs = ms(parkedAfter as ms.StringValue) + SLACK_MS;
  const deadlineMs = Math.max(...idle.map(({ turnOverAtMs }) => turnOverAtMs)) + limitMs;
  while (performance.now() < deadlineMs && idle.some(({ endedAtMs }) => endedAtMs === undefined)) {
    await sleep(1000);
    for (const process_ of idle) if (!process_.talk.isAlive()) process_.endedAtMs ??= performance.now();
  }
  let inTime = true;
  for (const { name, turnOverAtMs, endedAtMs } of idle) {
    const afterMs = endedAtMs === undefined ? Number.POSITIVE_INFINITY : endedAtMs - turnOverAtMs;
    inTime &&= afterMs <= limitMs;
    console.log(
      `${name}: ${endedAtMs === undefined ? 'not ended' : `ended ${(afterMs / 60_000).toFixed(1)} min after its turn`}`,
    );
  }
  console.log(`goal: within ${ms(limitMs)}; ${loads()}`);
  return inTime;
}
