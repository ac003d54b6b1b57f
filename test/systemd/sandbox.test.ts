import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootHost, cannotBoot, type Host, waitFor } from './boot.ts';
import { installPackage } from './package.ts';

const PROBE = '/opt/probe';

/** What the job needs works, and what it does not need is denied. */
const WORKS = {
  environment: true,
  sockets: true,
  workingDirectory: true,
  // Both ends of its one connection.
  connections: 2,
  connectionsOfItsOwnNamespace: 0,
  file: '{}',
  socket: 'hello from',
  signal0: true,
  overwrite: 'EROFS',
  remove: 'EROFS',
  signal: true,
};

describe.skipIf(cannotBoot())('sandbox of the unit', () => {
  let host: Host;
  beforeAll(async () => {
    host = await bootHost();
    await host.ok('useradd --create-home alice && chmod 0700 /home/alice && loginctl enable-linger alice');
    await installPackage(host);
    await host.ok('clay-reaper install');
    for (const file of ['sandbox-probe.js', 'sandbox-target.js']) {
      host.copyIn(new URL(file, import.meta.url).pathname, `${PROBE}/${file}`);
    }
    host.copyIn(new URL('../../package.json', import.meta.url).pathname, `${PROBE}/package.json`);
  });
  afterAll(async () => {
    await host?.powerOff();
  });

  it('gets a systemd-analyze score no worse than its peers', async () => {
    const exposureOf = async (unit: string): Promise<number> => {
      const said = await host.ok(`systemd-analyze security --offline=true --no-pager ${unit}`);
      return Number(/Overall exposure level for clay-reaper\.service: ([\d.]+)/.exec(said)?.[1]);
    };
    // For systemd 254 and later, which an older one can judge too.
    expect(await exposureOf('"$(npm root --global)"/clay-reaper/systemd/clay-reaper.service')).toBeLessThanOrEqual(1.1);
    const version = Number(/^systemd (\d+)/.exec(await host.ok('systemctl --version'))?.[1]);
    // Before, notifications come from a child process: 0.2.
    const installed = await exposureOf('/etc/systemd/system/clay-reaper.service');
    expect(installed).toBeLessThanOrEqual(version >= 254 ? 1.1 : 1.3);
  });

  it('has units that pass systemd-analyze verify', async () => {
    const system = await host.run('systemd-analyze verify /etc/systemd/system/clay-reaper.service');
    expect(system).toEqual({ code: 0, stdout: '', stderr: '' });
    await host.ok('clay-reaper install --user', { user: 'alice' });
    const verify = 'systemd-analyze verify --user ~/.config/systemd/user/clay-reaper.service';
    expect(await host.run(verify, { user: 'alice' })).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  it('allows reaping for all users and denies everything else', async () => {
    const pids = [];
    for (const user of ['root', 'alice']) {
      const home = user === 'root' ? '/root' : `/home/${user}`;
      await host.ok(
        `systemd-run --quiet --unit target-${user} --uid ${user} --setenv HOME=${home} --setenv PROBE_SECRET=found \\
           --working-directory ${home} ${'$'}(command -v node) ${PROBE}/sandbox-target.js`,
      );
      await waitFor(
        `the socket of ${user}`,
        async () => (await host.run(`test -S ${home}/.clay/daemon.sock`)).code === 0,
      );
      pids.push((await host.ok(`systemctl show --property MainPID --value target-${user}`)).trim());
    }
    await host.ok(`mkdir -p /etc/systemd/system/clay-reaper.service.d
sed -n 's|^\\(ExecStart=.*\\) [^ ]*/dist/clay-reaper.js run$|[Service]\\nExecStart=\\n\\1 ${PROBE}/sandbox-probe.js ${pids.join(' ')}|p' \\
  /etc/systemd/system/clay-reaper.service >/etc/systemd/system/clay-reaper.service.d/probe.conf
systemctl daemon-reload && systemctl start clay-reaper`);
    const log = await host.ok("journalctl --unit clay-reaper --output cat --priority notice --quiet | grep '^{'");
    const { processes, ...report } = JSON.parse(log) as { processes: number };
    expect(report).toEqual({
      pressure: await hasPressure(host),
      bootTime: true,
      programs: [0, 0],
      targets: [WORKS, WORKS],
      internet: 'EAFNOSUPPORT',
      users: [],
      write: {
        etc: 'EROFS',
        usr: 'EROFS',
        run: 'EROFS',
        home: 'EROFS',
        sharedMemory: 'EROFS',
        tmp: 'written',
        state: 'written',
        runtime: 'written',
      },
    });
    // Not only those of its own user.
    expect(processes).toBeGreaterThanOrEqual(Number(await host.ok('ls -d /proc/[0-9]* | wc -l')) - 10);
    for (const user of ['root', 'alice']) {
      await waitFor(`the process of ${user} is ended`, async () =>
        (await host.ok(`systemctl show --property ActiveState --value target-${user}`)).startsWith('inactive'),
      );
    }
    expect(await host.ok('systemctl show --property StatusText --value clay-reaper')).toBe('probed\n');
    // Other users collect metrics; nobody else reads the history.
    expect(await host.ok('cat /run/clay-reaper/probe.prom', { user: 'alice' })).toBe('x');
    expect((await host.run('ls /var/lib/clay-reaper/', { user: 'alice' })).code).not.toBe(0);
    expect((await host.run('test -e /tmp/probe')).code).not.toBe(0);
  });
});

async function hasPressure(host: Host): Promise<boolean | string> {
  return (await host.run('test -r /proc/pressure/memory')).code === 0 ? true : 'ENOENT';
}
