import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { DoctorReport } from '../../src/report/doctor.ts';
import { bootHost, cannotBoot, type Host, waitFor } from './boot.ts';
import { installPackage } from './package.ts';
import { type ClayService, installClay } from './stand-in.ts';

/** As fast as it goes: what is waited for here is systemd, not a grace period. */
const QUICK = `
poll_interval = "200ms"
grace_period = "1s"
parked_after = "1s"
kill_after = "1s"
min_age = "1s"
log.format = "json"
`;

type LogLine = { readonly priority: number; readonly event: string; readonly [field: string]: unknown };

describe.skipIf(cannotBoot())('system service', () => {
  let host: Host;
  let clays: { root: ClayService; alice: ClayService; behindSudo: ClayService };
  beforeAll(async () => {
    host = await bootHost();
    for (const account of ['alice', 'dora'])
      await host.ok(`useradd --create-home ${account} && chmod 0700 /home/${account}`);
    await host.ok('useradd --create-home bob');
    await installPackage(host);
    clays = {
      root: await installClay(host, 'root'),
      alice: await installClay(host, 'alice'),
      behindSudo: await installClay(host, 'root', 'dora'),
    };
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
  const hasExited = async (pid: number): Promise<boolean> => (await host.run(`kill -0 ${pid}`)).code !== 0;
  /** What this boot's service has logged, its own lines only. */
  const logged = async (...filter: string[]): Promise<LogLine[]> => {
    const lines = await host.ok(`journalctl --boot --unit clay-reaper --output json --quiet ${filter.join(' ')}`);
    return (
      lines
        .split('\n')
        .filter((line) => line.includes('"SYSLOG_IDENTIFIER":"clay-reaper"'))
        .map((line) => JSON.parse(line) as { PRIORITY: string; MESSAGE: string })
        // Before the configuration of these tests is read, the log is in sentences.
        .filter(({ MESSAGE }) => MESSAGE.startsWith('{'))
        .map(({ PRIORITY, MESSAGE }) => ({ ...JSON.parse(MESSAGE), priority: Number(PRIORITY) }))
    );
  };
  const untilLogged = (event: string, since = 0): Promise<LogLine> =>
    waitFor(`the event ${event}`, async () => (await logged()).slice(since).find((line) => line.event === event));

  it('is installed and started in two commands', async () => {
    const said = await host.ok('clay-reaper install');
    expect(said).toContain('wrote /etc/systemd/system/clay-reaper.service');
    expect(said).toContain('wrote /etc/clay-reaper/config.toml');
    expect((await host.run('systemctl is-enabled clay-reaper')).stdout.trim()).toBe('disabled');
    await host.ok('systemctl enable --now clay-reaper');
    expect(await show('ActiveState')).toBe('active');
    expect(await show('Type')).toBe('notify');
    expect(await host.ok('journalctl --unit clay-reaper --output cat')).toMatch(
      /^clay-reaper \S+ started\. Every 30s, it ends the claude processes that have been idle for 5m, a parked one after 30m\.$/m,
    );
  });

  it('waits and logs it while there is no Clay', async () => {
    await waitFor('its status says so', async () => /waiting|no Clay/i.test(await show('StatusText')));
    expect(await show('NRestarts')).toBe('0');
  });

  it('keeps edited files unless told to overwrite them', async () => {
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

  it('applies a valid configuration on reload', async () => {
    await host.ok('systemctl reload clay-reaper');
    await untilLogged('reloaded');
    // It says so to systemd after it has logged it.
    await waitFor('it is active again', async () => (await show('ActiveState')) === 'active');
  });

  it.each([
    ['runs as root', 'root'],
    ['runs as alice', 'alice'],
    ['dora has started with sudo', 'behindSudo'],
  ] as const)('reaps the idle orphan of a Clay that %s, and spares the working one', async (_, user) => {
    const clay = clays[user];
    await clay.start();
    const [idle, working] = [await clay.idle(), await clay.working()];
    await waitFor(`the idle claude of ${user} is gone`, () => hasExited(idle));
    expect(await hasExited(working)).toBe(false);
    const reaped = await waitFor('it is logged', async () =>
      (await logged()).find((line) => line.event === 'reaped' && line.pid === idle),
    );
    expect(reaped).toMatchObject({ orphan: 'parked', signal: 'SIGTERM', project: 'shop' });
    expect((await logged()).filter((line) => line.event === 'blind')).toEqual([]);
  });

  it("reaps the idle orphan of an OS user of root's Clay, and spares the working one and both workers", async () => {
    const uid = Number(await host.ok('id -u alice'));
    const { idle, working } = await clays.root.asOsUser('alice');
    for (const { pid, workerPid } of [idle, working])
      expect(await host.ok(`ps -o uid= -p ${pid},${workerPid}`)).toMatch(new RegExp(`^\\s*${uid}\\n\\s*${uid}\\n$`));
    await waitFor('the idle claude of the OS user is gone', () => hasExited(idle.pid));
    const left = [working.pid, idle.workerPid, working.workerPid];
    expect(await Promise.all(left.map(hasExited))).toEqual([false, false, false]);
    const reaped = await waitFor('it is logged', async () =>
      (await logged()).find((line) => line.event === 'reaped' && line.pid === idle.pid),
    );
    expect(reaped).toMatchObject({ uid, orphan: 'parked', signal: 'SIGTERM', clayPid: await clays.root.pid() });
    expect((await logged()).filter((line) => line.event === 'blind')).toEqual([]);
    await host.ok(`kill ${working.pid}`);
  });

  it('reports its status line to systemd', async () => {
    const pid = await clays.alice.pid();
    await waitFor('the status names the Clay', async () => (await show('StatusText')).includes(String(pid)));
  });

  it('writes a history to its state directory', async () => {
    const lines = await waitFor('all four are in the history', async () => {
      const text = await host.ok('cat /var/lib/clay-reaper/history.jsonl');
      return text.split('\n').length > 4 && text.trim().split('\n');
    });
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { uid: 0, outcome: 'terminated', project: 'shop' },
      { outcome: 'terminated', project: 'shop' },
      { uid: 0, outcome: 'terminated', project: 'shop' },
      { outcome: 'terminated', project: 'shared', user: 'alice' },
    ]);
  });

  it('fails a reload of an invalid configuration, and goes on with the old one', async () => {
    await configure('grace_period = "soon"');
    const reload = await host.run('systemctl reload clay-reaper');
    expect(reload.code).not.toBe(0);
    await waitFor('the check is in the journal', async () =>
      /config\.toml.*grace_period.*soon/.test(await host.ok('journalctl --unit clay-reaper --output cat')),
    );
    expect(await show('ActiveState')).toBe('active');
    const orphan = await clays.alice.idle();
    await waitFor('it still reaps', () => hasExited(orphan));
    await configure(QUICK);
    await host.ok('systemctl reload clay-reaper');
  });

  it('logs with priorities and without colours', async () => {
    await clays.alice.answer('closed');
    await untilLogged('api-unreachable');
    await clays.alice.answer('ok');
    await untilLogged('api-recovered');
    const warnings = await logged('--priority warning');
    expect(warnings.map(({ event, priority }) => ({ event, priority }))).toEqual([
      { event: 'api-unreachable', priority: 4 },
    ]);
    expect(await host.ok('journalctl --unit clay-reaper --output cat')).not.toContain('\u001b');
  });

  it('finds a restarted Clay under its new pid', async () => {
    const before = await clays.alice.pid();
    await clays.alice.stop();
    await untilLogged('clay-lost');
    const seen = (await logged()).length;
    await clays.alice.start();
    expect(await clays.alice.pid()).not.toBe(before);
    await untilLogged('clay-found', seen);
    const orphan = await clays.alice.idle();
    await waitFor('its idle claude is gone', () => hasExited(orphan));
    expect(await show('NRestarts')).toBe('0');
  });

  it('leaves a home on a file system that never answers alone, with one line, and goes on for others', async () => {
    await host.ok('useradd --create-home carol');
    const carol = await installClay(host, 'carol');
    const before = (await logged()).length;
    await carol.start();
    // What is mounted in the middle of a sweep, after it has read the table of mounts, can hold the service up until its watchdog
    // ends it. The longer the pause, the less often that happens here: a sweep takes some 10 ms.
    await configure(QUICK.replace('200ms', '2s'));
    // The password database is read again, too.
    await host.ok('systemctl reload clay-reaper');
    await untilLogged('clay-found', before);
    const helper = '/opt/never-answers';
    execFileSync('cc', [
      '-O1',
      '-o',
      join(host.root(), helper),
      join(import.meta.dirname, '../security/never-answers.c'),
    ]);
    const since = (await logged()).length;
    await host.ok(`[ -e /dev/fuse ] || mknod /dev/fuse c 10 229
      systemd-run --quiet --unit never-answers ${helper} /home/carol outside sleep 86400`);
    const refused = await untilLogged('clay-refused', since);
    expect(refused.reason).toMatch(
      /^\/home\/carol is a file system of type fuse, which may never answer: .*install --user/,
    );
    const orphan = await clays.alice.idle();
    await waitFor('the idle claude of alice is gone', () => hasExited(orphan));
    const status = await host.run('clay-reaper status', { timeoutMs: 30_000 });
    expect(status.code).toBeLessThan(137);
    expect(await show('NRestarts')).toBe('0');
    const found = (await logged()).length;
    await host.ok('systemctl stop never-answers; umount --lazy /home/carol');
    await untilLogged('clay-found', found);
    await carol.stop();
    await configure(QUICK);
    await host.ok('systemctl reload clay-reaper');
  });

  const withDropIn = async (settings: string, steps: () => Promise<void>): Promise<void> => {
    await host.ok(`mkdir -p /etc/systemd/system/clay-reaper.service.d
printf '[Service]\\n${settings}' >/etc/systemd/system/clay-reaper.service.d/test.conf && systemctl daemon-reload`);
    await steps();
    await host.ok(
      'rm -r /etc/systemd/system/clay-reaper.service.d && systemctl daemon-reload && systemctl restart clay-reaper',
    );
  };

  it('is up before its first sweep: a slow one meets no start timeout', async () => {
    const clay = await clays.alice.pid();
    await withDropIn('TimeoutStartSec=1500ms\\n', async () => {
      await host.ok('systemctl stop clay-reaper');
      // Its Clay does not answer: a sweep waits 2 s for it.
      await host.ok(`kill -STOP ${clay}`);
      const since = (await logged()).length;
      await host.ok('systemctl start clay-reaper');
      expect(await show('ActiveState')).toBe('active');
      await untilLogged('api-unreachable', since);
      await host.ok(`kill -CONT ${clay}`);
      await untilLogged('api-recovered', since);
      expect(await show('NRestarts')).toBe('0');
    });
  });

  it('is started again however often it ends', async () => {
    await withDropIn('RestartSec=100ms\\n', async () => {
      await host.ok('systemctl restart clay-reaper');
      const before = Number(await show('NRestarts'));
      for (let restarts = before + 1; restarts <= before + 8; restarts += 1) {
        await host.ok('systemctl kill --signal=KILL clay-reaper');
        await waitFor('systemd has started it again', async () => (await show('NRestarts')) === String(restarts));
        await waitFor('it is active again', async () => (await show('ActiveState')) === 'active');
      }
    });
  });

  it('is restarted by the watchdog if it hangs', async () => {
    await withDropIn('WatchdogSec=2s\\nRestartSec=100ms\\n', async () => {
      await host.ok('systemctl restart clay-reaper');
      const before = await show('MainPID');
      await host.ok(`kill -STOP ${before}`);
      await waitFor('systemd has restarted it', async () => (await show('NRestarts')) === '1', 120_000);
      await waitFor('it is active again', async () => (await show('ActiveState')) === 'active');
      expect(await show('MainPID')).not.toBe(before);
      expect(await host.ok('journalctl --boot --unit clay-reaper --output cat')).toContain('Watchdog timeout');
    });
  });

  it('a trial records what it would end and ends nothing, until install --live', async () => {
    expect(await host.ok('clay-reaper install --trial')).toContain('clay-reaper history --trial');
    expect(await host.ok('systemctl cat clay-reaper')).toContain('Environment=CLAY_REAPER_DRY_RUN=true');
    const orphan = await clays.root.idle();
    await waitFor('the trial has recorded it', async () =>
      (await host.run('clay-reaper history --trial --json')).stdout.includes(`"pid": ${orphan}`),
    );
    expect(await hasExited(orphan)).toBe(false);
    expect(await show('StatusText')).toContain('ends nothing (CLAY_REAPER_DRY_RUN)');
    expect(await host.ok('clay-reaper history --json')).not.toContain(`"pid": ${orphan}`);
    await host.ok('clay-reaper install --live');
    await waitFor('it is ended', () => hasExited(orphan));
    // It is written after the process has exited; the tests that follow compare histories.
    await waitFor('it is in the history', async () =>
      (await host.run('clay-reaper history --json')).stdout.includes(`"pid": ${orphan}`),
    );
    expect(await host.ok('systemctl cat clay-reaper')).not.toContain('CLAY_REAPER_DRY_RUN');
    expect((await host.run('test -e /etc/systemd/system/clay-reaper.service.d')).code).toBe(1);
  });

  it("leaves systemd's state directory to systemd: root's cleanup and uninstall --user --purge break nothing", async () => {
    const link = async (): Promise<string> => (await host.run('readlink /var/lib/clay-reaper')).stdout.trim();
    const history = (): Promise<string> => host.ok('cat /var/lib/private/clay-reaper/history.jsonl');
    const before = await history();
    await host.ok('clay-reaper uninstall --user --purge');
    expect(await link()).toBe('private/clay-reaper');
    expect(await history()).toBe(before);
    // Before the first start after a boot, or after somebody removed it, there is no link.
    await host.ok('systemctl stop clay-reaper && rm /var/lib/clay-reaper');
    const orphan = await clays.root.idle();
    await host.ok('clay-reaper cleanup --yes --now --min-age 0s');
    expect(await hasExited(orphan)).toBe(true);
    await host.ok('systemctl start clay-reaper');
    expect(await link()).toBe('private/clay-reaper');
    expect(await history()).toContain(`"pid":${orphan}`);
  });

  it('install repairs a state directory that keeps the service from starting, and loses no history', async () => {
    const history = '/var/lib/private/clay-reaper/history.jsonl';
    const before = Number(await host.ok(`wc -l <${history}`));
    await host.ok(`systemctl stop clay-reaper && rm /var/lib/clay-reaper && mkdir -m 0700 /var/lib/clay-reaper
head -n 1 ${history} | sed 's/"pid":[0-9]*/"pid":1/' >/var/lib/clay-reaper/history.jsonl`);
    expect((await host.run('systemctl start clay-reaper')).code).not.toBe(0);
    // systemd.exec(5): 238 is EXIT_STATE_DIRECTORY.
    expect(await show('ExecMainStatus')).toBe('238');
    expect(JSON.parse((await host.run('clay-reaper doctor --json')).stdout)).toMatchObject({
      services: [{ failed: true, result: 'exit-code' }],
      problems: expect.arrayContaining([expect.objectContaining({ what: 'service-failed' })]),
    });
    expect(await host.ok('clay-reaper install')).toContain('moved the history in /var/lib/clay-reaper');
    await host.ok('systemctl reset-failed clay-reaper; systemctl start clay-reaper');
    expect(await show('ActiveState')).toBe('active');
    expect(Number(await host.ok(`wc -l <${history}`))).toBe(before + 1);
  });

  it('doctor shows what runs, that it is older than what is installed, and nothing private', async () => {
    const doctor = async (user = 'root') => {
      const { code, stdout } = await host.run('clay-reaper doctor --json', { user });
      return { code, stdout, report: JSON.parse(stdout) as DoctorReport };
    };
    const runs = { pid: Number(await show('MainPID')), isThisProgram: true, outdated: false };
    const { code, report } = await doctor();
    expect({ code, problems: report.problems }).toEqual({ code: 0, problems: [] });
    expect(report.services).toMatchObject([
      {
        scope: 'system',
        installed: true,
        active: 'active (running)',
        enabled: 'enabled',
        unit: 'edited',
        running: runs,
      },
    ]);
    expect(report.services[0]?.running?.version).toBe(report.program.version);
    expect(report.rights).toMatchObject({ uid: 0, otherUsers: true });
    expect(report.clays.map(({ api }) => api)).toEqual(['ok', 'ok', 'ok']);
    // Whose Clay is not running sees that of others, and that sudo is needed.
    const bob = await doctor('bob');
    expect(bob.code).toBe(3);
    expect(bob.report.otherClays.map(({ pid }) => pid)).toContain(await clays.root.pid());
    expect(bob.report.problems.map(({ what }) => what)).toContain('other-users');
    for (const { stdout } of [await doctor(), bob])
      for (const secret of ['shop', 'alice', 'dora', 'bob', '/home', '/root']) expect(stdout).not.toContain(secret);

    const seen = (await logged()).length;
    await host.ok(
      'file=$(readlink -f "$(command -v clay-reaper)") && cp -p "$file" "$file.new" && mv "$file.new" "$file"',
    );
    const older = await doctor();
    expect(older.code).toBe(1);
    expect(older.report.problems).toEqual([
      { what: 'service-outdated', message: expect.stringContaining('systemctl restart clay-reaper') },
    ]);
    expect(await untilLogged('warning', seen)).toMatchObject({ error: expect.stringContaining('restart the service') });
    await host.ok('systemctl restart clay-reaper');
    expect((await doctor()).code).toBe(0);
  });

  it('starts after a reboot', async () => {
    await host.reboot();
    expect(await show('ActiveState')).toBe('active');
    const orphan = await clays.root.idle();
    await waitFor('it reaps', () => hasExited(orphan));
  });

  it('fails without a restart loop if the configuration is invalid', async () => {
    await configure('poll_intervall = "30s"');
    const failed = await host.run('systemctl restart clay-reaper');
    expect(failed.code).not.toBe(0);
    expect(await show('ActiveState')).toBe('failed');
    expect(await show('ExecMainStatus')).toBe('2');
    expect(await show('NRestarts')).toBe('0');
    await configure(QUICK);
    await host.ok('systemctl reset-failed clay-reaper && systemctl start clay-reaper');
  });

  it('uninstall keeps only the edited configuration and the history', async () => {
    const said = await host.ok('clay-reaper uninstall');
    expect(said).toMatch(/kept .*config\.toml/);
    expect(said).toMatch(/kept .*\/var\/lib\/clay-reaper/);
    expect(await remains(host)).toEqual([
      '/etc/clay-reaper',
      '/etc/clay-reaper/config.toml',
      '/var/lib/clay-reaper',
      '/var/lib/private/clay-reaper',
      '/var/lib/private/clay-reaper/history.jsonl',
      '/var/lib/private/clay-reaper/trial.jsonl',
    ]);
    expect(await show('LoadState')).toBe('not-found');
  });

  it('uninstall removes everything with --purge or if nothing was edited', async () => {
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
