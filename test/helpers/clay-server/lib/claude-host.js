import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onJsonLines, writeJsonLine } from './lines.js';

const helpers = fileURLToPath(new URL('../../', import.meta.url));
// What the SDK starts its child with; the fake one ignores them, but they are part of the command line that is read.
const sdkArguments = [
  ...['--output-format', 'stream-json', '--verbose', '--input-format', 'stream-json'],
  ...['--setting-sources=user,project,local', '--permission-mode=default', '--include-partial-messages'],
];

/**
 * Starts `claude` processes, real and fake, as children of the process that it runs in: the daemon, or a worker.
 * `emit` gets what the real ones report: {key, message} | {key, ask} | {key, elicitation} | {key, ended, error}.
 */
export function createHost(emit) {
  const claudes = new Map();
  const queries = new Map();

  return {
    spawnFakeClaude: (spec) => spawnFakeClaude(claudes, spec),
    commandClaude: ({ pid, command }) => known(claudes, pid, 'fake claude').command(command),
    startQuery: (spec) => startQuery(queries, spec, emit),
    send: ({ key, text }) => known(queries, key, 'query').push(text),
    answer: ({ key, id, decision }) => known(queries, key, 'query').answer(id, decision),
    interrupt: ({ key }) => known(queries, key, 'query').interrupt(),
    endInput: ({ key }) => known(queries, key, 'query').endInput(),
  };
}

function known(map, key, what) {
  const found = map.get(key);
  if (!found) throw new Error(`no such ${what}: ${key}`);
  return found;
}

// --- fake processes ---

/** Resolves when the process runs and its files are there. */
async function spawnFakeClaude(claudes, { shape, cwd, sdk, sessionId, env, transcript, idleSeconds, start }) {
  const environment = withOverrides(
    { ...process.env, CLAUDE_CODE_ENTRYPOINT: 'sdk-ts', CLAUDE_AGENT_SDK_VERSION: sdk },
    env,
  );
  const folder = environment.CLAUDE_CONFIG_DIR ?? join(environment.HOME ?? homedir(), '.claude');
  const transcriptPath = join(folder, 'projects', encodeCwd(cwd), `${sessionId}.jsonl`);

  const claude = shape === 'native' ? native({ cwd, environment, start }) : scripted({ shape, cwd, sdk, environment });
  const { child } = claude;
  await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  const sessionFile = join(folder, 'sessions', `${child.pid}.json`);
  Object.assign(claude, { sessionFile, transcript: transcriptPath, sessionId, cwd });
  claudes.set(child.pid, claude);
  child.stdin.on('error', () => {});
  child.once('exit', () => claudes.delete(child.pid));

  const since = idleSeconds === undefined ? {} : { statusUpdatedAt: Date.now() - idleSeconds * 1000 };
  const { sessionFile: fields = true, ...rest } = start;
  const report = await claude.command({
    ...rest,
    sessionId,
    sessionFile: fields && sdk.startsWith('0.3.') ? { ...since, ...(fields === true ? {} : fields) } : fields,
  });
  // As the real one does: only after its start.
  if (transcript) writeTranscript(transcriptPath, transcript, { cwd, sessionId, idleSeconds });
  return { pid: child.pid, sessionFile, transcript: transcriptPath, children: report.children };
}

function withOverrides(env, overrides = {}) {
  const merged = { ...env, ...overrides };
  for (const [name, value] of Object.entries(merged)) if (value === null) delete merged[name];
  return merged;
}

/** The fake one that obeys every command: Node with a process title, optionally on a terminal. */
function scripted({ shape, cwd, sdk, environment }) {
  const program = [process.execPath, join(helpers, 'fake-claude.js'), ...sdkArguments];
  const command = shape === 'terminal' ? ['perl', join(helpers, 'fake-claude-tty.pl'), ...program] : program;
  const child = spawn(command[0], command.slice(1), {
    cwd,
    env: environment,
    // The daemon reads stderr of the newer one only.
    stdio: ['pipe', 'pipe', sdk.startsWith('0.3.') ? 'pipe' : 'ignore'],
    // A process can only take a terminal when it leads a session that has none.
    detached: shape === 'terminal',
  });
  child.stderr?.resume();
  const waiting = new Map();
  onJsonLines(child.stdout, (answer) => {
    waiting.get(answer.id)?.resolve(answer);
    waiting.delete(answer.id);
  });
  child.once('exit', () => {
    for (const { reject } of waiting.values()) reject(new Error('the fake claude has exited'));
  });
  let commands = 0;
  return {
    child,
    command: (command) =>
      new Promise((resolve, reject) => {
        commands += 1;
        waiting.set(commands, { resolve, reject });
        writeJsonLine(child.stdin, { id: commands, ...command });
      }),
  };
}

