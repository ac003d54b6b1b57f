import { randomUUID } from 'node:crypto';
import { type AddressInfo, createServer } from 'node:net';
import { type Clay, type FakeClaude, type FakeClaudeOptions, startClay } from '../helpers/clay.ts';

/** A process of the scene: what goes on in it, and whether it is at work. */
export type Actor = { readonly role: string; readonly atWork: boolean; readonly claude: FakeClaude };

export type Scene = { readonly clay: Clay; readonly actors: readonly Actor[]; readonly close: () => Promise<void> };

/** For how long the idle processes have been idle when the curtain rises; seconds. */
export type IdleSeconds = Readonly<Record<'superseded' | 'deleted' | 'abandoned' | 'parked', number>>;

/**
 * A simulated Clay with eight fake `claude` processes: four at work, and four that are left over, one of each kind.
 * Nothing of it is installed or needs root; `close` ends all of it and removes its files. Each process holds `hold` bytes of memory.
 */
export async function openScene(idleSeconds: IdleSeconds, hold = 0): Promise<Scene> {
  const api = createServer();
  await new Promise<void>((resolve) => api.listen(0, '127.0.0.1', resolve));
  const { port } = api.address() as AddressInfo;
  // The first Clay dies and leaves a process behind, the second takes its place.
  const dead = await startClay({ projects: ['shop', 'blog'] });
  let clay = dead;
  const close = async (): Promise<void> => {
    await clay.stop();
    await new Promise((resolve) => api.close(resolve));
  };
  try {
    const actors: Actor[] = [];
    const enter = async (role: string, atWork: boolean, options: FakeClaudeOptions): Promise<FakeClaude> => {
      const claude = await clay.spawnClaude({ ...options, start: { ...options.start, hold } });
      actors.push({ role, atWork, claude });
      return claude;
    };
    const idle = (role: keyof IdleSeconds, title: string, more: Partial<FakeClaudeOptions> = {}): Promise<FakeClaude> =>
      enter(role, false, { project: 'blog', title, journal: 'ended', idleSeconds: idleSeconds[role], ...more });
    const working = (role: string, title: string, more: Partial<FakeClaudeOptions>): Promise<FakeClaude> =>
      enter(role, true, { project: 'shop', title, ...more });

    await idle('abandoned', 'About page', { start: { outliveDaemon: true } });
    await dead.crash();
    clay = await startClay({ projects: ['shop', 'blog'], after: dead });
    const conversation = { sessionId: randomUUID() };
    await idle('superseded', 'Fix the feed', conversation);
    await idle('parked', 'Fix the feed', conversation);
    const deleted = await idle('deleted', 'Try a font');
    await deleted.deleteConversation();
    await working('streaming an answer', 'The cart', { journal: 'open', start: { connect: { port } } });
    await working('running a tool', 'Run tests', { journal: 'tool', start: { toolShell: true } });
    await working('a tool in the background', 'Dev server', { journal: 'ended', start: { toolShell: true } });
    await working('waiting for a permission', 'Deploy', { journal: 'permission' });
    return { clay, actors, close };
  } catch (error) {
    await close();
    throw error;
  }
}
