// Runs as the service would, in its unit: tries what the job needs and what the sandbox has to deny, and writes down what
// happened. Arguments: the pids of processes like sandbox-target.js.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';

/** The result, or the code of the error. */
function attempt(action) {
  try {
    return action();
  } catch (error) {
    return error.code ?? String(error);
  }
}

async function examine(pid) {
  const proc = `/proc/${pid}`;
  const environment = attempt(() => fs.readFileSync(`${proc}/environ`, 'utf8'));
  const home = /(?:^|\0)HOME=([^\0]*)/.exec(environment)?.[1] ?? '/nonexistent';
  const links = attempt(() => fs.readdirSync(`${proc}/fd`).map((fd) => fs.readlinkSync(`${proc}/fd/${fd}`)));
  const established = (table) =>
    attempt(() =>
      fs
        .readFileSync(table, 'utf8')
        .split('\n')
        .map((row) => row.trim().split(/\s+/))
        .filter(([, , , state, , , , , , inode]) => state === '01' && links.includes(`socket:[${inode}]`)),
    ).length;
  return {
    environment: environment.includes('PROBE_SECRET=found'),
    sockets: Array.isArray(links) && links.some((link) => link.startsWith('socket:')),
    workingDirectory: attempt(() => fs.readlinkSync(`${proc}/cwd`)) === home,
    connections: established(`${proc}/net/tcp`),
    connectionsOfItsOwnNamespace: established('/proc/self/net/tcp'),
    file: attempt(() => fs.readFileSync(join(home, '.clay/daemon.json'), 'utf8')),
    socket: await greetingOf(join(home, '.clay/daemon.sock')),
    signal0: attempt(() => process.kill(pid, 0)),
    overwrite: attempt(() => fs.writeFileSync(join(home, '.clay/daemon.json'), 'x')),
    remove: attempt(() => fs.unlinkSync(join(home, '.clay/daemon.sock'))),
    signal: attempt(() => process.kill(pid, 'SIGTERM')),
  };
}

function greetingOf(path) {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('data', (data) => resolve(data.toString().split(' ').slice(0, 2).join(' ')));
    socket.once('error', (error) => resolve(error.code));
  });
}

function internet() {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error) => resolve(error.code));
    server.listen(0, '127.0.0.1', () => resolve('allowed'));
  });
}

const create = (path) => attempt(() => fs.writeFileSync(path, 'x')) ?? 'written';
const report = {
  pressure: attempt(() => fs.readFileSync('/proc/pressure/memory', 'utf8').startsWith('some avg10=')),
  bootTime: attempt(() => fs.readFileSync('/proc/stat', 'utf8').includes('\nbtime ')),
  processes: fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).length,
  // ps-list and pidusage start these.
  programs: ['ps', 'getconf'].map((name) => spawnSync(name, name === 'ps' ? ['-A'] : ['CLK_TCK']).status),
  targets: [],
  internet: await internet(),
  users: attempt(() => fs.readdirSync('/run/user')),
  write: {
    etc: create('/etc/probe'),
    usr: create('/usr/probe'),
    run: create('/run/probe'),
    home: create('/home/alice/probe'),
    sharedMemory: create('/dev/shm/probe'),
    tmp: create('/tmp/probe'),
    state: create(join(process.env.STATE_DIRECTORY, 'probe')),
    runtime: create(join(process.env.RUNTIME_DIRECTORY, 'probe.prom')),
  },
};
for (const pid of process.argv.slice(2)) report.targets.push(await examine(Number(pid)));
fs.chmodSync(join(process.env.RUNTIME_DIRECTORY, 'probe.prom'), 0o644);
// The first line of the log, and the only one.
console.error(`<5>${JSON.stringify(report)}`);
// As the service does, see src/service/notify.ts.
if (process.env.LISTEN_FDS === '1') fs.writeSync(3, 'READY=1\nSTATUS=probed');
else spawnSync('systemd-notify', ['READY=1', 'STATUS=probed']);
setInterval(() => {}, 1 << 30);
