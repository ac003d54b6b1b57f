import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootHost, cannotBoot, type Host, waitFor } from './boot.ts';
import { bringTarball, installPackage } from './package.ts';
import { type ClayService, installClay } from './stand-in.ts';

const QUICK = 'poll_interval = "200ms"\nparked_after = "1s"\nkill_after = "1s"\nmin_age = "1s"\n';

describe.skipIf(cannotBoot())('installation in other places', () => {
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

  it('runs as a user service from an npm prefix in a home and reaps for its own Clay', async () => {
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
    await waitFor('the idle claude is gone', async () => (await host.run(`kill -0 ${idle}`)).code !== 0);
    expect((await host.run(`kill -0 ${working}`)).code).toBe(0);
    await waitFor('systemd knows what it does', async () =>
      (await host.ok('systemctl --user show --property StatusText --value clay-reaper', asAlice)).includes(
        String(await clay.pid()),
      ),
    );
    await host.ok('systemctl --user reload clay-reaper', asAlice);
    const reaped = await host.ok('cat ~/.local/state/clay-reaper/history.jsonl', asAlice);
    expect(JSON.parse(reaped)).toMatchObject({ pid: idle, signal: 'SIGTERM' });
  });

  it('uninstall --user keeps only edited files and the history, and with --purge nothing', async () => {
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

  it('refuses a system installation without root and says what to do', async () => {
    const ran = await host.run('clay-reaper install', asAlice);
    expect(ran).toMatchObject({ code: 2, stdout: '' });
    expect(ran.stderr).toMatch(/^clay-reaper: only root .*sudo.*--user.*\n$/);
  });

  it('runs, with a warning, from a path with every character that needs quoting in a unit', async () => {
    const folder = '/home/alice/100% "my" $HOME it\'s';
    await host.ok(`mkdir -p '${folder.replace("'", "'\\''")}' && cd '${folder.replace("'", "'\\''")}' &&
      cp "$(command -v node)" . && cp -r "$(npm root --global)/clay-reaper" program && chown -R alice: . && chmod 0700 .
      ./node program/dist/clay-reaper.js install --now 2>/root/said`);
    expect(await host.ok('cat /root/said')).toMatch(/warning: a user other than root can change .*\/node/);
    expect(await host.ok('systemctl show --property ActiveState --value clay-reaper')).toBe('active\n');
    const pid = (await host.ok('systemctl show --property MainPID --value clay-reaper')).trim();
    expect(await host.ok(`readlink /proc/${pid}/exe`)).toBe(`${folder}/node\n`);
    expect((await host.ok(`tr '\\0' '\\n' </proc/${pid}/cmdline`)).split('\n')).toContain(
      `${folder}/program/dist/clay-reaper.js`,
    );
    await host.ok('clay-reaper uninstall --purge');
  });

  it('refuses to install from a temporary path', async () => {
    await host.ok('mkdir -p /root/.npm/_npx/1 && cp -r "$(npm root --global)/clay-reaper" /root/.npm/_npx/1/');
    const npx = await host.run('node /root/.npm/_npx/1/clay-reaper/dist/clay-reaper.js install');
    expect(npx).toMatchObject({ code: 2, stderr: expect.stringMatching(/npm install --global/) });
    await host.ok('cp -r "$(npm root --global)/clay-reaper" /tmp/');
    const tmp = await host.run('node /tmp/clay-reaper/dist/clay-reaper.js install');
    expect(tmp).toMatchObject({ code: 2, stderr: expect.stringMatching(/has its own \/tmp\//) });
    expect((await host.run('test -e /etc/systemd/system/clay-reaper.service')).code).not.toBe(0);
  });
});
