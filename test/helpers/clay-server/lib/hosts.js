import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createHost } from './claude-host.js';
import { onJsonLines, writeJsonLine } from './lines.js';

/** Where processes are started: in the daemon itself, or, for another user, in a worker of their own. */
export function createHosts(settings, emit) {
  const local = createHost(emit);
  const own = (operation, parameters) => local[operation](parameters);
  return {
    own,
    /** `user`: {uid, gid, home, script, env}. */
    startWorker: (user) => startWorker(user, settings, emit),
  };
}

let workers = 0;

/** What makes a real `claude` talk to the test's own model and to nobody else. */
const settingsOfTheTest = () =>
  Object.fromEntries(
    Object.entries(process.env).filter(([name]) => /^ANTHROPIC_|^DISABLE_TELEMETRY$|NONESSENTIAL_TRAFFIC$/.test(name)),
  );

async function startWorker(
  { uid, gid, home, script: name = 'sdk-worker.js', env },
  { workerSocketFolder = tmpdir() },
  emit,
) {
  workers += 1;
  const path = join(workerSocketFolder, `clay-worker-${process.pid}-${workers}.sock`);
  const server = createServer();
  await new Promise((resolve) => server.listen({ path, readableAll: true, writableAll: true }, resolve));
  const script = fileURLToPath(new URL(name, import.meta.url));
  // A fresh environment: nothing of Clay's is left in it.
  const worker = spawn(process.execPath, [script, path], {
    env: { PATH: process.env.PATH, HOME: home, ...settingsOfTheTest(), ...env },
    uid,
    gid,
    cwd: home,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const socket = await new Promise((resolve, reject) => {
    server.once('connection', resolve);
    worker.once('error', reject).once('exit', (code) => reject(new Error(`the worker exited with ${code}`)));
  });
  server.close();
  rmSync(path, { force: true });

  const waiting = new Map();
  let requests = 0;
  onJsonLines(socket, ({ id, result, error, event }) => {
    if (event) return emit(event);
    const { resolve, reject } = waiting.get(id) ?? {};
    waiting.delete(id);
    if (error === undefined) resolve?.(result);
    else reject?.(new Error(error));
  });
  socket.on('error', () => {});
  return {
    pid: worker.pid,
    call: (operation, parameters) =>
      new Promise((resolve, reject) => {
        requests += 1;
        waiting.set(requests, { resolve, reject });
        writeJsonLine(socket, { id: requests, operation, parameters });
      }),
  };
}
