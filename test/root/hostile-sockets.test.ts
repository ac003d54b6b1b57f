import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { startClay } from '../support/clay.ts';
import { reaperJson, startReaper } from '../support/reaper.ts';
import { optionsWithSmallHeap, sizesAmong } from '../support/unit.ts';
import { until } from '../support/until.ts';
import { highWaterBytes, residentBytes } from './memory.ts';
import { ADA, type Answer, atRest, claudeProgram, commonFolder, type FakeClay, fakeClay, MALLORY } from './users.ts';

const RUTHLESS = ['--grace', '0s', '--parked-after', '0s', '--min-age', '0s'];
const MIB = 1024 * 1024;

/** Whatever comes after connecting, an answer for a process of this pid. */
type Hostile = (pid: number) => Answer;

/** Sends as much as the other side takes, up to 1 GB, without ever an end of line. */
const flood: Answer = (socket) => {
  const block = Buffer.alloc(256 * 1024, 'x');
  let left = 1024 * MIB;
  const send = (): void => {
    while (left > 0 && !socket.destroyed) {
      left -= block.length;
      if (!socket.write(block)) return void socket.once('drain', send);
    }
  };
  send();
};

const whole = (pid: number): string => `${JSON.stringify(atRest(pid))}\n`;

const HOSTILE: Readonly<Record<string, Hostile>> = {
  'accepts and never answers': () => () => {},
  'answers one byte a second': (pid) => (socket) => {
    let at = 0;
    const timer = setInterval(() => socket.write(whole(pid).charAt(at++)), 1000);
    socket.once('close', () => clearInterval(timer));
  },
  'answers 1 GB without an end of line': () => flood,
  'closes half-way through its answer': (pid) => (socket) => void socket.end(whole(pid).slice(0, 20)),
  'closes at once': () => (socket) => void socket.destroy(),
  'answers for another pid': () => (socket) => void socket.write(whole(1)),
  'answers with JSON nested a million deep': (pid) => (socket) =>
    void socket.write(`${JSON.stringify(atRest(pid)).slice(0, -1)},"x":${'['.repeat(1e6)}${']'.repeat(1e6)}}\n`),
  'answers nothing but brackets': () => (socket) => void socket.write(`${'['.repeat(1e6)}\n`),
  'answers with __proto__': (pid) => (socket) =>
    void socket.write(`{"__proto__":{"ok":true,"pid":${pid},"projects":[]},"constructor":{"prototype":{"ok":true}}}\n`),
  'answers no UTF-8': () => (socket) => void socket.write(Buffer.from([0xff, 0xfe, 0xc0, 0x80, 0x0a])),
  'answers an empty line': () => (socket) => void socket.write('\n'),
};

const common = commonFolder();
const claude = claudeProgram(join(common.path, 'bin'));
let homes = 0;
afterAll(common.remove);

/** A Clay of mallory's with one idle claude; its socket is as hostile as she likes. */
function hostileHome(hostile: Hostile): Promise<FakeClay> {
  homes += 1;
  return fakeClay(MALLORY, join(common.path, `mallory${homes}`), [`exec ${claude} 86400`], hostile);
}

describe('4. a socket that', () => {
  test.concurrent.for(Object.entries(HOSTILE))(
    '%s leaves its Clay unanswered, and its processes alone',
    async ([, hostile], { expect, onTestFinished }) => {
      const { home, end } = await hostileHome(hostile);
      onTestFinished(end);
      const begun = performance.now();
      const { status, report } = await reaperJson(['cleanup', '--yes', '--now', '--clay-home', home, ...RUTHLESS]);
      // Two looks with 3 s between them, and nothing to reap.
      expect(performance.now() - begun).toBeLessThan(20_000);
      expect(status).toBe(4);
      expect(report.clay).toMatchObject([{ api: 'unreachable' }]);
      expect(report.processes).toMatchObject([{ verdict: 'protected', reasons: [{ code: 'api' }] }]);
    },
  );
});

describe('4. fifty such homes at once', () => {
  const ends: (() => Promise<void>)[] = [];
  const hostile: string[] = [];
  beforeAll(async () => {
    const kinds = Object.values(HOSTILE);
    for (let each = 0; each < 50; each += 1) {
      const made = await hostileHome(kinds[each % kinds.length] ?? (() => () => {}));
      hostile.push(made.home);
      ends.push(made.end);
    }
  });
  afterAll(async () => {
    for (const end of ends) await end();
  });

  test("do not delay ada's home, whose orphan is ended in the time that one slow home would take", async () => {
    const ada = await startClay({ user: ADA, projects: ['rest'] });
    onTestFinished(ada.stop);
    const idle = await ada.sham({ project: 'rest', shape: 'native', idleSeconds: 3600 });
    const homesOf = [...hostile, ada.home].flatMap((home) => ['--clay-home', home]);
    const begun = performance.now();
    const { status, report } = await reaperJson(['cleanup', '--yes', '--now', '--min-age', '0s', ...homesOf]);
    // Each home is asked three times for at most 2 s; one after the other that would be 50 times as long.
    expect(performance.now() - begun).toBeLessThan(25_000);
    expect(status).toBe(4);
    expect(idle.isAlive()).toBe(false);
    expect(report.clay).toHaveLength(51);
    const others = report.processes.filter((each) => each.uid === MALLORY.uid);
    expect(others).toHaveLength(50);
    expect(others.filter((each) => each.verdict !== 'protected')).toEqual([]);
  });

  test('do not make the service grow', async () => {
    const homesOf = hostile.flatMap((home) => ['--clay-home', home]);
    const running = startReaper([...homesOf, '--poll', '100ms', '--dry-run', '--log-level', 'debug'], {
      env: { NODE_OPTIONS: sizesAmong(optionsWithSmallHeap()).join(' ') },
    });
    onTestFinished(async () => void (await running.stop()));
    const swept = (): number => running.log.filter((line) => line.msg === 'swept').length;
    await until('two sweeps', () => swept() >= 2, 60_000);
    const early = residentBytes(running.pid);
    await until('seven sweeps', () => swept() >= 7, 60_000);
    expect(residentBytes(running.pid) - early).toBeLessThan(40 * MIB);
    expect(highWaterBytes(running.pid)).toBeLessThan(200 * MIB);
  });
});
