import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Clay, type FakeClaude, IDLE, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { NO_WAITS, runCli, startService } from '../helpers/cli.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { ADA, MALLORY, startAs } from './users.ts';

let ada: Clay;
let port: number;
const server = createServer(() => {});
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as { port: number }).port;
  ada = await startClay({ user: ADA, projects: ['rest'] });
});
afterAll(async () => {
  await ada?.stop();
  server.close();
});

/** The inode of the socket in /proc/net/tcp that leads to the server. */
function inodeOfConnection(): string {
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const row = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .find((words) => words[2] === remote && words[3] === '01');
  if (!row?.[9]) throw new Error('no connection');
  return row[9];
}

/** A socket of mallory's with a line break in its name, and behind it a row that makes ada's connection a unix socket. */
async function forgeRow(inode: string): Promise<void> {
  const row = `0000000000000000: 00000002 00000000 00010000 0001 01 ${inode}`;
  const forging = `socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die; bind($s, pack_sockaddr_un("\\0x\\n${row}")) or die "$!"; sleep 86400`;
  const forger = await startAs(MALLORY, ['perl', '-MSocket', '-e', forging]);
  onTestFinished(forger.end);
  await waitFor('the row is there', () => readFileSync('/proc/net/unix', 'utf8').split('\n').includes(row));
}

describe('a unix socket of mallory’s whose name has a line break and a row', () => {
  test('does not hide the connection of ada’s claude: it lives, and explain shows it', async () => {
    const working: FakeClaude = await ada.spawnClaude({ ...IDLE, start: { connect: { port } } });
    const orphan = await ada.spawnClaude(IDLE_NATIVE);
    await forgeRow(inodeOfConnection());
    const { stdout, status } = await runCli(['explain', String(working.pid), '--json', '--clay-home', ada.home]);
    expect(status).toBe(0);
    const text = JSON.stringify(JSON.parse(stdout));
    expect(text).toContain(`127.0.0.1:${port}`);
    const running = startService(['--clay-home', ada.home, ...NO_WAITS, '--poll', '200ms', '--log-level', 'debug']);
    onTestFinished(async () => void (await running.stop()));
    await running.logged('reaped', ({ pid }) => pid === orphan.pid);
    const swept = (): number => running.log.filter(({ event }) => event === 'sweep').length;
    const before = swept();
    await waitFor('five more sweeps', () => swept() > before + 5);
    expect(working.isAlive()).toBe(true);
  });
});

describe('a number out of every range', () => {
  test.each(['-1e308', '1e999'])('as startedAt of a session file is no crash: %s', async (startedAt) => {
    const claude = await ada.spawnClaude(IDLE_NATIVE);
    const file = claude.sessionFile ?? '';
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, text.replace(/"startedAt":\d+/, `"startedAt":${startedAt}`));
    const { status, stderr, stdout } = await runCli(['explain', String(claude.pid), '--clay-home', ada.home]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain('session file');
  });
});
