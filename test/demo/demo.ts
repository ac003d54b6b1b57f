import { setTimeout as sleep } from 'node:timers/promises';
import { formatBytes, terminalStyle } from '../../src/report/format.ts';
import { section } from '../../src/report/sections.ts';
import { type LogLine, type ProcessReport, runCliJson, startService } from '../helpers/cli.ts';
import { type Actor, openScene, type Scene } from './scene.ts';
import { openScreen } from './screen.ts';

/** So short that the show takes half a minute. */
const WAITS = ['--grace', '8s', '--parked-after', '14s', '--min-age', '2s', '--kill-after', '5s'];
const IDLE_FROM_NOW_ON = { superseded: 0, deleted: 0, abandoned: 0, parked: 0 };

/** What is not gone by then stays. */
const LIMIT_MS = 90_000;
/** For as long, those at work have to live on when the last idle one is gone. */
const ENCORE_MS = 5_000;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupted.abort());

say(`
A simulated Clay in a temporary home, with eight fake claude processes: four at work, four left over.
clay-reaper watches it, with waits of 8 and 14 seconds instead of 5 and 30 minutes.
`);
const scene = await openScene(IDLE_FROM_NOW_ON);
try {
  process.exitCode = await show(scene, interrupted.signal);
} catch (error) {
  if (!interrupted.signal.aborted) throw error;
  process.exitCode = 130;
} finally {
  await scene.close();
}

/** Lets the service loose on the scene while a person watches; gives the exit status. */
async function show({ clay, actors }: Scene, signal: AbortSignal): Promise<number> {
  const here = ['--clay-home', clay.home, ...WAITS];
  const service = startService([...here, '--poll', '500ms']);
  const screen = openScreen(here, () => interrupted.abort());
  try {
    const leftOver = actors.filter(({ atWork }) => !atWork);
    const deadline = performance.now() + LIMIT_MS;
    while (leftOver.some(({ claude }) => claude.isAlive()) && performance.now() < deadline) await screen.look(signal);
    await sleep(ENCORE_MS, undefined, { signal });
    await screen.look(signal);
  } finally {
    await screen.close();
    await service.stop();
  }
  const { report } = await runCliJson(['status', ...here]);
  printOutcomes(actors, service.log, report.processes);
  return judge(actors);
}

/** Who was reaped, who was spared and why. */
function printOutcomes(actors: readonly Actor[], log: readonly LogLine[], processes: readonly ProcessReport[]): void {
  const reaped = log.filter(({ event }) => event === 'reaped');
  const termOf = (pid: number): string =>
    `${pid} ${actors.find(({ claude }) => claude.pid === pid)?.role ?? 'unknown'}`;
  const endings = reaped.map(({ pid = 0, idleSeconds, signal }) => ({
    term: termOf(pid),
    text: `idle for ${idleSeconds} s, ended with ${signal}`,
  }));
  const spared = processes.map(({ pid, reasons }) => ({
    term: termOf(pid),
    text: reasons.map(({ code, detail }) => `${code}: ${detail}`).join('\n'),
  }));
  const screen = terminalStyle(process.stdout);
  const bytes = reaped.reduce((sum, { reclaimableBytes }) => sum + Number(reclaimableBytes), 0);
  say(`${section(`Reaped, and ${formatBytes(bytes)} came back`, endings, screen)}\n`);
  say(`${section('Spared, and why', spared, screen)}\n`);
}

/** 0 if all at work live and no other does, else 1 with a line for each. */
function judge(actors: readonly Actor[]): number {
  const wrong = actors.filter(({ atWork, claude }) => atWork !== claude.isAlive());
  for (const { role, atWork, claude } of wrong)
    process.stderr.write(
      `demo failed: claude ${claude.pid} (${role}) ${atWork ? 'was at work and is dead' : 'lives'}\n`,
    );
  if (wrong.length === 0) say('All four that were left over are gone, and all four at work live.');
  return wrong.length === 0 ? 0 : 1;
}
