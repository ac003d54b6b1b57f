import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { startService } from '../helpers/cli.ts';
import { waitFor } from '../helpers/wait-for.ts';

const notified = fileURLToPath(new URL('../helpers/notified.pl', import.meta.url));

it('notifies systemd itself through the descriptor that the unit opens, and starts no program for that', async () => {
  const service = startService(['--clay-home', '/nonexistent', '--poll', '200ms'], {
    via: ['/usr/bin/perl', notified],
    // Without systemd-notify, which would be a child process.
    env: { WATCHDOG_USEC: '3000000', PATH: '/nonexistent' },
  });
  const messages = (): string[] => service.log.flatMap(({ text }) => (typeof text === 'string' ? [text] : []));
  onTestFinished(async () => void (await service.stop()));
  await waitFor('it says what it waits for', () => messages().length >= 2);
  await service.stop();
  expect(messages()).toEqual([
    expect.stringMatching(/^READY=1 \| STATUS=the first sweep has begun \| WATCHDOG_USEC=\d+ \| WATCHDOG=1$/),
    expect.stringMatching(/^STATUS=waiting for Clay: .* \| WATCHDOG=1$/),
    'STOPPING=1 | STATUS=stopped by SIGTERM',
  ]);
  expect(service.log.filter(({ event }) => event === 'warning')).toEqual([]);
});
