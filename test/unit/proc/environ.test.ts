import { describe, expect, it } from 'vitest';
import { parseEnviron } from '../../../src/proc/environ.ts';

describe('parseEnviron', () => {
  const variables = (text: string): Record<string, string> => Object.fromEntries(parseEnviron(Buffer.from(text)));
  it('reads the variables of an environment', () => {
    expect(variables('HOME=/home/ada\0CLAY_HOME=/home/ada/.clay\0EMPTY=\0')).toEqual({
      HOME: '/home/ada',
      CLAY_HOME: '/home/ada/.clay',
      EMPTY: '',
    });
  });
  it('splits at the first = only', () => expect(variables('A=b=c\nd=e\0')).toEqual({ A: 'b=c\nd=e' }));
  it('uses the first of two variables with one name, as getenv(3) does', () =>
    expect(variables('A=1\0A=2\0')).toEqual({ A: '1' }));
  it('ignores entries that are not variables', () => expect(variables('claude\0=x\0\0A=1\0')).toEqual({ A: '1' }));
  it('returns no variables for an empty or overwritten environment', () => {
    expect(variables('')).toEqual({});
    expect(variables('\0'.repeat(50))).toEqual({});
  });
  it('reads variables named like properties of objects', () => {
    expect(parseEnviron(Buffer.from('__proto__=x\0constructor=y\0')).get('__proto__')).toBe('x');
  });
});
