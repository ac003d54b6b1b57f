import { describe, expect, it } from 'vitest';
import { parseCmdline, parseEnviron } from '../../src/proc/strings.ts';

describe('parseCmdline', () => {
  const words = (text: string): string[] => parseCmdline(Buffer.from(text));
  it('splits words', () => {
    expect(words('/usr/bin/node\0/srv/lib/daemon.js\0--port\x002633\0')).toEqual([
      ...['/usr/bin/node', '/srv/lib/daemon.js', '--port', '2633'],
    ]);
  });
  it('leaves out the padding behind a title that a process gave itself', () => {
    expect(words(`claude${'\0'.repeat(300)}`)).toEqual(['claude']);
  });
  it('keeps empty words in the middle', () => expect(words('sh\0-c\0\0x\0')).toEqual(['sh', '-c', '', 'x']));
  it('keeps newlines and spaces', () => expect(words('bash\0-c\0a b\nc\0')).toEqual(['bash', '-c', 'a b\nc']));
  it('is empty for a kernel thread or a zombie', () => expect(words('')).toEqual([]));
  it('takes a title without an end', () => expect(words('claude')).toEqual(['claude']));
  it('takes bytes that are no text', () => expect(parseCmdline(Buffer.from([0xff, 0xfe, 0, 0x61]))).toHaveLength(2));
});

describe('parseEnviron', () => {
  const variables = (text: string): Record<string, string> => Object.fromEntries(parseEnviron(Buffer.from(text)));
  it('reads variables', () => {
    expect(variables('HOME=/home/ada\0CLAY_HOME=/home/ada/.clay\0EMPTY=\0')).toEqual({
      HOME: '/home/ada',
      CLAY_HOME: '/home/ada/.clay',
      EMPTY: '',
    });
  });
  it('keeps what stands behind the first =', () => expect(variables('A=b=c\nd=e\0')).toEqual({ A: 'b=c\nd=e' }));
  it('takes the first of a name, as getenv(3) does', () => expect(variables('A=1\0A=2\0')).toEqual({ A: '1' }));
  it('leaves out what is no variable', () => expect(variables('claude\0=x\0\0A=1\0')).toEqual({ A: '1' }));
  it('is empty where there is nothing, as for a process that overwrote it', () => {
    expect(variables('')).toEqual({});
    expect(variables('\0'.repeat(50))).toEqual({});
  });
  it('takes names that objects have', () => {
    expect(parseEnviron(Buffer.from('__proto__=x\0constructor=y\0')).get('__proto__')).toBe('x');
  });
});
