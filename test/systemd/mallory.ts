import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bootHost, type Host, waitFor } from './boot.ts';
import { type InstalledService, installService } from './installed-service.ts';
import { type ClayService, installClay } from './stand-in.ts';

/** What mallory can do, see hostile/clay-server/lib/daemon.js. */
export type Attack =
  | 'sparse transcripts'
  | 'empty folders'
  | 'forks with long command lines'
  | 'alarms on 30 February'
  | 'network namespaces'
  | 'calls without an answer'
  | 'daemon.json of 1 MB'
  | 'long homes'
  | 'a command line that backtracks'
  | 'deaf to SIGTERM'
  | 'abstract sockets';

/** A user of the machine who is not root and has a Clay of her own making. */
export type Mallory = {
  readonly uid: number;
  /** Begins an attack; resolves when all of it is in place. Ends the one before. */
  readonly attack: (attack: Attack) => Promise<void>;
  /** Ends all her processes. */
  readonly rest: () => Promise<void>;
};

const hostile = fileURLToPath(new URL('hostile', import.meta.url));
const CLAY = '/home/mallory/clay-server';

/** Makes her account, and puts her program and her Clay into her home. */
async function addMallory(host: Host): Promise<Mallory> {
  await host.ok('useradd --create-home mallory && mkdir -p /home/mallory/bin');
  const folder = mkdtempSync(join(tmpdir(), 'hostile-'));
  try {
    const program = join(folder, 'claude');
    execFileSync('cc', ['-O1', '-Wall', '-Werror', '-o', program, join(hostile, 'hostile.c')]);
    host.copyIn(program, '/home/mallory/bin/claude');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  host.copyIn(join(hostile, 'clay-server'), CLAY);
  await host.ok('chown -R mallory: /home/mallory && chmod 0711 /home/mallory');
  const node = process.execPath.startsWith('/usr/') ? process.execPath : '/usr/local/bin/node';
  let attacks = 0;
  const unit = (): string => `mallory-${attacks}`;
  const rest = async (): Promise<void> => void (await host.run(`systemctl stop ${unit()}`));
  return {
    uid: Number(await host.ok('id -u mallory')),
    rest,
    attack: async (attack) => {
      await rest();
      attacks += 1;
      const limits = '--property=TasksMax=infinity --property=LimitNOFILE=100000 --property=KillSignal=SIGKILL';
      await host.ok(
        `systemd-run --quiet --unit=${unit()} --uid=mallory ${limits} ${node} ${CLAY}/lib/daemon.js '${attack}'`,
      );
      await waitFor(
        `${attack} is in place`,
        async () => {
          const said = await host.ok(`journalctl --quiet --unit ${unit()} --output cat`);
          if (/^(Error|.*: exited|\w*Error)/m.test(said)) throw new Error(said);
          return said.split('\n').includes('ready');
        },
        120_000,
      );
    },
  };
}

/** An installed service, with the claudes of alice that work all the time, beside mallory. */
export type HostileMachine = {
  readonly host: Host;
  readonly service: InstalledService;
  readonly alice: ClayService;
  readonly mallory: Mallory;
  readonly working: readonly number[];
};

/** Boots such a machine; `workers`: how many of alice's claudes work. */
export async function bootBesideMallory(workers: number, config: string): Promise<HostileMachine> {
  const host = await bootHost();
  await host.ok('useradd --create-home alice && chmod 0700 /home/alice');
  const mallory = await addMallory(host);
  const alice = await installClay(host, 'alice');
  await alice.start();
  const working: number[] = [];
  for (let n = 0; n < workers; n += 1) working.push(await alice.working());
  return { host, service: await installService(host, config), alice, mallory, working };
}

/** As fast as it goes: nothing is waited for but the service. */
export const QUICK = `
poll_interval = "100ms"
grace_period = "1s"
parked_after = "1s"
kill_after = "1s"
min_age = "1s"
log.format = "json"
`;
