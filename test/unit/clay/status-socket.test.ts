import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { isInTurn, parseStatusAnswer, queryStatus } from '../../../src/clay/status-socket.ts';
import { noLimit } from '../../helpers/budget.ts';

/** As Clay 2.17 writes it. */
const ANSWER = {
  ok: true,
  pid: 16_199,
  port: 26_330,
  tls: false,
  keepAwake: false,
  osUsers: false,
  projects: [
    {
      slug: 'alpha',
      path: '/srv/projects/alpha',
      project: 'alpha',
      title: null,
      icon: null,
      clients: 1,
      sessions: 3,
      isProcessing: false,
      pendingPermissions: 0,
      projectOwnerId: null,
    },
    {
      slug: 'beta',
      path: '/srv/projects/beta',
      project: 'beta',
      title: null,
      icon: null,
      clients: 1,
      sessions: 4,
      isProcessing: true,
      pendingPermissions: 1,
      projectOwnerId: null,
    },
  ],
  uptime: 50.989169114,
};
const [ALPHA] = ANSWER.projects;
const parse = (answer: unknown, pid = 16_199) => parseStatusAnswer(JSON.stringify(answer), pid);
const project = (overrides: Readonly<Record<string, unknown>>) => ({
  ...ANSWER,
  projects: [{ ...ALPHA, ...overrides }],
});

describe('parseStatusAnswer', () => {
  it('reads only the fields that are needed', () => {
    expect(parse(ANSWER)).toEqual({
      ok: true,
      value: {
        ok: true,
        pid: 16_199,
        projects: [
          { slug: 'alpha', path: '/srv/projects/alpha', isProcessing: false, pendingPermissions: 0 },
          { slug: 'beta', path: '/srv/projects/beta', isProcessing: true, pendingPermissions: 1 },
        ],
      },
    });
  });
  it('accepts a Clay without projects', () => expect(parse({ ...ANSWER, projects: [] }).ok).toBe(true));
  it('accepts white space around the answer', () => {
    expect(parseStatusAnswer(` ${JSON.stringify(ANSWER)}\r`, 16_199).ok).toBe(true);
  });
  it('refuses the answer of another process, and says whose it is', () => {
    expect(parse(ANSWER, 5)).toEqual({
      ok: false,
      failure: { code: 'invalid', detail: 'pid 16199 answers, not the daemon with pid 5' },
    });
  });
  it.each([
    ['an error', { ok: false, error: 'Unknown command: get_status' }],
    ['ok of another kind', { ...ANSWER, ok: 'true' }],
    ['no pid', { ...ANSWER, pid: undefined }],
    ['a pid as text', { ...ANSWER, pid: '16199' }],
    ['half a pid', { ...ANSWER, pid: 16_199.5 }],
    ['no projects', { ...ANSWER, projects: undefined }],
    ['projects that are no list', { ...ANSWER, projects: {} }],
    ['a project that is none', { ...ANSWER, projects: [null] }],
    ['a project without a slug', project({ slug: undefined })],
    ['a project without a path', project({ path: null })],
    ['a project that does not say whether it is in a turn', project({ isProcessing: undefined })],
    ['a project that says it otherwise', project({ isProcessing: 0 })],
    ['a project without its permissions', project({ pendingPermissions: undefined })],
    ['fewer permissions than none', project({ pendingPermissions: -1 })],
    ['permissions that are no number', project({ pendingPermissions: '1' })],
    ['a list', [ANSWER]],
    ['null', null],
    ['a text', 'ok'],
  ])('refuses %s', (_, answer) => expect(parse(answer)).toMatchObject({ ok: false, failure: { code: 'invalid' } }));
  it.each(['', '{"ok":true', 'pong', `${JSON.stringify(ANSWER)}${JSON.stringify(ANSWER)}`])('refuses %j', (text) => {
    expect(parseStatusAnswer(text, 16_199)).toEqual({
      ok: false,
      failure: { code: 'invalid', detail: 'its answer is not JSON' },
    });
  });
  it('names the part that is not as expected', () => {
    expect(parse(project({ isProcessing: 'no' }))).toMatchObject({
      failure: { detail: 'its answer is not as expected (projects.0.isProcessing)' },
    });
  });
});

describe('queryStatus', () => {
  const folder = mkdtempSync(join(tmpdir(), 'clay-reaper-api-'));
  const servers: Server[] = [];
  afterAll(async () => {
    for (const server of servers) await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true });
  });
  const MIB = 1024 * 1024;

  /** A daemon that answers so many bytes before the end of the line, which comes `then`; gives what is made of its answer. */
  async function askFor(bytes: number, then: Promise<unknown> = Promise.resolve()) {
    const socketPath = join(folder, `${servers.length}.sock`);
    const padding = 'x'.repeat(bytes - JSON.stringify({ ...ANSWER, padding: '' }).length);
    const server = createServer((socket) => {
      socket
        .on('error', () => {})
        .on('data', () => {
          socket.write(JSON.stringify({ ...ANSWER, padding }));
          void then.then(() => socket.write('\n'));
        });
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    return queryStatus({ socketPath, uid: process.getuid?.() ?? 0, pid: ANSWER.pid }, noLimit, 20_000);
  }
  const tooLong = { ok: false, failure: { code: 'invalid', detail: 'its answer is longer than 4194304 bytes' } };

  it('accepts an answer of thousands of projects and refuses a longer one', async () => {
    expect(await askFor(4 * MIB - 100_000)).toMatchObject({ ok: true });
    expect(await askFor(4 * MIB + 100_000)).toEqual(tooLong);
  });
  it('reads at most 16 MiB of answers at the same time', async () => {
    // The others end their lines when one of them is refused: only that can be answered before.
    let go = (): void => {};
    const then = new Promise<void>((resolve) => {
      go = resolve;
    });
    const asked = Array.from({ length: 8 }, () => askFor(3 * MIB, then));
    await Promise.race(asked);
    go();
    const answers = await Promise.all(asked);
    const refused = answers.filter(({ ok }) => !ok);
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.length).toBeLessThan(8);
    for (const status of refused)
      expect(status).toMatchObject({ failure: { detail: 'its answer is too long beside those of other Clays' } });
    expect(await askFor(3 * MIB)).toMatchObject({ ok: true });
  });
});

describe('isInTurn', () => {
  it.each([
    [false, 0, false],
    [true, 0, true],
    [false, 1, true],
    [true, 2, true],
  ])('isProcessing %s, %d permissions: %s', (isProcessing, pendingPermissions, expected) => {
    expect(isInTurn({ slug: 'alpha', path: '/', isProcessing, pendingPermissions })).toBe(expected);
  });
});
