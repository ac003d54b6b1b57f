import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Clay, type Sham, type ShamOptions, startClay } from '../support/clay.ts';
import { childrenOf, identify, isAlive } from '../support/processes.ts';

/** A Clay with idle processes, whose conversations ended their last turn ten minutes ago. */
export type Fleet = { readonly clay: Clay; readonly shams: readonly Sham[]; readonly stop: () => Promise<void> };

export type FleetOptions = {
  /**
   * `native`: the least that a `claude` can be (a shell with that name and the environment, 1 MB), so that thousands fit.
   * `node`: as those of the bug report are: some ten threads and twenty descriptors, 45 MB.
   */
  readonly shape?: 'native' | 'node';
  /** So many of them have an established TCP connection. */
  readonly connected?: number;
};

/** Most people have a handful of conversations in each of some projects. */
const CONVERSATIONS_A_PROJECT = 5;

export async function startFleet(size: number, { shape = 'native', connected = 0 }: FleetOptions = {}): Promise<Fleet> {
  const projects = Array.from({ length: Math.max(1, Math.ceil(size / CONVERSATIONS_A_PROJECT)) }, (_, at) => `p${at}`);
  const clay = await startClay({ projects });
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const shams: Sham[] = [];
  for (let at = 0; at < size; at++) {
    const project = projects[at % projects.length] ?? '';
    // Only the sham that is a Node program can connect.
    const how: Pick<ShamOptions, 'shape' | 'start'> =
      at < connected ? { shape: 'node', start: { connect: { port } } } : { shape };
    shams.push(await clay.sham({ project, ...how, idleSeconds: 600 }));
  }
  return {
    clay,
    shams,
    stop: async () => {
      await clay.stop();
      server.close();
    },
  };
}

/** Processes that have nothing to do with any Clay; gives what ends them. */
export async function startUnrelated(count: number): Promise<() => Promise<void>> {
  const script = `for ((each = 0; each < ${count}; each++)); do sleep 86400 & done; wait`;
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
