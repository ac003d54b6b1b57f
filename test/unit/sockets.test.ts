import { describe, expect, it } from 'vitest';
import { parseTcpTable, parseUnixInodes } from '../../src/proc/sockets.ts';

const UNIX_HEAD = 'Num               RefCount Protocol Flags    Type St Inode Path\n';
const TCP_HEAD =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n';

describe('parseUnixInodes', () => {
  it('reads connected, listening and abstract sockets', () => {
    const text = `${UNIX_HEAD}00000000446cde85: 00000003 00000000 00000000 0001 03 32062
00000000af0d0a0a: 00000002 00000000 00010000 0001 01 33021 /tmp/cc-socks/16836.sock
0000000000000000: 00000002 00000000 00000000 0002 01     7 @abstract name with spaces
`;
    expect([...parseUnixInodes(text)]).toEqual([32_062, 33_021, 7]);
  });
  it('reads no inode out of a path', () => {
    expect([...parseUnixInodes(`${UNIX_HEAD}00: 00000002 00000000 00010000 0001 01 5 /tmp/a 77 78\n`)]).toEqual([5]);
  });
  it('is empty for a table without rows', () => {
    expect(parseUnixInodes(UNIX_HEAD).size).toBe(0);
    expect(parseUnixInodes('').size).toBe(0);
  });
  it('leaves out rows that are cut short, and inode 0', () => {
    expect(
      parseUnixInodes(`${UNIX_HEAD}00: 00000003 00000000\n00: 00000003 00000000 00000000 0001 03 0\n\n`).size,
    ).toBe(0);
  });
});

describe('parseTcpTable', () => {
  it('reads the rows of both tables', () => {
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
  it('reads states as the hexadecimal numbers that they are', () => {
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
  it('leaves out connections that are no process’s any more, rows that are cut short, and the head', () => {
    const text = `${TCP_HEAD}   7: 0100007F:A12C 0100007F:0FAA 06 00000000:00000000 03:000013C6 00000000     0        0 0 3 0
   8: 0100007F:A12C 0100007F:0FAA 01 00000000:0000
`;
    expect(parseTcpTable(text).size).toBe(0);
    expect(parseTcpTable('').size).toBe(0);
  });
});
