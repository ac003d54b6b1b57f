import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { type Clay, type FakeClaude, IDLE, type StatusBehaviour, startClay } from '../helpers/clay.ts';
import { type RunningService, startService } from '../helpers/cli.ts';
import { openFiles } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { formatStatusLine, growing, trendsIn, watched } from './memory.ts';
import { birth, comeToRest, type Life } from './population.ts';
import { quantiles } from './trend.ts';

/** `npm run test:soak` sets ten minutes. */
const SECONDS = Number(process.env.CLAY_REAPER_SOAK_SECONDS || 120);

const POLL_MS = 200;
const GRACE_MS = 2_000;
/** As long as a poll, as by default: a sweep lasts as long as the slowest death in it. */
const KILL_AFTER_MS = 200;
/** So long after it has come to rest, and its Clay answers, an orphan is gone. */
const GONE_WITHIN_MS = GRACE_MS + 2 * POLL_MS + KILL_AFTER_MS;
/**
 * A fake claude that uses CPU time when it starts is charged a whole tick of it now and then, which costs it one poll more, or two. And in
 * three sweeps (which see it rest, see it waited long enough, see it die) there is work to do: 40 ms for 60 processes, 100 ms where
 * it takes 2 ms until a process is gone.
 */
const SLACK_MS = 2 * POLL_MS + 3 * 150;
/** As many as fit between the end of the grace period and all of that; a machine that is busy with other things takes longer. */
const GONE_WITHIN_SWEEPS = 6;

const OUTAGE_MS = 3_000;
/** So long a service waits for the answer of a Clay that says nothing. */
const API_TIMEOUT_MS = 2_000;
/**
 * One after the other, so that each is met in every run. After the huge answers the C library keeps some MB for a while: they
 * come first, before the measurement of a short run begins, and evenly spread over a long one.
 */
const UNUSABLE: readonly StatusBehaviour['mode'][] = ['huge', 'silent', 'garbage', 'half', 'hangup'];

const MAX_LIVES = 60;
const OUTAGE_EVERY_MS = 25_000;
const RESTART_EVERY_MS = 20_000;
const COUNT_EVERY_MS = 250;
const LOOK_EVERY_MS = 20;
/** What a leak of so many bytes for each process that is born would do has to be seen. */
const LEAK_TO_BE_TOLD = 1024;

const WAITS = ['--poll', `${POLL_MS}ms`, '--grace', `${GRACE_MS}ms`, '--parked-after', `${GRACE_MS}ms`];
const ARGS = [...WAITS, '--kill-after', `${KILL_AFTER_MS}ms`, '--min-age', '0s', '--log-level', 'debug'];

let directory: string;
let steady: Clay;
let restarted: Clay;
let quiet: Clay;
let running: RunningService;
let control: RunningService;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'soak-'));
  steady = await startClay({ projects: ['rest', 'work'] });
  restarted = await startClay({ projects: ['rest', 'work'] });
  quiet = await startClay();
  const homes = [steady, restarted].flatMap(({ home }) => ['--clay-home', home]);
  running = startService([...homes, ...ARGS], { env: watched(join(directory, 'work')) });
  // The same service without any work: what its memory does is noise.
  control = startService(['--clay-home', quiet.home, ...ARGS], { env: watched(join(directory, 'idle')) });
  await running.logged('clay-found');
  await control.logged('clay-found');
});
afterAll(async () => {
  await running?.stop();
  await control?.stop();
  for (const clay of [steady, restarted, quiet]) await clay?.stop();
  rmSync(directory, { recursive: true, force: true });
});

