import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { User } from '../helpers/clay.ts';
import { childrenOf, identify, isAlive, kill, type ProcessId } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';

/** Users that exist nowhere else: a uid is all that the kernel knows of one. */
export const ADA: User = { uid: 61_801, gid: 61_801 };
export const MALLORY: User = { uid: 61_802, gid: 61_802 };

/** A folder that all can pass through, for what belongs to several users; `remove` it in the end. */
export function commonFolder(): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'hostile-'));
  chmodSync(path, 0o711);
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Makes a folder of a user's, with the mode of a home. */
export function folderOf(user: User, path: string, mode = 0o755): string {
  mkdirSync(path, { recursive: true });
  chownSync(path, user.uid, user.gid);
  chmodSync(path, mode);
  return path;
}

/** Writes a file of a user's. */
export function fileOf(user: User, path: string, text: string | Buffer, mode = 0o600): string {
  writeFileSync(path, text, { mode });
  chmodSync(path, mode);
  chownSync(path, user.uid, user.gid);
  return path;
}

/** The password database of this test's own mount namespace names these homes, and no others; gives how to undo it. */
export function everyUsersHome(homes: readonly (readonly [user: User, home: string])[], folder: string): () => void {
  const path = join(folder, 'passwd');
  const lines = homes.map(([user, home], nr) => `user${nr}:x:${user.uid}:${user.gid}::${home}:/bin/sh\n`);
  writeFileSync(path, lines.join(''), { mode: 0o644 });
  execFileSync('mount', ['--bind', path, '/etc/passwd']);
  return () => execFileSync('umount', ['/etc/passwd']);
}

/** A process that a test started, and that it ends. */
export type Started = ProcessId & {
  readonly isAlive: () => boolean;
  readonly end: () => Promise<void>;
};

/** Starts a process as a user, in a session of its own. */
export async function startAs(
  user: User,
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd = '/',
): Promise<Started> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, {
    ...user,
    env: { PATH: process.env.PATH, ...env },
    cwd,
    detached: true,
    stdio: 'ignore',
  });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await new Promise<void>((resolve, reject) => child.once('spawn', () => resolve()).once('error', reject));
  const found = identify(child.pid ?? 0);
  if (!found) throw new Error(`${program} was gone at once`);
  return {
    ...found,
    isAlive: () => isAlive(found),
    end: async () => {
      kill(found);
      await exited;
    },
  };
}

/** The path of a `daemon.js` that counts as Clay's by its place; whoever wants to can have such a folder. */
export function clayScript(user: User, folder: string): string {
  const script = join(folder, 'clay-server', 'lib', 'daemon.js');
  folderOf(user, join(folder, 'clay-server'));
  folderOf(user, dirname(script));
  return fileOf(user, script, '', 0o644);
}

/** A copy of a program under the name `claude`, so that its process has it too. */
export function claudeProgram(folder: string, program = '/bin/sleep', mode = 0o755): string {
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o755);
  const path = join(folder, 'claude');
  // Another copy may be running: nobody can write to that.
  rmSync(path, { force: true });
  copyFileSync(program, path);
  chmodSync(path, mode);
  return path;
}

/** What a `claude` of the Agent SDK has in its environment. */
export const parseClaudeEnvironment = (userHome: string, clayHome: string): Record<string, string> => ({
  HOME: userHome,
  CLAUDE_CODE_ENTRYPOINT: 'sdk-ts',
  CLAUDE_AGENT_SDK_VERSION: '0.2.92',
  CLAY_HOME: clayHome,
});

/**
 * A process that passes for a Clay daemon: a shell with daemon.js among its arguments, which starts `children` (shell
 * commands that become a {@link claudeProgram}) and waits.
 */
export async function fakeDaemon(
  user: User,
  script: string,
  children: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<Started & { readonly claudes: readonly ProcessId[] }> {
  const program = [...children.map((command) => `${command} &`), 'wait', 'while :; do sleep 3600; done'].join('\n');
  const daemon = await startAs(user, ['/bin/sh', '-c', program, 'sh', script], env);
  const claudes = await waitFor('the fake daemon has its children, and they are what they are to be', () => {
    const pids = childrenOf(daemon.pid);
    const named = pids.filter((pid) => commOf(pid) === 'claude');
    return named.length >= children.length ? named.flatMap((pid) => identify(pid) ?? []) : null;
  });
  return {
    ...daemon,
    claudes,
    end: async () => {
      const children = childrenOf(daemon.pid).flatMap((pid) => identify(pid) ?? []);
      await daemon.end();
      for (const child of children) kill(child);
    },
  };
}

/** The name of a process as the kernel has it; empty if there is none. */
export function commOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

/** How a socket of an attacker's behaves once somebody has connected. */
export type Answer = (socket: Socket) => void;

/** Listens on a unix socket that belongs to `user`. */
export async function listenAs(
  user: User,
  path: string,
  answer: Answer,
): Promise<{ readonly close: () => Promise<void>; readonly connections: () => number }> {
  let connections = 0;
  const open = new Set<Socket>();
  const server: Server = createServer((socket) => {
    connections += 1;
    open.add(socket);
    socket.on('error', () => {}).on('close', () => open.delete(socket));
    answer(socket);
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
  chownSync(path, user.uid, user.gid);
  return {
    connections: () => connections,
    close: () => {
      for (const socket of open) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

/** Answers each line with this status. */
export const saying =
  (status: Readonly<Record<string, unknown>>): Answer =>
  (socket) => {
    socket.on('data', () => socket.write(`${JSON.stringify(status)}\n`));
  };

/** A status in which everything is at rest. */
export const unchanged = (
  pid: number,
  projects: readonly { slug: string; path: string }[] = [],
): Record<string, unknown> => ({
  ok: true,
  pid,
  projects: projects.map((project) => ({ ...project, isProcessing: false, pendingPermissions: 0 })),
});

/** A Clay home in `folder`, and what passes for the Clay of it. */
export type FakeClay = {
  readonly home: string;
  readonly folder: string;
  readonly daemon: Awaited<ReturnType<typeof fakeDaemon>>;
  readonly socket: Awaited<ReturnType<typeof listenAs>>;
  readonly end: () => Promise<void>;
};

/** Makes a home in a new folder of a user's, with a {@link fakeDaemon}; `answer`: what is behind its socket. */
export async function fakeClay(
  user: User,
  folder: string,
  children: readonly string[],
  answer: (pid: number) => Answer = (pid) => saying(unchanged(pid)),
): Promise<FakeClay> {
  const home = folderOf(user, join(folderOf(user, folder), '.clay'), 0o700);
  const daemon = await fakeDaemon(user, clayScript(user, folder), children, parseClaudeEnvironment(folder, home));
  fileOf(user, join(home, 'daemon.json'), JSON.stringify({ pid: daemon.pid }));
  const socket = await listenAs(user, join(home, 'daemon.sock'), answer(daemon.pid));
  return {
    home,
    folder,
    daemon,
    socket,
    end: async () => {
      await socket.close();
      await daemon.end();
    },
  };
}
