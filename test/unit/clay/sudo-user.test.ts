import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { homeOfUser, refuseForeignLinks, sudoUidOf } from '../../../src/clay/sudo-user.ts';
import { noLimit } from '../../helpers/budget.ts';

const PASSWD =
  'root:x:0:0::/root:/bin/sh\ncalice:x:1004:1004::/home/calice:/bin/sh\nbig:x:4294900000:1::/home/big:/bin/sh\n';

describe('sudoUidOf', () => {
  const uid = (environ: Readonly<Record<string, string>>) => sudoUidOf(new Map(Object.entries(environ)), PASSWD);
  it('returns null for a daemon that was not started through sudo', () => {
    expect(uid({ HOME: '/root' })).toEqual({ ok: true, value: null });
  });
  it.each([
    [{ SUDO_UID: '1004', SUDO_USER: 'calice' }, 1004],
    [{ SUDO_UID: '1004' }, 1004],
    [{ SUDO_USER: 'calice' }, 1004],
    [{ SUDO_UID: '70000', SUDO_USER: 'not-in-passwd' }, 70_000],
    [{ SUDO_USER: 'big' }, 4_294_900_000],
  ])('returns the uid of %j', (environ, expected) => expect(uid(environ)).toEqual({ ok: true, value: expected }));
  it.each([
    [{ SUDO_UID: '1005', SUDO_USER: 'calice' }, 'name two users'],
    [{ SUDO_UID: 'calice' }, 'no uid'],
    [{ SUDO_UID: '-1' }, 'no uid'],
    [{ SUDO_UID: '4294967295' }, 'no uid'],
    [{ SUDO_UID: '' }, 'no uid'],
    [{ SUDO_USER: 'not-in-passwd' }, 'password database'],
  ])('refuses %j', (environ, words) =>
    expect(uid(environ)).toMatchObject({ ok: false, failure: { detail: expect.stringContaining(words) } }),
  );
});

describe('homeOfUser', () => {
  it('returns the home directory, or null for an unknown user', () => {
    expect([homeOfUser('calice', PASSWD), homeOfUser('eve', PASSWD)]).toEqual(['/home/calice', null]);
  });
});

describe('refuseForeignLinks', () => {
  let dir: string;
  beforeEach(() => {
    dir = realpathSync(mkdtempSync(join(tmpdir(), 'clay-reaper-links-')));
    mkdirSync(join(dir, 'real/.clay'), { recursive: true });
    symlinkSync('real', join(dir, 'link'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('returns the path if no link is on the way', () => {
    expect(refuseForeignLinks(join(dir, 'real/.clay'), noLimit)).toEqual({ ok: true, value: join(dir, 'real/.clay') });
  });
  it('accepts links of root only', () => {
    const result = refuseForeignLinks(join(dir, 'link/.clay'), noLimit);
    if (process.getuid?.() === 0) expect(result).toEqual({ ok: true, value: join(dir, 'real/.clay') });
    else expect(result).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
  it('returns not-found for a missing path', () => {
    expect(refuseForeignLinks(join(dir, 'none'), noLimit)).toMatchObject({ ok: false, failure: { code: 'not-found' } });
  });
});
