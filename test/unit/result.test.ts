import { describe, expect, it } from 'vitest';
import { attempt, toFailure } from '../../src/result.ts';

const error = (code: string): NodeJS.ErrnoException => Object.assign(new Error(code), { code });

describe('toFailure', () => {
  it.each([
    ['ENOENT', 'not-found'],
    ['ESRCH', 'not-found'],
    ['ENOTDIR', 'not-found'],
    ['ENAMETOOLONG', 'not-found'],
    ['EACCES', 'denied'],
    ['EPERM', 'denied'],
    ['ELOOP', 'invalid'],
    ['EIO', 'io'],
    ['EISDIR', 'io'],
    ['EMFILE', 'io'],
  ])('maps %s to %s', (code, reason) => {
    expect(toFailure(error(code), '/x')).toMatchObject({
      ok: false,
      failure: { code: reason, detail: expect.stringMatching(/^\/x /) },
    });
  });
  it('maps an error without a code to io', () => {
    expect(toFailure(new Error('x'), '/x')).toMatchObject({ failure: { code: 'io' } });
  });
});

describe('attempt', () => {
  it('returns the value, or the error as a failure', () => {
    expect(attempt('x', () => 5)).toEqual({ ok: true, value: 5 });
    expect(
      attempt('x', () => {
        throw error('EACCES');
      }),
    ).toMatchObject({ failure: { code: 'denied' } });
  });
});
