import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { cannotBoot, waitFor } from '../systemd/boot.ts';
import type { LogLine } from '../systemd/installed-service.ts';
import { type Attack, bootBesideMallory, type HostileMachine, QUICK } from '../systemd/mallory.ts';
import type { ClayService } from '../systemd/stand-in.ts';
import { average, quantiles } from './trend.ts';

/** `npm run test:soak` sets ten minutes: three rounds of all attacks. */
const SECONDS = Number(process.env.CLAY_REAPER_SOAK_SECONDS || 120);

/** One of each kind first: a pattern, time, memory, the kills of a sweep, the table of sockets. Every run has these five. */
const ATTACKS: readonly Attack[] = [
  'a command line that backtracks',
  'sparse transcripts',
  'calls without an answer',
  'deaf to SIGTERM',
  'abstract sockets',
  'empty folders',
  'daemon.json of 1 MB',
  'forks with long command lines',
  'long homes',
  'alarms on 30 February',
  'network namespaces',
];
const KINDS = 5;
/** So long alice's processes become orphans in each attack, which goes on until the last of them is gone. */
const BIRTHS_MS = 12_000;
const BIRTH_EVERY_MS = 1_000;
const REST_MS = 2_000;
const LOOK_EVERY_MS = 100;

/** Claudes of alice's that work all the time. */
const WORKING = 8;

/** `parked_after`, and a few sweeps in which mallory uses up what she is given: 1 s of CPU time, of which this machine may have little. */
const ENDED_WITHIN_MS = 30_000;

const MIB = 1024 * 1024;
/** So much may an attack take more in the last round than in the second, in the mean of all attacks. */
const HARMLESS_GROWTH = 4 * MIB;

describe.skipIf(cannotBoot())('the installed service beside mallory', () => {
  let machine: HostileMachine;
  beforeAll(async () => {
    machine = await bootBesideMallory(WORKING, QUICK);
  }, 300_000);
  afterAll(async () => {
    await machine?.host.powerOff();
  }, 60_000);

  test(`ends alice’s orphans in time in ${SECONDS} s of attacks, in less than 128 MB`, async () => {
    const { host, service, alice, mallory, working } = machine;
    const main = await service.show('MainPID');
    const proc = `${host.root()}/proc`;
    const memory = watchMemory(`${proc}/${main}`);
    onTestFinished(memory.end);
    const isAlive = (pid: number): boolean => existsSync(`${proc}/${pid}`);
    const start = await service.cursorNow();
    const begun = Date.now();
    const orphans: Orphan[] = [];
    const descriptors: number[] = [];
    const residentBytes = new Map<Attack, number[]>();
    for (let n = 0; n < KINDS || Date.now() - begun < SECONDS * 1000; n += 1) {
      const attack = ATTACKS[n % ATTACKS.length] as Attack;
      memory.forget();
      await mallory.attack(attack);
      const hers = await endOrphans(alice, isAlive);
      residentBytes.set(attack, [...(residentBytes.get(attack) ?? []), memory.meanBytes()]);
      await mallory.rest();
      descriptors.push(await keptDescriptors(`${proc}/${main}`));
      orphans.push(...hers);
      const waits = shares(hers);
      console.log(JSON.stringify({ attack, orphans: hers.length, waits, descriptors: descriptors.at(-1) }));
    }
    const peak = bytesIn(`${proc}/${main}`, 'VmHWM');
    const grownBytes = growthOf([...residentBytes.values()]);
    const reaped = (await service.loggedSince(start)).filter(({ event }) => event === 'reaped');
    const waits = shares(orphans);
    console.log(
      JSON.stringify({
        orphans: orphans.length,
        waits,
        peakMB: peak / 1e6,
        grownMB: grownBytes === null ? null : grownBytes / 1e6,
      }),
    );

    expect(orphans.filter(({ waitedMs }) => waitedMs > ENDED_WITHIN_MS)).toEqual([]);
    expect(working.map(isAlive)).toEqual(working.map(() => true));
    const others = new Set(orphans.map(({ pid }) => pid));
    expect(reaped.filter((line) => line.uid !== mallory.uid && !others.has(pidOf(line)))).toEqual([]);
    expect([await service.show('MainPID'), await service.show('NRestarts')]).toEqual([main, '0']);

    expect(peak).toBeLessThan(128 * MIB);
    if (grownBytes !== null) expect(grownBytes).toBeLessThan(HARMLESS_GROWTH);
    expect(descriptors).toEqual(descriptors.map(() => descriptors[0]));
  });
});

/** The median, nine of ten, and the most. */
const shares = (orphans: readonly Orphan[]): number[] =>
  quantiles(
    orphans.map(({ waitedMs }) => waitedMs),
    [0.5, 0.9, 1],
  );

const pidOf = ({ pid }: LogLine): number => Number(pid);

type Orphan = { readonly pid: number; readonly waitedMs: number };

/** Orphans of alice's, one after the other, and how long each was there. */
async function endOrphans(alice: ClayService, isAlive: (pid: number) => boolean): Promise<Orphan[]> {
  const untilGone = async (pid: number): Promise<Orphan> => {
    const begun = Date.now();
    await waitFor(`${pid} is gone`, () => !isAlive(pid), 2 * ENDED_WITHIN_MS).catch(() => undefined);
    return { pid, waitedMs: Date.now() - begun };
  };
  const orphans: Promise<Orphan>[] = [];
  const end = Date.now() + BIRTHS_MS;
  while (Date.now() < end) {
    orphans.push(untilGone(await alice.idle()));
    await sleep(BIRTH_EVERY_MS);
  }
  return Promise.all(orphans);
}

/** How many descriptors a process keeps open: while it reads, it has some more. */
async function keptDescriptors(folder: string): Promise<number> {
  const counts: number[] = [];
  for (const end = Date.now() + REST_MS; Date.now() < end; await sleep(10))
    counts.push(readdirSync(`${folder}/fd`).length);
  return Math.min(...counts);
}

const bytesIn = (folder: string, field: string): number =>
  1024 * Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync(`${folder}/status`, 'utf8'))?.[1]);

/** Watches the resident memory of a process. */
function watchMemory(folder: string) {
  let samples: number[] = [];
  const looking = setInterval(() => {
    if (existsSync(folder)) samples.push(bytesIn(folder, 'VmRSS'));
  }, LOOK_EVERY_MS);
  return {
    forget: () => {
      samples = [];
    },
    meanBytes: (): number => average(samples),
    end: () => clearInterval(looking),
  };
}

/**
 * How much more memory the attacks took in the last round than in the second, in the mean; null in a run of fewer than three
 * rounds, which only the peak is checked of. In the first one V8 takes what it keeps from then on, and what one attack takes says nothing of the next.
 */
function growthOf(byAttack: readonly (readonly number[])[]): number | null {
  const growths = byAttack.flatMap((rounds) => {
    const [, second, ...later] = rounds;
    const last = later.at(-1);
    return second === undefined || last === undefined ? [] : [last - second];
  });
  return growths.length === 0 ? null : average(growths);
}
