import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootHost, cannotBoot, type Host, until } from './boot.ts';
import { bringTarball, installPackage } from './package.ts';
import { type ClayService, installClay } from './stand-in.ts';

const QUICK = 'poll_interval = "200ms"\nparked_after = "1s"\nkill_after = "1s"\nmin_age = "1s"\n';

describe.skipIf(cannotBoot())('where people have Node, the program and systemd', () => {
  let host: Host;
  let clay: ClayService;
  const asAlice = { user: 'alice' };
  beforeAll(async () => {
    host = await bootHost();
    await host.ok('useradd --create-home alice && chmod 0700 /home/alice && loginctl enable-linger alice');
    await installPackage(host);
    clay = await installClay(host, 'alice');
    await clay.start();
  });
  afterAll(async () => {
    await host?.powerOff();
  });

  it('has a service for a user without root, from their own npm prefix, that looks after their own Clay', async () => {
    host.copyIn(`${host.root()}${bringTarball(host)}`, '/home/alice/clay-reaper.tgz');
    await host.ok('chown alice: /home/alice/clay-reaper.tgz');
    await host.ok(
      'npm install --global --offline --no-audit --no-fund --prefix ~/.npm-global ~/clay-reaper.tgz',
      asAlice,
    );
    await host.ok('~/.npm-global/bin/clay-reaper install --user', asAlice);
    await host.ok(`cat >~/.config/clay-reaper/config.toml <<'END'\n${QUICK}END`, asAlice);
    await host.ok('systemctl --user enable --now clay-reaper', asAlice);
    expect(await host.ok('systemctl --user show --property ActiveState --value clay-reaper', asAlice)).toBe('active\n');

    const [idle, working] = [await clay.idle(), await clay.working()];
    await until('the idle claude is gone', async () => (await host.run(`kill -0 ${idle}`)).code !== 0);
    expect((await host.run(`kill -0 ${working}`)).code).toBe(0);
    await until('systemd knows what it does', async () =>
      (await host.ok('systemctl --user show --property StatusText --value clay-reaper', asAlice)).includes(
        String(await clay.pid()),
      ),
    );
    await host.ok('systemctl --user reload clay-reaper', asAlice);
    const reaped = await host.ok('cat ~/.local/state/clay-reaper/history.jsonl', asAlice);
    expect(JSON.parse(reaped)).toMatchObject({ pid: idle, signal: 'SIGTERM' });
  });

  it("leaves nothing of the user's service behind but what they wrote and the history, and with --purge nothing", async () => {
    const before = '.config/clay-reaper/config.toml .local/state/clay-reaper/history.jsonl';
    await host.ok('~/.npm-global/bin/clay-reaper uninstall --user', asAlice);
    const find = 'find .config .local/state -type f -o -type l | sort | xargs';
    expect((await host.ok(find, asAlice)).trim()).toBe(before);
    await host.ok('~/.npm-global/bin/clay-reaper uninstall --user --purge', asAlice);
    expect((await host.ok('find . -path "*clay-reaper*" -not -path "./.np*" -not -name "*.tgz"', asAlice)).trim()).toBe(
      '',
    );
    expect((await host.run('systemctl --user cat clay-reaper', asAlice)).code).not.toBe(0);
  });

  it('refuses to install for all without root, and says what to do', async () => {
    const ran = await host.run('clay-reaper install', asAlice);
    expect(ran).toMatchObject({ code: 2, stdout: '' });
    expect(ran.stderr).toMatch(/^clay-reaper: only root .*sudo.*--user.*\n$/);
  });

  it('runs, and warns, from the home of a user whose paths have all that needs quoting in a unit', async () => {
    const folder = '/home/alice/100% "my" $HOME it\'s';
    await host.ok(`mkdir -p '${folder.replace("'", "'\\''")}' && cd '${folder.replace("'", "'\\''")}' &&
      cp "$(command -v node)" . && cp -r "$(npm root --global)/clay-reaper" program && chown -R alice: . && chmod 0700 .
      ./node program/dist/clay-reaper.js install --now 2>/root/said`);
    expect(await host.ok('cat /root/said')).toMatch(/warning: not only root can change .*\/node/);
    expect(await host.ok('systemctl show --property ActiveState --value clay-reaper')).toBe('active\n');
    const pid = (await host.ok('systemctl show --property MainPID --value clay-reaper')).trim();
    expect(await host.ok(`readlink /proc/${pid}/exe`)).toBe(`${folder}/node\n`);
    expect((await host.ok(`tr '\\0' '\\n' </proc/${pid}/cmdline`)).split('\n')).toContain(
      `${folder}/program/dist/clay-reaper.js`,
    );
    await host.ok('clay-reaper uninstall --purge');
  });

  it('runs where there is no perl to open the notify socket', async () => {
    await host.ok('mv /usr/bin/perl /usr/bin/no-perl && clay-reaper install --now; mv /usr/bin/no-perl /usr/bin/perl');
    expect(await host.ok('systemctl show --property ActiveState,NotifyAccess clay-reaper')).toBe(
      'NotifyAccess=all\nActiveState=active\n',
    );
    await host.ok('systemctl reload clay-reaper');
    const pid = (await host.ok('systemctl show --property MainPID --value clay-reaper')).trim();
    await until(
      'systemd-notify is done',
      async () => (await host.ok(`cat /proc/${pid}/task/*/children`)).trim() === '',
    );
    await host.ok('clay-reaper uninstall --purge');
  });

  it('refuses to put into a unit what will not be there for long', async () => {
    await host.ok('mkdir -p /root/.npm/_npx/1 && cp -r "$(npm root --global)/clay-reaper" /root/.npm/_npx/1/');
    const npx = await host.run('node /root/.npm/_npx/1/clay-reaper/dist/clay-reaper.js install');
    expect(npx).toMatchObject({ code: 2, stderr: expect.stringMatching(/npm install --global/) });
    await host.ok('cp -r "$(npm root --global)/clay-reaper" /tmp/');
    const tmp = await host.run('node /tmp/clay-reaper/dist/clay-reaper.js install');
    expect(tmp).toMatchObject({ code: 2, stderr: expect.stringMatching(/has a \/tmp\/ of its own/) });
    expect((await host.run('test -e /etc/systemd/system/clay-reaper.service')).code).not.toBe(0);
  });
});
