import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveTrustedDirectory } from '../../../src/fs/trusted-directory.ts';
import { noLimit } from '../../helpers/budget.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clay-reaper-files-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const uid = process.getuid?.() ?? 0;

describe('resolveTrustedDirectory', () => {
  it('returns the real path of a directory', () => {
    mkdirSync(join(dir, 'a'));
    symlinkSync(join(dir, 'a'), join(dir, 'b'));
    expect(resolveTrustedDirectory(join(dir, 'b'), noLimit, uid)).toEqual({
      ok: true,
      value: realpathSync(join(dir, 'a')),
    });
  });
  it('refuses a path below a directory that others may write to, unless it is sticky', () => {
    mkdirSync(join(dir, 'open/home'), { recursive: true });
    chmodSync(join(dir, 'open'), 0o777);
    expect(resolveTrustedDirectory(join(dir, 'open/home'), noLimit, uid)).toMatchObject({
      ok: false,
      failure: { code: 'invalid' },
    });
    expect(resolveTrustedDirectory(join(dir, 'open'), noLimit, uid)).toMatchObject({
      ok: false,
      failure: { code: 'invalid' },
    });
    // In a sticky directory users can rename only what they own (as in /tmp).
    chmodSync(join(dir, 'open'), 0o1777);
    expect(resolveTrustedDirectory(join(dir, 'open/home'), noLimit, uid).ok).toBe(true);
  });
  it('refuses a file and returns not-found for a missing path', () => {
    writeFileSync(join(dir, 'a'), '');
    expect(resolveTrustedDirectory(join(dir, 'a'), noLimit, uid)).toMatchObject({
      ok: false,
      failure: { code: 'invalid' },
    });
    expect(resolveTrustedDirectory(join(dir, 'none'), noLimit, uid)).toMatchObject({
      ok: false,
      failure: { code: 'not-found' },
    });
  });
});
