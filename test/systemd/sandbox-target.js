// What a reaper looks at: a process with a socket in a private directory of its home, and one connection.
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';

const folder = join(homedir(), '.clay');
const path = join(folder, 'daemon.sock');
mkdirSync(folder, { recursive: true, mode: 0o700 });
writeFileSync(join(folder, 'daemon.json'), '{}', { mode: 0o600 });
rmSync(path, { force: true });
createServer((socket) => socket.end(`hello from ${process.pid}`)).listen(path, () => chmodSync(path, 0o755));
const server = createServer(() => {}).listen(0, '127.0.0.1', () => {
  connect(server.address().port, '127.0.0.1');
});
