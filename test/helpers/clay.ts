import { spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import {
  childrenOf,
  identify,
  isAlive,
  kill,
  type ProcessId,
  parentOf,
  pidInNamespaceOf,
  withEnvironment,
} from './processes.ts';
import { waitFor } from './wait-for.ts';

const daemonScript = fileURLToPath(new URL('clay-server/lib/daemon.js', import.meta.url));

export type User = { readonly uid: number; readonly gid: number };

/** Clay's worker for the conversations of an OS user; `script`: below Clay's lib/, else that of 2.17. */
export type Worker = User & { readonly script?: string; readonly env?: Readonly<Record<string, string>> };

export type ClayOptions = {
  /** Slugs of projects to begin with. */
  readonly projects?: readonly string[];
  /** Stamps each journal record with `_ts`, as newer releases do. */
  readonly timestamps?: boolean;
  /** `old`: the journal folders of older installs, that encode `/` and `.` only. */
  readonly journalEncoding?: 'new' | 'old';
  /** What get_status says, and no more: a worker is started by the `worker` of a fake claude or of a query. */
  readonly osUsers?: boolean;
  /** daemon-dev.json and daemon-dev.sock. */
  readonly dev?: boolean;
  /** $CLAY_HOME in the daemon's own environment, relative to `directory`; without it the daemon takes ~/.clay. */
  readonly clayHome?: string;
  /** As root only: who the daemon runs as. */
  readonly user?: User;
  /**
   * As root only: the daemon is PID 1 of a pid and a mount namespace of its own, as in a container, or runs in those of this
   * process. Pids stay those that the test sees.
   */
  readonly container?: 'own' | ProcessId;
  /** A shell command that the process starts in the background before it becomes the daemon, as in a container's entry point. */
  readonly alongside?: string;
  /** As root only: root's daemon that this user started through sudo(8), so that its home lies in the user's home. */
  readonly sudo?: User;
  /** Added to the environment of the daemon, and so to that of its children. */
  readonly env?: Readonly<Record<string, string>>;
  /** Continues where another stand-in stopped or crashed; its files are left alone until that one's `stop`. */
  readonly after?: Clay;
};

export type TurnState = 'none' | 'open' | 'tool' | 'permission' | 'question' | 'ended' | 'suggested' | 'woken';
export type JournalRecord = { readonly type: string; readonly [field: string]: unknown };

/** What a fake claude can be ordered to do, at its start and later. A field that is absent changes nothing. */
export type ClaudeCommand = {
  /** Claude's own session file: its honest fields with these over them (null removes one), or none at all. */
  readonly sessionFile?: boolean | Readonly<Record<string, unknown>>;
  /** Holds an ESTABLISHED connection; null closes it. */
  readonly connect?: { readonly port: number; readonly host?: string } | null;
  /** Listens on a unix socket, as 0.3.x does on /tmp/cc-socks/PID.sock. */
  readonly listen?: string | null;
  /** Uses `percent` of a core, for ever or until `seconds` of CPU time are used. */
  readonly burn?: { readonly percent: number; readonly seconds?: number } | null;
  /** Takes so many bytes of memory that it shares with nobody. */
  readonly hold?: number | null;
  /** A Bash tool that runs `sleep`, or this command, in a session of its own. */
  readonly toolShell?: boolean | string;
  /** A stdio MCP server that shares its session and does not mind losing its stdin. */
  readonly mcpServer?: boolean;
  /** A child that belongs to another thread than the main one. */
  readonly threadChild?: boolean;
  readonly ignoreSigterm?: boolean;
  /** After SIGTERM the session file goes first, then a hook runs so long. */
  readonly sessionEndHookSeconds?: number;
  /** Leaves a child behind when it exits. */
  readonly forkWhileDying?: boolean;
  /** Lives on when the daemon is gone. */
  readonly outliveDaemon?: boolean;
  /** Exits with this status. */
  readonly exit?: number;
};

export type FakeClaudeOptions = {
  readonly project: string;
  /** Of its conversation. */
  readonly title?: string;
  /** `node`: as 0.2.92; `native`: as 0.3.x, at 1 MB, but obeys `ignoreSigterm` and `sessionFile` only; `terminal`: has a tty. */
  readonly shape?: 'node' | 'native' | 'terminal';
  /** $CLAUDE_AGENT_SDK_VERSION; decides the shape of the session file. 0.2.92, and 0.3.330 for `native`. */
  readonly sdk?: string;
  readonly sessionId?: string;
  /** A further process of this conversation. */
  readonly localId?: number;
  /** How far its last turn has come; `null`: Clay knows nothing of it (deleted, or not yet known). */
  readonly journal?: TurnState | readonly JournalRecord[] | null;
  /** One exchange, none, or whole lines. */
  readonly transcript?: boolean | string;
  /** Journal, transcript and `statusUpdatedAt` are so old. */
  readonly idleSeconds?: number;
  readonly cwd?: string;
  /** Changes to its environment; null removes. */
  readonly env?: Readonly<Record<string, string | null>>;
  /** Started by Clay's worker of this user instead of the daemon itself. */
  readonly worker?: Worker;
  readonly start?: ClaudeCommand;
};

/** A claude of an ended conversation, idle for an hour: an orphan (`parked`) by the defaults. */
export const IDLE: FakeClaudeOptions = { project: 'rest', idleSeconds: 3600 };

/** The same as a native binary: 1 MB, for tests that need many or need it fast. */
export const IDLE_NATIVE: FakeClaudeOptions = { ...IDLE, shape: 'native' };

export type ConversationState = {
  readonly localId: number;
  readonly project: string;
  readonly sessionId: string | null;
  readonly journal: string | null;
  /** Whether its query runs, as far as Clay has noticed. */
  readonly running: boolean;
  readonly processing: boolean;
  readonly turns: number;
  /** The names of the tools that its release offers; null until its first answer. */
  readonly tools: readonly string[] | null;
  /** What its tools answered, as far as that is one text. */
  readonly toolResults: readonly string[];
  readonly permissions: readonly { readonly requestId: string; readonly toolName: string }[];
  /** Ids of the tool calls that ask the user something. */
  readonly questions: readonly string[];
  /** All that the assistant has said. */
  readonly text: string;
  readonly pids: readonly number[];
};

type FakeClaudeReport = ConversationState & {
  readonly pid: number;
  readonly sessionId: string;
  readonly sessionFile: string;
  readonly transcript: string;
  readonly children: Readonly<Record<string, number>>;
  readonly workerPid: number | null;
};

export type FakeClaude = ProcessId & {
  readonly sessionId: string;
  readonly localId: number;
  readonly journal: string | null;
  readonly sessionFile: string;
  readonly transcript: string;
  readonly workerPid: number | null;
  /** Resolves with the pids of its children, by the name of the command that started them. */
  readonly command: (command: ClaudeCommand) => Promise<Readonly<Record<string, number>>>;
  readonly children: Readonly<Record<string, number>>;
  readonly record: (records: TurnState | readonly JournalRecord[], idleSeconds?: number) => Promise<void>;
  /** The user deletes the conversation in Clay. */
  readonly deleteConversation: () => Promise<void>;
  readonly isAlive: () => boolean;
  readonly exited: (timeoutMs?: number) => Promise<void>;
};

export type QueryOptions = {
  readonly project: string;
  readonly text: string;
  /** The file URL of the Agent SDK's module. */
  readonly sdk: string;
  /** Over the options that Clay gives to query(). */
  readonly options?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string | null>>;
  readonly worker?: Worker;
};

export type Conversation = ProcessId & {
  readonly localId: number;
  readonly state: () => Promise<ConversationState>;
  /** The user's next message. */
  readonly send: (text: string) => Promise<void>;
  /** The user's answer to a permission prompt, or to a question (answers by question). */
  readonly answer: (decision: 'allow' | 'deny' | Readonly<Record<string, string>>) => Promise<void>;
  readonly interrupt: () => Promise<void>;
  /** From now on Clay cannot write its journal, as on a disk that has become read-only. */
  readonly makeJournalReadOnly: () => Promise<void>;
  /** Another process for the same conversation. */
  readonly resume: (text: string) => Promise<Conversation>;
  readonly deleteConversation: () => Promise<void>;
  readonly isAlive: () => boolean;
};

export type StatusBehaviour = {
  /**
   * `silent` accepts and never answers; `hangup` closes at once; `slow` gives a byte each `delayMs` (50);
   * `half` closes in the middle; `huge` is `bytes` (8 MiB) long; `closed` removes the socket, `stale` leaves its file.
   */
  readonly mode: 'ok' | 'error' | 'garbage' | 'half' | 'huge' | 'slow' | 'silent' | 'hangup' | 'closed' | 'stale';
  readonly override?: Readonly<Record<string, unknown>>;
  readonly bytes?: number;
  readonly delayMs?: number;
};

export type Clay = ProcessId & {
  /** Holds all that belongs to this stand-in; no other process of the machine has it in its environment. */
  readonly directory: string;
  /** $CLAY_HOME */
  readonly home: string;
  /** $HOME */
  readonly userHome: string;
  readonly configFile: string;
  readonly socket: string;
  readonly projectPath: (slug: string) => string;
  readonly addProject: (slug: string, path?: string) => Promise<void>;
  /** Overrides what its conversations say; null undoes it. */
  readonly setProject: (
    slug: string,
    flags: { readonly isProcessing?: boolean | null; readonly pendingPermissions?: number | null },
  ) => Promise<void>;
  readonly removeProject: (slug: string) => Promise<void>;
  readonly spawnClaude: (options: FakeClaudeOptions) => Promise<FakeClaude>;
  /** Opens a terminal of Clay's with a shell command in it; resolves with the shell. */
  readonly openTerminal: (
    project: string,
    command: string,
    env?: Readonly<Record<string, string>>,
  ) => Promise<ProcessId>;
  readonly startConversation: (options: QueryOptions) => Promise<Conversation>;
  readonly conversations: () => Promise<readonly ConversationState[]>;
  readonly answerStatus: (behaviour: StatusBehaviour) => Promise<void>;
  /** How many lines daemon.sock has received. */
  readonly statusRequests: () => Promise<number>;
  /** Dies without any cleanup. */
  readonly crash: () => Promise<void>;
  /** Ends as Clay does when asked to; its processes lose their stdin. */
  readonly quit: () => Promise<void>;
  /** Ends it with everything that it ever started, and removes its files. */
  readonly stop: () => Promise<void>;
};

/** Starts a stand-in for the Clay daemon, a process of its own. `stop` it in the end. */
export async function startClay(options: ClayOptions = {}): Promise<Clay> {
  const directory = options.after?.directory ?? mkdtempSync(join(tmpdir(), 'clay-'));
  const userHome = join(directory, 'home');
  const sudoHome = join(directory, 'sudo-home');
  const home = options.clayHome ? join(directory, options.clayHome) : join(options.sudo ? sudoHome : userHome, '.clay');
  const socketFolder = join(directory, 'sockets');
  const control = join(socketFolder, 'control.sock');
  const temporary = join(directory, 'tmp');
  if (!options.after)
    prepare(directory, [userHome, socketFolder, temporary, join(directory, 'projects')], options.user);
  if (options.sudo) prepare(directory, [sudoHome], options.sudo);
  if (options.clayHome) {
    prepare(directory, [home], options.user);
    chmodSync(home, 0o700);
  }

  const { timestamps, journalEncoding, osUsers, dev } = options;
  const command = [
    ...namespaceCommand(options.container),
    ...startFirst(options.alongside),
    process.execPath,
    daemonScript,
  ];
  const daemon = spawn(command[0] as string, command.slice(1), {
    env: {
      PATH: process.env.PATH,
      HOME: userHome,
      // What a killed claude leaves behind goes with the directory.
      TMPDIR: temporary,
      CLAUDE_CODE_TMPDIR: temporary,
      STAND_IN_CONTROL: control,
      STAND_IN_OPTIONS: JSON.stringify({
        timestamps,
        journalEncoding,
        osUsers,
        dev,
        tethered: true,
        workerSocketFolder: socketFolder,
      }),
      ...(options.clayHome ? { CLAY_HOME: home } : {}),
      // sudo(8) sets more; this is what Clay and clay-reaper look at.
      ...(options.sudo ? { SUDO_UID: String(options.sudo.uid), CLAY_CONFIG: join(home, 'daemon.json') } : {}),
      ...options.env,
    },
    cwd: userHome,
    // Like a service: a session of its own, without a terminal.
    detached: true,
    stdio: ['pipe', 'ignore', 'inherit'],
    ...options.user,
  });
  const exited = new Promise<void>((resolve) => daemon.once('exit', () => resolve()));
  const started = daemon.pid;
  if (started === undefined) throw new Error('the stand-in did not start');
  const ask = await connectControl(control, () => daemon.exitCode === null && daemon.signalCode === null);
  // unshare(1) and nsenter(1) stay outside of the namespace, as the parent of the daemon.
  const pid = options.container ? childrenOf(started)[0] : started;
  const identity = mustIdentify(pid ?? started);
  /** The pid that this test sees a process under, by the one that the stand-in gives for it. */
  const outerPid = (inner: number): number => (options.container ? pidInNamespaceOf(identity.pid, inner) : inner);
  const users = new Set<number>();

  const prepareWorker = (worker: Worker | undefined): { worker?: Worker & { home: string } } => {
    if (!worker) return {};
    const workerHome = join(directory, `home-${worker.uid}`);
    if (!users.has(worker.uid)) prepare(directory, [workerHome], worker);
    users.add(worker.uid);
    return { worker: { ...worker, home: workerHome } };
  };

  const toFakeClaude = (report: FakeClaudeReport): FakeClaude => {
    const identity = mustIdentify(outerPid(report.pid));
    const { sessionId, localId, journal, sessionFile, transcript, workerPid, children } = report;
    return {
      ...identity,
      sessionId,
      localId,
      journal,
      sessionFile,
      transcript,
      workerPid: workerPid === null ? null : outerPid(workerPid),
      children,
      command: async (command) => {
        const answer = await ask<{ children: Record<string, number> }>('command', { pid: report.pid, command });
        return answer.children;
      },
      record: (records, idleSeconds) => ask<void>('record', { localId, records, idleSeconds }),
      deleteConversation: () => ask<void>('deleteConversation', { localId }),
      isAlive: () => isAlive(identity),
      exited: async (timeoutMs) => {
        await waitFor(`${identity.pid} is gone`, () => !isAlive(identity), timeoutMs);
      },
    };
  };

  const toConversation = (report: ConversationState & { readonly pid: number }): Conversation => {
    const identity = mustIdentify(report.pid);
    const { localId } = report;
    return {
      ...identity,
      localId,
      state: () => ask<ConversationState>('conversation', { localId }),
      send: (text) => ask<void>('send', { localId, text }),
      answer: (decision) => ask<void>('answer', { localId, decision }),
      interrupt: () => ask<void>('interrupt', { localId }),
      makeJournalReadOnly: () => ask<void>('makeJournalReadOnly', { localId }),
      resume: async (text) => toConversation(await ask('resume', { localId, text })),
      deleteConversation: () => ask<void>('deleteConversation', { localId }),
      isAlive: () => isAlive(identity),
    };
  };

  const projectPath = (slug: string): string => join(directory, 'projects', slug);
  const clay: Clay = {
    ...identity,
    directory,
    home,
    userHome,
    projectPath,
    configFile: join(home, dev ? 'daemon-dev.json' : 'daemon.json'),
    socket: join(home, dev ? 'daemon-dev.sock' : 'daemon.sock'),
    addProject: (slug, path = projectPath(slug)) => ask<void>('addProject', { slug, path }),
    setProject: (slug, flags) => ask<void>('setProject', { slug, ...flags }),
    removeProject: (slug) => ask<void>('removeProject', { slug }),
    spawnClaude: async ({ worker, ...spawn }) =>
      toFakeClaude(await ask('spawnClaude', { ...spawn, ...prepareWorker(worker) })),
    openTerminal: async (project, command, env) => {
      const { pid } = await ask<{ pid: number }>('openTerminal', { project, command, env });
      return mustIdentify(outerPid(pid));
    },
    startConversation: async ({ worker, ...query }) =>
      toConversation(await ask('startConversation', { ...query, ...prepareWorker(worker) })),
    conversations: () => ask('conversations', {}),
    answerStatus: (behaviour) => ask<void>('status', { ...behaviour }),
    statusRequests: () => ask('statusRequests', {}),
    crash: async () => {
      kill(identity);
      await exited;
    },
    quit: async () => {
      kill(identity, 'SIGTERM');
      await exited;
    },
    stop: async () => {
      kill(identity);
      await exited;
      await endAll(directory);
      rmSync(directory, { recursive: true, force: true });
    },
  };
  for (const slug of options.projects ?? []) await clay.addProject(slug);
  return clay;
}

/** Others have to get through the folder to what is theirs in it. */
function prepare(directory: string, folders: readonly string[], user: User | undefined): void {
  chmodSync(directory, 0o711);
  for (const folder of folders) {
    mkdirSync(folder, { recursive: true });
    if (user) chownSync(folder, user.uid, user.gid);
  }
}

/** All that carry the directory in their environment, those that lost their parent included; but not the test's own. */
async function endAll(directory: string): Promise<void> {
  const theirs = (): ProcessId[] =>
    withEnvironment(directory).filter((found) => parentOf(found.pid) !== process.pid && isAlive(found));
  await waitFor('all its processes are gone', () => {
    const left = theirs();
    for (const found of left) kill(found);
    return left.length === 0;
  });
}

/** Runs a command as the leader of a session, as docker does; an own namespace ends with unshare(1). */
export function namespaceCommand(container: ClayOptions['container']): string[] {
  if (container === undefined) return [];
  if (container === 'own') return ['unshare', '--pid', '--mount', '--fork', '--mount-proc', '--kill-child', 'setsid'];
  return ['nsenter', '--target', String(container.pid), '--pid', '--mount', '--', 'setsid'];
}

const startFirst = (command: string | undefined): string[] =>
  command === undefined ? [] : ['sh', '-c', `${command} &\nexec "$@"`, 'sh'];

function mustIdentify(pid: number): ProcessId {
  const identity = identify(pid);
  if (!identity) throw new Error(`${pid} was gone at once`);
  return identity;
}

type Ask = <T>(op: string, parameters: Readonly<Record<string, unknown>>) => Promise<T>;

/** Requests are answered in their order, so a queue is all the bookkeeping. */
async function connectControl(path: string, isRunning: () => boolean): Promise<Ask> {
  const socket = await waitFor('the stand-in listens', async () => {
    if (!isRunning()) throw new Error('the stand-in ended at its start');
    return tryConnect(path);
  });
  const waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = [];
  const answers = createInterface({ input: socket });
  // It passes on what goes wrong with the socket, which is seen by its end.
  answers.on('error', () => {});
  answers.on('line', (line) => {
    const answer = JSON.parse(line) as { ok: boolean; result?: unknown; error?: string };
    const request = waiting.shift();
    if (answer.ok) request?.resolve(answer.result);
    else request?.reject(new Error(answer.error));
  });
  socket.on('error', () => {});
  socket.once('close', () => {
    for (const { reject } of waiting) reject(new Error('the stand-in is gone'));
  });
  return <T>(op: string, parameters: Readonly<Record<string, unknown>>) =>
    new Promise<T>((resolve, reject) => {
      if (socket.destroyed) return reject(new Error('the stand-in is gone'));
      waiting.push({ resolve: (value) => resolve(value as T), reject });
      socket.write(`${JSON.stringify({ op, ...parameters })}\n`);
    });
}

function tryConnect(path: string): Promise<Socket | null> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket)).once('error', () => resolve(null));
  });
}
