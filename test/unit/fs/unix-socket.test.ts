import { closeSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSocketFile } from '../../../src/fs/unix-socket.ts';
import { noLimit } from '../../helpers/budget.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-files-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const uid = process.getuid?.() ?? 0;

describe('openSocketFile', () => {
  it('opens a socket of the given user only, not a link, a file or a missing path', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(dir, 's'), resolve));
    symlinkSync(join(dir, 's'), join(dir, 'link'));
    writeFileSync(join(dir, 'file'), '');
    const opened = openSocketFile(join(dir, 's'), uid, noLimit);
    expect(opened.ok).toBe(true);
    if (opened.ok) closeSync(opened.value);
    expect(openSocketFile(join(dir, 's'), uid + 1, noLimit)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
    expect(openSocketFile(join(dir, 'link'), uid, noLimit)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
    expect(openSocketFile(join(dir, 'file'), uid, noLimit)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
    expect(openSocketFile(join(dir, 'none'), uid, noLimit)).toMatchObject({
      ok: false,
      failure: { code: 'not-found' },
    });
    await new Promise((resolve) => server.close(resolve));
  });
});
