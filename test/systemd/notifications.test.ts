import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootHost, cannotBoot, type Host, waitFor } from './boot.ts';
import { installPackage } from './package.ts';
import { type ClayService, installClay } from './stand-in.ts';

const QUICK = 'poll_interval = "200ms"\nparked_after = "1s"\nkill_after = "1s"\nmin_age = "1s"\n';

/** Writes each request that it gets to /root/requests, a JSON object per line. */
const SINK = `require('node:http').createServer((request, response) => {
  let body = '';
  request.setEncoding('utf8').on('data', (text) => { body += text; }).on('end', () => {
    const { url, headers } = request;
    require('node:fs').appendFileSync('/root/requests', JSON.stringify({ url, headers, body }) + '\\n');
    response.end();
  });
}).listen(8080, '127.0.0.1');
`;

const page = readFileSync(new URL('../../docs/notifications.md', import.meta.url), 'utf8');

/** The block of code that follows the first place where the page has `text`. */
function blockAfter(text: string): string {
  const [, block] = /```\w+\n([\s\S]*?)```/.exec(page.slice(page.indexOf(text))) ?? [];
  if (block === undefined || !page.includes(text)) throw new Error(`docs/notifications.md has no block after ${text}`);
  return block;
}

describe.skipIf(cannotBoot())('recipes of docs/notifications.md', () => {
  let host: Host;
  let clay: ClayService;

  const write = (path: string, text: string, mode = '0644'): Promise<string> =>
    host.ok(`mkdir -p $(dirname ${path}) && cat >${path} <<'END-OF-FILE' && chmod ${mode} ${path}\n${text}END-OF-FILE`);
  const startSink = async (): Promise<void> => {
    await host.ok('systemd-run --quiet --unit sink --collect -- env node /root/sink.js');
    await waitFor('it listens', async () => (await host.run('curl --silent http://127.0.0.1:8080/')).code === 0);
  };
  const useSender = (heading: string): Promise<string> => {
    const script = blockAfter(heading).replace(/https:\/\/(ntfy|hooks)\.example/, 'http://127.0.0.1:8080');
    return write('/usr/local/lib/clay-reaper/send', script, '0755');
  };
  type Message = { readonly url: string; readonly headers: Record<string, string>; readonly body: string };
  const messageAbout = (pid: number): Promise<Message> =>
    waitFor(`a message about ${pid} arrives`, async () => {
      const { stdout } = await host.run('cat /root/requests');
      const messages = stdout.split('\n').filter((line) => line !== '');
      return messages.map((line) => JSON.parse(line) as Message).find(({ body }) => body.includes(`claude ${pid} `));
    });

  beforeAll(async () => {
    host = await bootHost();
    await host.ok('useradd --create-home alice && chmod 0700 /home/alice');
    await installPackage(host);
    clay = await installClay(host, 'alice');
    await clay.start();
    await write('/root/sink.js', SINK);
    await write(
      '/usr/sbin/sendmail',
      '#!/bin/sh\nexec curl --silent --data-binary @- http://127.0.0.1:8080/mail\n',
      '0755',
    );
    await startSink();

    await write('/usr/local/lib/clay-reaper/on-reaped', blockAfter('/clay-reaper/on-reaped`, mode 0755'), '0755');
    await useSender('[ntfy]');
    await write('/etc/clay-reaper/config.toml', `${QUICK}${blockAfter('In `/etc/clay-reaper/config.toml`')}`);
    for (const unit of ['clay-reaper-notify.path', 'clay-reaper-notify.service'])
      await write(`/etc/systemd/system/${unit}`, blockAfter(`\`/etc/systemd/system/${unit}\``));
    await write('/etc/systemd/system/clay-reaper-notify.service.d/test.conf', '[Service]\nRestartSec=1s\n');
    await host.ok('systemctl daemon-reload && systemctl enable --now clay-reaper-notify.path');
    await host.ok('clay-reaper install --now');
  });
  afterAll(async () => {
    await host?.powerOff();
  });

  it('ntfy: a message tells which process was ended, whose it was, and why', async () => {
    const pid = await clay.idle();
    const message = await messageAbout(pid);
    expect(message).toMatchObject({ url: '/my-topic', headers: { title: 'clay-reaper' } });
    expect(message.body).toMatch(/^ended claude \d+ of alice, project shop: idle for \d+ s, \d+ MB returned$/m);
    await waitFor('the message is removed', async () => (await host.ok('ls /run/clay-reaper/outbox')) === '');
  });

  it('a message that could not be sent is sent later', async () => {
    await host.ok('systemctl stop sink');
    const pid = await clay.idle();
    await waitFor('the first attempt has failed', async () =>
      /^[1-9]/.test(await host.ok('systemctl show --property NRestarts --value clay-reaper-notify.service')),
    );
    await startSink();
    await messageAbout(pid);
  });

  it.each([
    ['webhook', 'A webhook that takes JSON', '/T000/B000', /^\{\s*"text": "ended claude \d+ of alice/],
    ['mail', 'Mail, through any mail server', '/mail', /^To: root\nSubject: .*\n\nended claude \d+ of alice/],
  ] as const)('%s: the message has the form that is expected there', async (_name, heading, url, form) => {
    await useSender(heading);
    const message = await messageAbout(await clay.idle());
    expect(message.url).toBe(url);
    expect(message.body).toMatch(form);
  });
});
