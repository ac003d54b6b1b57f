import { expect, onTestFinished, test } from 'vitest';
import { runCli, startService } from '../helpers/cli.ts';
import { ADA } from './users.ts';

// As systemd 257 starts a service with DynamicUser= where libnss-systemd is not installed.
test('a user without HOME whom the password database does not know can run the service', async () => {
  const service = startService(['--poll', '1s'], { ...ADA, env: { HOME: undefined } });
  onTestFinished(async () => void (await service.stop()));
  expect(await service.logged('started')).toMatchObject({ level: 'info' });
  expect(await service.logged('waiting')).toMatchObject({ msg: expect.stringContaining('/.clay') });
  expect(await runCli(['config'], { ...ADA, env: { HOME: undefined } })).toMatchObject({ status: 0 });
});
