import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { bootHost, cannotBoot, type Host, until } from './boot.ts';
import { installPackage } from './package.ts';
import { type ClayService, installClay } from './stand-in.ts';

/** As fast as it goes: what is waited for here is systemd, not a grace period. */
const QUICK = `
poll_interval = "200ms"
grace_period = "1s"
parked_after = "1s"
kill_after = "1s"
min_age = "1s"
`;

type LogLine = { readonly priority: number; readonly event: string; readonly [field: string]: unknown };

describe.skipIf(cannotBoot())('the system service', () => {
  let host: Host;
  let clays: { root: ClayService; alice: ClayService };
  beforeAll(async () => {
    host = await bootHost();
    await host.ok('useradd --create-home alice && chmod 0700 /home/alice');
    await installPackage(host);
    clays = { root: await installClay(host, 'root'), alice: await installClay(host, 'alice') };
  });
  afterAll(async () => {
    await host?.powerOff();
  });
  // One story in many steps: after the first that fails, the others would only wait in vain.
  let hasFailed = false;
  beforeEach(({ skip, onTestFailed }) => {
    skip(hasFailed, 'an earlier step failed');
    onTestFailed(() => {
      hasFailed = true;
    });
  });

  const show = async (property: string): Promise<string> =>
    (await host.ok(`systemctl show --property ${property} --value clay-reaper`)).trim();
  const configure = (text: string): Promise<string> =>
    host.ok(`cat >/etc/clay-reaper/config.toml <<'END'\n${text}\nEND`);
  const isGone = async (pid: number): Promise<boolean> => (await host.run(`kill -0 ${pid}`)).code !== 0;
  /** What this boot's service has logged, its own lines only. */
  const logged = async (...filter: string[]): Promise<LogLine[]> => {
    const lines = await host.ok(`journalctl --boot --unit clay-reaper --output json --quiet ${filter.join(' ')}`);
    return lines
      .split('\n')
      .filter((line) => line.includes('"SYSLOG_IDENTIFIER":"clay-reaper"'))
      .map((line) => JSON.parse(line) as { PRIORITY: string; MESSAGE: string })
      .map(({ PRIORITY, MESSAGE }) => ({ ...JSON.parse(MESSAGE), priority: Number(PRIORITY) }));
  };
  const untilLogged = (event: string, since = 0): Promise<LogLine> =>
    until(`the event ${event}`, async () => (await logged()).slice(since).find((line) => line.event === event));

  it('is installed, and then started, by an administrator in two commands', async () => {
    const said = await host.ok('clay-reaper install');
    expect(said).toContain('wrote /etc/systemd/system/clay-reaper.service');
    expect(said).toContain('wrote /etc/clay-reaper/config.toml');
    expect((await host.run('systemctl is-enabled clay-reaper')).stdout.trim()).toBe('disabled');
    await host.ok('systemctl enable --now clay-reaper');
    expect(await show('ActiveState')).toBe('active');
    expect(await show('Type')).toBe('notify');
  });

  it('waits while there is no Clay, and says so', async () => {
    expect(await show('StatusText')).toMatch(/waiting|no Clay/i);
    expect(await show('NRestarts')).toBe('0');
  });

  it('never overwrites what an administrator has edited, unless it is told to', async () => {
    await configure(QUICK);
    await host.ok('printf "# mine\\n" >>/etc/systemd/system/clay-reaper.service');
    const said = await host.ok('clay-reaper install');
    expect(said).toMatch(/kept .*clay-reaper\.service \(.*--force/);
    expect(said).toMatch(/kept .*config\.toml \(.*--force/);
    expect(await host.ok('cat /etc/clay-reaper/config.toml')).toContain(QUICK);
    expect(await host.ok('clay-reaper install --force --dry-run')).toContain(
      'would write /etc/clay-reaper/config.toml',
    );
    expect(await host.ok('cat /etc/clay-reaper/config.toml')).toContain(QUICK);
  });

  it('takes up a good configuration when it is reloaded', async () => {
    await host.ok('systemctl reload clay-reaper');
    await untilLogged('reloaded');
    expect(await show('ActiveState')).toBe('active');
  });

  it.each(['root', 'alice'] as const)(
    'reaps the idle orphan of a Clay that runs as %s, and spares the working one',
    async (user) => {
      const clay = clays[user];
      await clay.start();
      const [idle, working] = [await clay.idle(), await clay.working()];
      await until(`the idle claude of ${user} is gone`, () => isGone(idle));
      expect(await isGone(working)).toBe(false);
      const reaped = await until('it is logged', async () =>
        (await logged()).find((line) => line.event === 'reaped' && line.pid === idle),
      );
      expect(reaped).toMatchObject({ orphan: 'parked', signal: 'SIGTERM', project: 'shop' });
      expect((await logged()).filter((line) => line.event === 'blind')).toEqual([]);
    },
  );

  it('tells systemd what it is doing', async () => {
    const pid = await clays.alice.pid();
    await until('the status names the Clay', async () => (await show('StatusText')).includes(String(pid)));
  });

  it('keeps a history in its state directory', async () => {
    const lines = await until('both are in the history', async () => {
      const text = await host.ok('cat /var/lib/clay-reaper/history.jsonl');
      return text.split('\n').length > 2 && text.trim().split('\n');
    });
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { uid: 0, outcome: 'terminated', project: 'shop' },
      { outcome: 'terminated', project: 'shop' },
    ]);
  });

  it('refuses a bad configuration when it is reloaded, loudly, and goes on', async () => {
    await configure('grace_period = "soon"');
    await host.ok('systemctl reload clay-reaper');
    const refusal = await untilLogged('reload-refused');
    expect(JSON.stringify(refusal)).toMatch(/config\.toml.*grace_period.*soon/);
    expect(await show('ActiveState')).toBe('active');
    const orphan = await clays.alice.idle();
    await until('it still reaps', () => isGone(orphan));
    await configure(QUICK);
    await host.ok('systemctl reload clay-reaper');
  });

  it('gives its lines priorities, and no colours', async () => {
    await clays.alice.answer('closed');
    await untilLogged('api-unreachable');
    await clays.alice.answer('ok');
    await untilLogged('api-recovered');
    const warnings = await logged('--priority warning');
    expect(warnings.map(({ event, priority }) => ({ event, priority }))).toEqual([
      { event: 'reload-refused', priority: 3 },
      { event: 'api-unreachable', priority: 4 },
    ]);
    expect(await host.ok('journalctl --unit clay-reaper --output cat')).not.toContain('\u001b');
  });

  it('finds a Clay again that has stopped and come back with another pid', async () => {
    const before = await clays.alice.pid();
    await clays.alice.stop();
    await untilLogged('clay-lost');
    const seen = (await logged()).length;
    await clays.alice.start();
    expect(await clays.alice.pid()).not.toBe(before);
    await untilLogged('clay-found', seen);
    const orphan = await clays.alice.idle();
    await until('its idle claude is gone', () => isGone(orphan));
    expect(await show('NRestarts')).toBe('0');
  });

  it('is restarted by the watchdog when it hangs', async () => {
    await host.ok(`mkdir -p /etc/systemd/system/clay-reaper.service.d
printf '[Service]\\nWatchdogSec=2s\\nRestartSec=100ms\\n' >/etc/systemd/system/clay-reaper.service.d/test.conf
systemctl daemon-reload && systemctl restart clay-reaper`);
    const before = await show('MainPID');
    await host.ok(`kill -STOP ${before}`);
    await until('systemd has restarted it', async () => (await show('NRestarts')) === '1', 120_000);
    await until('it is active again', async () => (await show('ActiveState')) === 'active');
    expect(await show('MainPID')).not.toBe(before);
    expect(await host.ok('journalctl --boot --unit clay-reaper --output cat')).toContain('Watchdog timeout');
    await host.ok(
      'rm -r /etc/systemd/system/clay-reaper.service.d && systemctl daemon-reload && systemctl restart clay-reaper',
    );
  });

  it('runs again after a reboot', async () => {
    await host.reboot();
    expect(await show('ActiveState')).toBe('active');
    const orphan = await clays.root.idle();
    await until('it reaps', () => isGone(orphan));
  });

  it('does not start, and is not started again and again, with a bad configuration', async () => {
    await configure('poll_intervall = "30s"');
    const failed = await host.run('systemctl restart clay-reaper');
    expect(failed.code).not.toBe(0);
    expect(await show('ActiveState')).toBe('failed');
    expect(await show('ExecMainStatus')).toBe('2');
    expect(await show('NRestarts')).toBe('0');
    await configure(QUICK);
    await host.ok('systemctl reset-failed clay-reaper && systemctl start clay-reaper');
  });

  it('leaves nothing behind but the edited configuration and the history', async () => {
    const said = await host.ok('clay-reaper uninstall');
    expect(said).toMatch(/kept .*config\.toml/);
    expect(said).toMatch(/kept .*\/var\/lib\/clay-reaper/);
    expect(await remains(host)).toEqual([
      '/etc/clay-reaper',
      '/etc/clay-reaper/config.toml',
      '/var/lib/clay-reaper',
      '/var/lib/private/clay-reaper',
      '/var/lib/private/clay-reaper/history.jsonl',
    ]);
    expect(await show('LoadState')).toBe('not-found');
  });

  it('leaves nothing at all behind when it is purged, or was never edited', async () => {
    await host.ok('clay-reaper uninstall --purge');
    expect(await remains(host)).toEqual([]);
    await host.ok('clay-reaper install --now');
    expect(await show('ActiveState')).toBe('active');
    await host.ok('clay-reaper uninstall');
    expect(await remains(host)).toEqual([]);
    expect(await host.ok('clay-reaper uninstall')).toContain('nothing is installed');
  });
});

/** All that bears the service's name outside the package itself. */
async function remains(host: Host): Promise<string[]> {
  const found = await host.ok(
    "find /etc /run /var /root /home \\( -path /var/log -o -path /root/.npm \\) -prune -o -path '*clay-reaper*' -print",
  );
  return found
    .split('\n')
    .filter((path) => path !== '' && !path.endsWith('/clay-reaper.tgz') && !path.startsWith('/run/systemd/'))
    .sort();
}
