import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { NO_WAITS, runCliJson, startService } from '../helpers/cli.ts';
import { peakResidentBytes } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { meanResidentIn, watched } from '../soak/memory.ts';
import { ADA, type Answer, claudeProgram, commonFolder, type FakeClay, fakeClay, MALLORY, unchanged } from './users.ts';

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

const whole = (pid: number): string => `${JSON.stringify(unchanged(pid))}\n`;

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
    void socket.write(`${JSON.stringify(unchanged(pid)).slice(0, -1)},"x":${'['.repeat(1e6)}${']'.repeat(1e6)}}\n`),
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

describe('hostile daemon.sock', () => {
  test.concurrent.for(Object.entries(HOSTILE))(
    'counts as unreachable and protects if it %s',
    async ([, hostile], { expect, onTestFinished }) => {
      const { home, end } = await hostileHome(hostile);
      onTestFinished(end);
      const begun = performance.now();
      const { status, report } = await runCliJson(['cleanup', '--yes', '--now', '--clay-home', home, ...NO_WAITS]);
      // Two assessments with 3 s between them, and nothing to reap.
      expect(performance.now() - begun).toBeLessThan(20_000);
      expect(status).toBe(4);
      expect(report.clay).toMatchObject([{ api: 'unreachable' }]);
      expect(report.processes).toMatchObject([{ verdict: 'protected', reasons: [{ code: 'api' }] }]);
    },
  );
});

describe('fifty homes with a hostile daemon.sock', () => {
  const ends: (() => Promise<void>)[] = [];
  const hostile: string[] = [];
  beforeAll(async () => {
    const kinds = Object.values(HOSTILE);
    for (let n = 0; n < 50; n += 1) {
      const made = await hostileHome(kinds[n % kinds.length] ?? (() => () => {}));
      hostile.push(made.home);
      ends.push(made.end);
    }
  });
  afterAll(async () => {
    for (const end of ends) await end();
  });

  test("do not delay the reaping of another user's orphan beyond the time of one slow home", async () => {
    const ada = await startClay({ user: ADA, projects: ['rest'] });
    onTestFinished(ada.stop);
    const idle = await ada.spawnClaude(IDLE_NATIVE);
    const homesOf = [...hostile, ada.home].flatMap((home) => ['--clay-home', home]);
    const begun = performance.now();
    const { status, report } = await runCliJson(['cleanup', '--yes', '--now', '--min-age', '0s', ...homesOf]);
    // Each home is asked three times for at most 2 s; one after the other that would be 50 times as long.
    expect(performance.now() - begun).toBeLessThan(25_000);
    expect(status).toBe(4);
    expect(idle.isAlive()).toBe(false);
    expect(report.clay).toHaveLength(51);
    const others = report.processes.filter((process) => process.uid === MALLORY.uid);
    expect(others).toHaveLength(50);
    expect(others.filter((process) => process.verdict !== 'protected')).toEqual([]);
  });

  test('do not increase the memory of the service', async () => {
    const homesOf = hostile.flatMap((home) => ['--clay-home', home]);
    const memory = join(common.path, 'memory.log');
    const running = startService([...homesOf, '--poll', '100ms', '--dry-run', '--log-level', 'debug'], {
      env: watched(memory),
    });
    onTestFinished(async () => void (await running.stop()));
    const swept = (): number => running.log.filter((line) => line.msg === 'swept').length;
    // What stays after a collection of all garbage: garbage alone differs by 40 MB from one sweep to another (measured).
    const residentDuring = async (sweeps: number): Promise<number> => {
      const [from, first] = [Date.now(), swept()];
      await waitFor(`${sweeps} sweeps`, () => swept() >= first + sweeps, 60_000);
      return meanResidentIn(memory, from, Date.now());
    };
    await waitFor('the first sweeps', () => swept() >= 3, 60_000);
    const early = await residentDuring(8);
    expect((await residentDuring(8)) - early).toBeLessThan(10 * MIB);
    expect(peakResidentBytes(running.pid)).toBeLessThan(200 * MIB);
  }, 180_000);
});
