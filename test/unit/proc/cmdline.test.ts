import { describe, expect, it } from 'vitest';
import { parseCmdline } from '../../../src/proc/cmdline.ts';

describe('parseCmdline', () => {
  const words = (text: string): string[] => parseCmdline(Buffer.from(text));
  it('splits the words of a command line', () => {
    expect(words('/usr/bin/node\0/srv/lib/daemon.js\0--port\x002633\0')).toEqual([
      ...['/usr/bin/node', '/srv/lib/daemon.js', '--port', '2633'],
    ]);
  });
  it('drops the padding after a process title', () => {
    expect(words(`claude${'\0'.repeat(300)}`)).toEqual(['claude']);
  });
  it('keeps empty words between others', () => expect(words('sh\0-c\0\0x\0')).toEqual(['sh', '-c', '', 'x']));
  it('keeps newlines and spaces in a word', () =>
    expect(words('bash\0-c\0a b\nc\0')).toEqual(['bash', '-c', 'a b\nc']));
  it('returns no words for a kernel thread or a zombie', () => expect(words('')).toEqual([]));
  it('reads a process title without a final NUL', () => expect(words('claude')).toEqual(['claude']));
  it('reads bytes that are not UTF-8', () => expect(parseCmdline(Buffer.from([0xff, 0xfe, 0, 0x61]))).toHaveLength(2));
});
