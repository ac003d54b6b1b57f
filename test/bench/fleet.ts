import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Clay, type FakeClaude, type FakeClaudeOptions, startClay } from '../helpers/clay.ts';
import { childrenOf, identify, isAlive } from '../helpers/processes.ts';

/** A Clay with idle processes, whose conversations ended their last turn ten minutes ago. */
export type Fleet = {
  readonly clay: Clay;
  readonly claudes: readonly FakeClaude[];
  readonly stop: () => Promise<void>;
};

export type FleetOptions = {
  /**
   * `native`: the least that a `claude` can be (a shell with that name and the environment, 1 MB), so that thousands fit.
   * `node`: as those of the bug report are: some ten threads and twenty descriptors, 45 MB.
   */
  readonly shape?: 'native' | 'node';
  /** So many of them have an established TCP connection. */
  readonly connected?: number;
  /** The release of the Agent SDK that they say they are of; 0.2.92 for Node programs, 0.3.330 for `native` ones. */
  readonly sdk?: string;
  /** Of Node programs: each runs some 0.1 ms every 100 ms, so that none is at rest between two sweeps. */
  readonly wakes?: boolean;
  /** Of Node programs: each holds so many bytes that it shares with nobody. */
  readonly hold?: number;
};

/** Most people have a handful of conversations in each of some projects. */
const CONVERSATIONS_A_PROJECT = 5;

export async function startFleet(
  size: number,
  { shape = 'native', connected = 0, wakes = false, hold = 0, sdk }: FleetOptions = {},
): Promise<Fleet> {
  const projects = Array.from({ length: Math.max(1, Math.ceil(size / CONVERSATIONS_A_PROJECT)) }, (_, at) => `p${at}`);
  const clay = await startClay({ projects });
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const claudes: FakeClaude[] = [];
  for (let at = 0; at < size; at++) {
    const project = projects[at % projects.length] ?? '';
    // Only the fake claude that is a Node program can connect.
    const how: Pick<FakeClaudeOptions, 'shape' | 'start'> =
      at < connected
        ? { shape: 'node', start: { connect: { port } } }
        : {
            shape,
            ...(sdk === undefined ? {} : { sdk }),
            start: { ...(wakes ? { burn: { percent: 0.1 } } : {}), ...(hold > 0 ? { hold } : {}) },
          };
    claudes.push(await clay.spawnClaude({ project, ...how, idleSeconds: 600 }));
  }
  return {
    clay,
    claudes,
    stop: async () => {
      await clay.stop();
      server.close();
    },
  };
}

/** Processes that have nothing to do with any Clay; gives what ends them. */
export async function startUnrelated(count: number): Promise<() => Promise<void>> {
  const script = `for ((i = 0; i < ${count}; i++)); do sleep 86400 & done; wait`;
  const shell = spawn('bash', ['-c', script], { detached: true, stdio: 'ignore' });
  const { pid } = shell;
  if (pid === undefined) throw new Error('no shell');
  const exited = new Promise<void>((resolve) => shell.once('exit', () => resolve()));
  while (childrenOf(pid).length < count) await sleep(100);
  const children = childrenOf(pid).flatMap((child) => identify(child) ?? []);
  return async () => {
    // It leads a group of its own, of which nobody else is.
    process.kill(-pid, 'SIGKILL');
    await exited;
    // Who counts processes next is not to count these.
    while (children.some(isAlive)) await sleep(20);
  };
}