test(`service runs for ${SECONDS} s of births, exits, restarts and outages without leaks, late or wrong ends`, async () => {
  const begun = Date.now();
  const end = begun + SECONDS * 1000;
  const watch = watchLives();
  onTestFinished(watch.end);
  const workers = await startWorkers(steady);

  const next = { outage: begun + 5_000, restart: begun + 8_000, count: begun };
  const descriptors: { readonly at: number; readonly count: number }[] = [];
  let outage: Promise<void> = Promise.resolve();
  let restarts = 0;
  while (Date.now() < end) {
    if (watch.lives.size < MAX_LIVES) watch.add(await birth(Math.random() < 0.7 ? steady : restarted));
    await watch.letRest();
    const now = Date.now();
    if (now >= next.count) {
      descriptors.push({ at: now, count: descriptorsOf(running.pid) });
      next.count = now + COUNT_EVERY_MS;
    }
    if (now >= next.restart) {
      next.restart = now + RESTART_EVERY_MS;
      restarts += 1;
      await restart(watch.dismiss(restarted));
    }
    if (now >= next.outage) {
      next.outage = now + OUTAGE_EVERY_MS;
      outage = makeOutage(watch.outages);
    }
    await sleep(LOOK_EVERY_MS);
  }
  await outage;
  await waitFor(
    'the last orphans are gone',
    async () => {
      await watch.letRest();
      return watch.lives.size === 0;
    },
    60_000,
  );

  const settled = begun + (SECONDS * 1000) / 4;
  const work = trendsIn(join(directory, 'work'), settled, end);
  const idle = trendsIn(join(directory, 'idle'), settled, end);
  const born = watch.born.size;
  console.log(
    JSON.stringify({
      born,
      orphans: watch.lateMs.length,
      restarts,
      outages: watch.outages.length,
      lateMs: quantiles(watch.lateMs, [0.5, 0.99, 0.999, 1]),
      work: formatStatusLine(work),
      idle: formatStatusLine(idle),
      descriptors: [...new Set(descriptors.filter(({ at }) => at >= settled).map(({ count }) => count))].sort(),
    }),
  );

  expect({ wrong: [...watch.wrong, ...wronglyReaped(watch.born)], late: watch.late }).toEqual({ wrong: [], late: [] });
  expect(workers.map((worker) => worker.isAlive())).toEqual(workers.map(() => true));
  expect(born).toBeGreaterThan(SECONDS * 5);
  const bad = ['sweep-failed', 'survived', 'blind', 'warning'];
  expect(running.log.filter(({ event }) => event !== undefined && bad.includes(event))).toEqual([]);

  expect(growing(work, idle)).toEqual([]);
  // A measurement that cannot show a leak would find none.
  expect(work.heap.error).toBeLessThan((LEAK_TO_BE_TOLD * born) / (SECONDS * 1000));

  // While it asks or reads, it has some more; in between, it has what it keeps.
  const kept = [0.25, 0.5, 0.75].map((quarter) => {
    const from = begun + SECONDS * 1000 * quarter;
    const to = from + SECONDS * 250;
    return Math.min(...descriptors.flatMap(({ at, count }) => (at >= from && at < to ? [count] : [])));
  });
  expect(kept).toEqual([kept[0], kept[0], kept[0]]);
  // Before each SIGKILL its Clay is asked once more, through a socket of its own: after an outage many are due at once.
  expect(Math.max(...descriptors.map(({ count }) => count)) - (kept[0] ?? 0)).toBeLessThan(12 + MAX_LIVES);
});

/** How many a process has open, but for the schedstat of processes at rest: those come and go with the processes. */
function descriptorsOf(pid: number): number {
  const targets = openFiles(pid);
  const held = targets.filter((target) => target.endsWith('/schedstat')).length;
  expect(held).toBeLessThanOrEqual(64);
  return targets.length - held;
}

/** A time in which a Clay gave no usable answer; `to`: since when all is well again, at the latest. Ms since the epoch. */
type Outage = { readonly from: number; to: number };

