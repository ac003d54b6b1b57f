// A process that looks like the `claude` of Agent SDK 0.2.92 from outside (Node with a process title), and does on
// command what matters to a reaper. Commands are JSON lines on stdin, answers JSON lines on stdout: no descriptor
// that the real one has not.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Worker } from 'node:worker_threads';

process.title = 'claude';

const folder = process.env.CLAUDE_CONFIG_DIR ?? join(homedir(), '.claude');
const sessionFile = join(folder, 'sessions', `${process.pid}.json`);
// To the program, every process is a day older than it is (older-machine.cjs).
const startedAt = Date.now() - 86_400_000;
const children = new Map();
const held = {};
let state = {};

/** What each property of a command does; a property that is absent changes nothing. */
const effects = {
  sessionFile: writeSessionFile,
  connect: async (target) => {
    held.connection?.destroy();
    if (!target) return;
    held.connection = connect(target.port, target.host ?? '127.0.0.1');
    held.connection.on('error', () => {});
    await new Promise((resolve) => held.connection.once('connect', resolve));
  },
  listen: async (path) => {
    held.listener?.close();
    if (!path) return;
    held.listener = createServer(() => {});
    await new Promise((resolve) => held.listener.listen(path, resolve));
  },
  burn: (load) => {
    clearInterval(held.burner);
    if (load) held.burner = setInterval(() => burn(load), 100);
  },
  hold: (bytes) => {
    // Filled, for what is never written to takes no memory.
    held.memory = bytes ? Buffer.alloc(bytes, 1) : undefined;
  },
  toolShell: (command) => keep('toolShell', command && (() => toolShell(command))),
  mcpServer: (wanted) => keep('mcpServer', wanted && (() => spawn('sleep', ['86400'], { stdio: 'pipe' }))),
  threadChild: async (wanted) => {
    if (!wanted) return held.thread?.postMessage('end');
    const source = `const { parentPort } = require('node:worker_threads');
      const child = require('node:child_process').spawn('sleep', ['86400'], { stdio: 'ignore' });
      parentPort.on('message', () => { child.kill(); parentPort.close(); });
      parentPort.postMessage(child.pid);`;
    held.thread = new Worker(source, { eval: true });
    await new Promise((resolve) => held.thread.once('message', resolve));
  },
  exit: (code) => leave(code),
};

function writeSessionFile(fields) {
  if (!fields) return rmSync(sessionFile, { force: true });
  mkdirSync(join(folder, 'sessions'), { recursive: true, mode: 0o700 });
  const now = Date.now();
  const newer = { procStart: procStart(), version: '2.1.330', updatedAt: now, statusUpdatedAt: now };
  const file = {
    pid: process.pid,
    sessionId: state.sessionId,
    cwd: process.cwd(),
    startedAt,
    kind: 'interactive',
    entrypoint: 'sdk-ts',
    ...(process.env.CLAUDE_AGENT_SDK_VERSION?.startsWith('0.3.') ? { status: 'idle', ...newer } : {}),
    ...(fields === true ? {} : fields),
  };
  for (const [name, value] of Object.entries(file)) if (value === null) delete file[name];
  writeFileSync(sessionFile, JSON.stringify(file));
}

/** Field 22 of /proc/self/stat, counted after the name, which may hold anything. */
function procStart() {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

/** Burns `percent` of a core; with `seconds`, only so much CPU time in all. */
function burn(load) {
  const end = performance.now() + load.percent;
  while (performance.now() < end);
  if (load.seconds === undefined) return;
  load.seconds -= load.percent / 1000;
  if (load.seconds <= 0) clearInterval(held.burner);
}

/** As both SDKs start one: a bash that sources a snapshot and leads a session of its own. */
function toolShell(command) {
  const snapshot = join(folder, 'shell-snapshots', `snapshot-bash-${startedAt}-qjfhlz.sh`);
  const script = [
    `source ${snapshot} 2>/dev/null || true`,
    'shopt -u extglob 2>/dev/null || true',
    `eval '${command === true ? 'sleep 86400' : command}' < /dev/null`,
    `pwd -P >| ${join(tmpdir(), `claude-${randomUUID().slice(0, 4)}-cwd`)}`,
  ].join(' && ');
  return spawn('/bin/bash', ['-c', script], { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function keep(name, start) {
  const old = children.get(name);
  children.delete(name);
  if (old) await end(old);
  if (!start) return;
  const child = start();
  child.on('error', () => {});
  await new Promise((resolve) => child.once('spawn', resolve));
  children.set(name, child);
}

function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return undefined;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  // A tool shell leads a group of its own, and what it runs has to go with it.
  if (child.spawnfile === '/bin/bash') process.kill(-child.pid, 'SIGKILL');
  else child.kill();
  return gone;
}

/** The order is the real one's: the session file goes first, then the hooks run to their end, then the children go. */
async function leave(code) {
  if (held.leaving) return;
  held.leaving = true;
  if (state.sessionFile) rmSync(sessionFile, { force: true });
  if (state.sessionEndHookSeconds) {
    const detached = process.env.CLAUDE_AGENT_SDK_VERSION?.startsWith('0.3.') ?? false;
    const hook = spawn('/bin/sh', ['-c', `sleep ${state.sessionEndHookSeconds}; true`], { detached, stdio: 'ignore' });
    await new Promise((resolve) => hook.once('exit', resolve));
  }
  if (state.forkWhileDying) spawn('sleep', ['86400'], { stdio: 'ignore' }).unref();
  await Promise.all([...children.values()].map(end));
  process.exit(code);
}

async function obey({ id, ...command }) {
  state = { ...state, ...command };
  for (const [name, value] of Object.entries(command)) await effects[name]?.(value);
  const pids = Object.fromEntries([...children].map(([name, child]) => [name, child.pid]));
  process.stdout.write(`${JSON.stringify({ id, children: pids })}\n`);
}

process.on('SIGTERM', () => {
  if (!state.ignoreSigterm) void leave(143);
});
// The daemon is gone: an idle one exits at once, one that runs a tool when the tool has ended.
process.stdout.on('error', () => {});
let commands = Promise.resolve();
createInterface({ input: process.stdin })
  .on('line', (line) => {
    commands = commands.then(() => obey(JSON.parse(line)));
  })
  .on('close', () => {
    const tool = children.get('toolShell');
    if (state.outliveDaemon) setInterval(() => {}, 1 << 30);
    else if (tool && tool.exitCode === null) tool.once('exit', () => leave(0));
    else void leave(0);
  });
