import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type Host, until } from './boot.ts';

/** A Clay daemon (the stand-in of test/support) that runs as a service of the machine; pids are the machine's. */
export type ClayService = {
  /** The pid of the daemon that runs now. */
  readonly pid: () => Promise<number>;
  readonly start: () => Promise<void>;
  readonly stop: () => Promise<void>;
  /** A claude whose last turn ended long ago. */
  readonly idle: () => Promise<number>;
  /** The same, but it runs a tool. */
  readonly working: () => Promise<number>;
  /** How its socket answers from now on; see ClayOptions of test/support. */
  readonly answer: (mode: 'ok' | 'closed') => Promise<void>;
};

const support = fileURLToPath(new URL('../support', import.meta.url));
const INSTALLED = '/opt/stand-in';

/** Sets up a Clay that runs as `user` (root or an existing account) and starts at boot. It does not run yet. */
export async function installClay(host: Host, user: string): Promise<ClayService> {
  host.copyIn(support, INSTALLED);
  const home = user === 'root' ? '/root' : `/home/${user}`;
  const unit = `clay-${user}`;
  const control = join(home, 'control.sock');
  await host.ok(`cat >/etc/systemd/system/${unit}.service <<'END'
[Unit]
Description=Clay of ${user}
[Service]
User=${user}
WorkingDirectory=${home}
Environment=STAND_IN_CONTROL=${control}
ExecStart=${process.execPath.startsWith('/usr/') ? process.execPath : '/usr/local/bin/node'} ${INSTALLED}/clay-server/lib/daemon.js
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload && systemctl enable ${unit}`);

  const ask = (op: string, parameters: Record<string, unknown>): Promise<unknown> =>
    request(join(host.root(), control), { op, ...parameters });
  const isListening = (): Promise<boolean> =>
    ask('conversations', {}).then(
      () => true,
      () => false,
    );
  const sham = async (start: Record<string, unknown>): Promise<number> => {
    await until('the control socket answers', isListening);
    await ask('addProject', { slug: 'shop', path: join(home, 'shop') });
    const report = (await ask('sham', { project: 'shop', idleSeconds: 7200, start })) as { pid: number };
    return report.pid;
  };
  return {
    pid: async () => Number(await host.ok(`systemctl show --property MainPID --value ${unit}`)),
    start: async () => {
      await host.ok(`systemctl start ${unit}`);
      await until('the control socket answers', isListening);
    },
    stop: async () => void (await host.ok(`systemctl stop ${unit}`)),
    idle: () => sham({}),
    working: () => sham({ toolShell: true }),
    answer: async (mode) => void (await ask('status', { mode })),
  };
}

/** One request of the stand-in's control socket, and its result. */
function request(path: string, message: Record<string, unknown>): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject).once('close', () => reject(new Error('the stand-in is gone')));
    // Not before: a line reader passes on the errors of its input, and throws those that nobody listens to.
    socket.once('connect', () => {
      socket.write(`${JSON.stringify(message)}\n`);
      createInterface({ input: socket }).once('line', (line) => {
        socket.destroy();
        const answer = JSON.parse(line) as { ok: boolean; result?: unknown; error?: string };
        if (answer.ok) resolve(answer.result);
        else reject(new Error(answer.error));
      });
    });
  });
}