/** Follows each fake claude from its birth to its death, and judges that. */
function watchLives() {
  const born = new Map<string, Life>();
  const lives = new Set<Life>();
  const outages: Outage[] = [];
  const lateMs: number[] = [];
  const [wrong, late]: [string[], string[]] = [[], []];
  const sweeps = watchSweeps();

  /** When an orphan has to be gone: nothing is known of it while its Clay does not answer. */
  const dueAt = (idleSince: number): number => {
    let due = idleSince + GONE_WITHIN_MS;
    for (const { from, to } of outages) if (from <= due && to >= idleSince) due = to + GONE_WITHIN_MS;
    return due;
  };
  const objection = ({ clay, idleSince, hasWorked }: Life, now: number): string | null => {
    if (idleSince === null) return 'was ended while at work';
    if (hasWorked && now - idleSince < GRACE_MS) return `was ended after ${now - idleSince} ms at rest`;
    const isSilent = ({ from, to }: Outage): boolean => now > from + SLACK_MS && now < to - API_TIMEOUT_MS;
    return clay === steady && outages.some(isSilent) ? 'was ended though its Clay did not answer' : null;
  };
  const bury = (life: Life): void => {
    const now = Date.now();
    const problem = objection(life, now);
    if (problem === null && life.idleSince !== null) lateMs.push(now - dueAt(life.idleSince));
    else wrong.push(`${life.kind}: ${life.claude.pid} ${problem}`);
    lives.delete(life);
  };
  const isLate = (idleSince: number): boolean =>
    Date.now() > dueAt(idleSince) + SLACK_MS &&
    sweeps.since(dueAt(idleSince) - GONE_WITHIN_MS + GRACE_MS) >= GONE_WITHIN_SWEEPS;
  const look = (): void => {
    sweeps.look();
    for (const life of lives) {
      const { claude, kind, idleSince } = life;
      if (!claude.isAlive()) bury(life);
      else if (idleSince !== null && isLate(idleSince)) {
        late.push(`${kind}: ${claude.pid} is an orphan for ${Date.now() - idleSince} ms`);
        lives.delete(life);
      }
    }
  };
  const looking = setInterval(look, LOOK_EVERY_MS);
  return {
    born,
    lives,
    outages,
    lateMs,
    wrong,
    late,
    add: (life: Life): void => {
      born.set(keyOf(life.claude), life);
      lives.add(life);
    },
    /** Ends the work of those whose time it is. */
    letRest: async (): Promise<void> => {
      for (const life of lives) {
        if (life.idleSince === null && Date.now() >= life.workUntil && life.claude.isAlive()) await comeToRest(life);
      }
    },
    /** Those of this Clay, which no longer count: they end with it. */
    dismiss: (clay: Clay): Life[] => {
      const theirs = [...lives].filter((life) => life.clay === clay);
      for (const life of theirs) lives.delete(life);
      return theirs;
    },
    end: () => clearInterval(looking),
  };
}

/** When sweeps of the service were over, as observed. */
function watchSweeps() {
  const ends: number[] = [];
  let read = 0;
  return {
    look: (): void => {
      for (; read < running.log.length; read += 1) if (running.log[read]?.msg === 'swept') ends.push(Date.now());
    },
    since: (ms: number): number => ends.length - ends.findLastIndex((at) => at < ms) - 1,
  };
}

const keyOf = ({ pid, startTicks }: { pid?: number; startTicks?: unknown }): string => `${pid}:${startTicks}`;

/** What the service itself says to have ended, and should not have. */
const wronglyReaped = (born: ReadonlyMap<string, Life>): string[] =>
  running.log.flatMap((line) => {
    const life = born.get(keyOf(line));
    return line.event === 'reaped' && (life === undefined || life.idleSince === null) ? [JSON.stringify(line)] : [];
  });

/** The steady Clay gives no usable answer for a while. */
async function makeOutage(outages: Outage[]): Promise<void> {
  await steady.answerStatus({ mode: UNUSABLE[outages.length % UNUSABLE.length] ?? 'silent' });
  const outage = { from: Date.now(), to: Number.POSITIVE_INFINITY };
  outages.push(outage);
  await sleep(OUTAGE_MS);
  await steady.answerStatus({ mode: 'ok' });
  // Somebody may have asked just before.
  outage.to = Date.now() + API_TIMEOUT_MS;
}

/** A real claude exits when its Clay does; these do, too. */
async function restart(theirs: readonly Life[]): Promise<void> {
  await restarted.crash();
  await waitFor('they are gone with it', () => theirs.every(({ claude }) => !claude.isAlive()));
  restarted = await startClay({ projects: ['rest', 'work'], after: restarted });
}

/** Work that needs more than the cheap shams can; it lasts to the end. */
const startWorkers = async (clay: Clay): Promise<FakeClaude[]> => [
  await clay.spawnClaude({ ...IDLE, start: { toolShell: true } }),
  await clay.spawnClaude({ project: 'work', journal: 'permission', idleSeconds: 3600 }),
];
