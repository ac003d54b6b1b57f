import { connect } from 'node:net';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type Host, waitFor } from './boot.ts';

/** A Clay daemon (the stand-in of test/helpers) that runs as a service of the machine; pids are the machine's. */
export type ClayService = {
  /** The pid of the daemon that runs now. */
  readonly pid: () => Promise<number>;
  readonly start: () => Promise<void>;
  readonly stop: () => Promise<void>;
  /** A claude whose last turn ended long ago. */
  readonly idle: () => Promise<number>;
  /** The same, but it runs a tool. */
  readonly working: () => Promise<number>;
  /** The same two below workers that run as another account. */
  readonly asOsUser: (account: string) => Promise<Record<'idle' | 'working', { pid: number; workerPid: number }>>;
  /** How its socket answers from now on; see ClayOptions of test/helpers. */
  readonly answer: (mode: 'ok' | 'closed') => Promise<void>;
};

const support = fileURLToPath(new URL('../helpers', import.meta.url));
const INSTALLED = '/opt/stand-in';

/**
 * Sets up a Clay that runs as `user` (root or an existing account) and starts at boot. It does not run yet. `sudoUser`: the account
 * that started root's Clay with sudo, and in whose home it keeps its own.
 */
export async function installClay(host: Host, user: string, sudoUser?: string): Promise<ClayService> {
  host.copyIn(support, INSTALLED);
  const home = user === 'root' ? '/root' : `/home/${user}`;
  const unit = `clay-${sudoUser ?? user}`;
  const control = join(home, `${unit}.sock`);
  const behindSudo = sudoUser
    ? `Environment=SUDO_USER=${sudoUser} CLAY_CONFIG=/home/${sudoUser}/.clay/daemon.json`
    : '';
  await host.ok(`cat >/etc/systemd/system/${unit}.service <<'END'
[Unit]
Description=Clay of ${user}
[Service]
User=${user}
WorkingDirectory=${home}
Environment=STAND_IN_CONTROL=${control}
${behindSudo}
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
  type Spawned = { readonly pid: number; readonly workerPid: number };
  const spawnClaude = async (start: object, path = join(home, 'shop'), worker?: object): Promise<Spawned> => {
    await waitFor('the control socket answers', isListening);
    const slug = basename(path);
    await ask('addProject', { slug, path });
    return (await ask('spawnClaude', { project: slug, idleSeconds: 7200, start, worker })) as Spawned;
  };
  return {
    pid: async () => Number(await host.ok(`systemctl show --property MainPID --value ${unit}`)),
    start: async () => {
      await host.ok(`systemctl start ${unit}`);
      await waitFor('the control socket answers', isListening);
    },
    stop: async () => void (await host.ok(`systemctl stop ${unit}`)),
    idle: async () => (await spawnClaude({})).pid,
    working: async () => (await spawnClaude({ toolShell: true })).pid,
    asOsUser: async (account) => {
      const [uid, gid] = (await host.ok(`id -u ${account}; id -g ${account}`)).trim().split('\n').map(Number);
      const worker = { uid, gid, home: `/home/${account}`, script: 'yoke/adapters/claude-worker.js' };
      const spawn = (start: object): Promise<Spawned> => spawnClaude(start, '/srv/shared', worker);
      return { idle: await spawn({}), working: await spawn({ toolShell: true }) };
    },
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
