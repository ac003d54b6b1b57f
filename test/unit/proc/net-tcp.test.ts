import { endianness } from 'node:os';
import { describe, expect, it } from 'vitest';
import { formatAddress, parseTcpTable } from '../../../src/proc/net-tcp.ts';

const TCP_HEAD =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n';

/** What the kernel of this machine writes for these bytes (RFC 4291 order): words of four, as it holds them in memory. */
function asKernel(bytes: readonly number[], port: number): string {
  const words = Buffer.from(bytes);
  if (endianness() === 'LE') words.swap32();
  return `${words.toString('hex').toUpperCase()}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
}

describe('formatAddress', () => {
  it.each([
    [[127, 0, 0, 1], 443, '127.0.0.1:443'],
    [[0, 0, 0, 0], 0, '0.0.0.0:0'],
    [[...Array(15).fill(0), 1], 8080, '[::1]:8080'],
    [[0x20, 0x01, 0x0d, 0xb8, ...Array(11).fill(0), 0x2a], 65535, '[2001:db8::2a]:65535'],
    [[...Array(10).fill(0), 0xff, 0xff, 192, 0, 2, 7], 80, '192.0.2.7:80'],
  ])('formats %j, port %i as %s', (bytes, port, words) => {
    expect(formatAddress(asKernel(bytes, port))).toBe(words);
  });

  it('returns a question mark for a text that is no address', () => {
    expect(formatAddress('')).toMatch(/^\?/);
  });
});

describe('parseTcpTable', () => {
  it('reads rows of tcp and tcp6', () => {
    const text = `${TCP_HEAD}   7: 0100007F:A12C 0100007F:0FAA 01 00000000:00000000 02:000013C6 00000000     0        0 32092 2 000000006faed3ad 20 4 30 12 -1                    
`;
    expect([...parseTcpTable(text).values()]).toEqual([
      { inode: 32_092, local: '0100007F:A12C', remote: '0100007F:0FAA', state: 1 },
    ]);
    const six = `${TCP_HEAD}   0: 00000000000000000000000001000000:0FAA 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 40000 1 0000000000000000 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:CBF6 0000000000000000FFFF00000100007F:0FAA 01 00000000:00000000 00:00000000 00000000  1000        0 40001 1 0000000000000000 20 0 0 10 -1
`;
    expect(parseTcpTable(six).get(40_001)).toEqual({
      inode: 40_001,
      local: '0000000000000000FFFF00000100007F:CBF6',
      remote: '0000000000000000FFFF00000100007F:0FAA',
      state: 1,
    });
    expect(parseTcpTable(six).get(40_000)?.state).toBe(10);
  });
  it('reads states as hexadecimal numbers', () => {
    const states = ['01', '02', '03', '06', '08', '0A', '0C'].map(
      (state, number) =>
        `   ${number}: 0100007F:A12C 0100007F:0FAA ${state} 00000000:00000000 00:00000000 00000000 0 0 ${number + 10} 1 0 20 4 30 10 -1`,
    );
    const rows = parseTcpTable(`${TCP_HEAD}${states.join('\n')}\n`);
    expect([...rows.values()].map(({ state }) => state)).toEqual([1, 2, 3, 6, 8, 10, 12]);
  });
  it('reads row numbers of any width', () => {
    const text = `${TCP_HEAD}12345: 0100007F:A12C 0100007F:0FAA 01 00000000:00000000 02:000013C6 00000000 65534 0 4294967295 2 0 20 4 30 12 -1\n`;
    expect([...parseTcpTable(text).keys()]).toEqual([4_294_967_295]);
  });
  it('ignores connections without a process, truncated rows and the heading', () => {
    const text = `${TCP_HEAD}   7: 0100007F:A12C 0100007F:0FAA 06 00000000:00000000 03:000013C6 00000000     0        0 0 3 0
   8: 0100007F:A12C 0100007F:0FAA 01 00000000:0000
`;
    expect(parseTcpTable(text).size).toBe(0);
    expect(parseTcpTable('').size).toBe(0);
  });
});
