import { describe, expect, it } from 'vitest';
import { parseUnixInodes } from '../../../src/proc/net-unix.ts';

const UNIX_HEAD = 'Num               RefCount Protocol Flags    Type St Inode Path\n';

describe('parseUnixInodes', () => {
  it('reads connected, listening and abstract sockets', () => {
    const text = `${UNIX_HEAD}00000000446cde85: 00000003 00000000 00000000 0001 03 32062
00000000af0d0a0a: 00000002 00000000 00010000 0001 01 33021 /tmp/cc-socks/16836.sock
0000000000000000: 00000002 00000000 00000000 0002 01     7 @abstract name with spaces
`;
    expect([...parseUnixInodes(text)]).toEqual([32_062, 33_021, 7]);
  });
  it('ignores numbers in the path of a socket', () => {
    expect([...parseUnixInodes(`${UNIX_HEAD}00: 00000002 00000000 00010000 0001 01 5 /tmp/a 77 78\n`)]).toEqual([5]);
  });
  it('returns an empty set for a table without rows', () => {
    expect(parseUnixInodes(UNIX_HEAD).size).toBe(0);
    expect(parseUnixInodes('').size).toBe(0);
  });
  it('ignores truncated rows and inode 0', () => {
    expect(
      parseUnixInodes(`${UNIX_HEAD}00: 00000003 00000000\n00: 00000003 00000000 00000000 0001 03 0\n\n`).size,
    ).toBe(0);
  });
});