/** The cheap one. It cannot write its session file, so that is done for it here. */
function native({ cwd, environment, start }) {
  const shell = nativeBinary();
  const folder = environment.CLAUDE_CONFIG_DIR ?? join(environment.HOME, '.claude');
  const env = {
    ...environment,
    FAKE_CLAUDE_FOLDER: folder,
    ...(start.ignoreSigterm ? { FAKE_CLAUDE_IGNORE_SIGTERM: '1' } : {}),
  };
  const child = spawn(shell, [join(helpers, 'fake-claude.sh'), ...sdkArguments], { cwd, env, stdio: 'pipe' });
  child.stdout.resume();
  child.stderr.resume();
  return {
    child,
    command: async function ({ sessionFile, sessionId }) {
      if (sessionFile === undefined) return { children: {} };
      if (!sessionFile) {
        rmSync(this.sessionFile, { force: true });
        return { children: {} };
      }
      mkdirSync(dirname(this.sessionFile), { recursive: true, mode: 0o700 });
      const now = Date.now();
      const fields = {
        pid: child.pid,
        sessionId: sessionId ?? this.sessionId,
        cwd,
        // To the program, every process is a day older than it is (older-machine.cjs).
        startedAt: now - 86_400_000,
        procStart: procStart(child.pid),
        version: '2.1.330',
        kind: 'interactive',
        entrypoint: 'sdk-ts',
        status: 'idle',
        updatedAt: now,
        statusUpdatedAt: now,
        ...(sessionFile === true ? {} : sessionFile),
      };
      for (const [name, value] of Object.entries(fields)) if (value === null) delete fields[name];
      writeFileSync(this.sessionFile, JSON.stringify(fields));
      return { children: {} };
    },
  };
}

/** A copy and no link: /proc/PID/exe has to name it. */
function nativeBinary() {
  const path = join(process.env.FAKE_CLAUDE_BIN ?? join(homedir(), 'bin'), 'claude');
  if (!existsSync(path)) {
    mkdirSync(dirname(path), { recursive: true });
    copyFileSync('/bin/sh', path);
  }
  return path;
}

function procStart(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

/** Both SDKs: every non-alphanumeric becomes `-`; beyond 200 characters a hash of the whole path ends the name. */
export function encodeCwd(cwd) {
  const encoded = cwd.replace(/[^a-zA-Z0-9]/g, '-');
  if (encoded.length <= 200) return encoded;
  let hash = 0;
  for (let at = 0; at < cwd.length; at += 1) hash = ((hash << 5) - hash + cwd.charCodeAt(at)) | 0;
  return `${encoded.slice(0, 200)}-${Math.abs(hash).toString(36)}`;
}

/** `transcript`: true for one exchange, or whole lines. */
function writeTranscript(path, transcript, { cwd, sessionId, idleSeconds = 0 }) {
  const at = new Date(Date.now() - idleSeconds * 1000);
  const common = { isSidechain: false, userType: 'external', cwd, sessionId, timestamp: at.toISOString() };
  const exchange = [
    { type: 'user', message: { role: 'user', content: 'hello' }, ...common },
    { type: 'assistant', message: { role: 'assistant', content: [{ type: 'text', text: 'done' }] }, ...common },
  ];
  const text = transcript === true ? exchange.map((record) => `${JSON.stringify(record)}\n`).join('') : transcript;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  appendFileSync(path, text);
  if (idleSeconds) utimesSync(path, at, at);
}

// --- real processes ---

/** As Clay calls it: a query whose input never ends, and a canUseTool that waits for a person. */
async function startQuery(queries, { key, sdk, cwd, text, options = {}, env }, emit) {
  const { query } = await import(sdk);
  const input = pushable();
  const asked = new Map();
  const before = new Set(childPids());
  const running = query({
    prompt: input.messages,
    options: {
      cwd,
      env: withOverrides(process.env, env),
      settingSources: ['user', 'project', 'local'],
      permissionMode: 'default',
      includePartialMessages: true,
      enableFileCheckpointing: true,
      canUseTool: (toolName, toolInput, { toolUseID, signal }) =>
        new Promise((resolve) => {
          const id = randomUUID();
          asked.set(id, (decision) => resolve(decide(decision, toolInput)));
          emit({ key, ask: { id, toolName, toolInput, toolUseId: toolUseID } });
          signal.addEventListener('abort', () => {
            if (!asked.delete(id)) return;
            emit({ key, cancelled: { id, toolName, toolUseId: toolUseID } });
            resolve({ behavior: 'deny', message: 'Cancelled' });
          });
        }),
      // Nobody answers.
      onElicitation: (request) => {
        emit({ key, elicitation: request });
        return new Promise(() => {});
      },
      ...options,
    },
  });
  queries.set(key, {
    push: input.push,
    endInput: input.end,
    interrupt: () => running.interrupt(),
    answer: (id, decision) => {
      const resolve = known(asked, id, 'request');
      asked.delete(id);
      resolve(decision);
    },
  });
  input.push(text);
  void follow(running, key, emit);
  return { pid: await newChild(before) };
}

/** `allow`, `deny`, or the answers to a question to the user, by question. */
function decide(decision, toolInput) {
  if (decision === 'deny') return { behavior: 'deny', message: 'The user said no.' };
  const answers = typeof decision === 'object' ? { answers: decision } : {};
  return { behavior: 'allow', updatedInput: { ...toolInput, ...answers } };
}

async function follow(running, key, emit) {
  try {
    for await (const message of running) emit({ key, message });
    emit({ key, ended: true });
  } catch (error) {
    emit({ key, ended: true, error: error.message });
  }
}

function pushable() {
  const queue = [];
  let wake = () => {};
  let ended = false;
  async function* messages() {
    for (;;) {
      while (queue.length > 0) yield queue.shift();
      if (ended) return;
      await new Promise((resolve) => {
        wake = resolve;
      });
    }
  }
  return {
    messages: messages(),
    push: (text) => {
      queue.push({ type: 'user', message: { role: 'user', content: text }, parent_tool_use_id: null, session_id: '' });
      wake();
    },
    end: () => {
      ended = true;
      wake();
    },
  };
}

function childPids() {
  return readdirSync('/proc/self/task').flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
}

/** The SDK does not report the pid of the process it starts. */
async function newChild(before) {
  for (;;) {
    const pid = childPids().find((candidate) => !before.has(candidate));
    if (pid !== undefined) return pid;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
