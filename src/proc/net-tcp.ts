import { endianness } from 'node:os';
import { ok, type Result } from '../result.ts';
import { forEachLine } from './read-file.ts';

/** A row of /proc/PID/net/tcp or tcp6 (proc_pid_net(5)). */
export type TcpSocket = {
  readonly inode: number;
  /** The addresses as the kernel writes them, in hexadecimal. */
  readonly local: string;
  readonly remote: string;
  /** Linux's number (include/net/tcp_states.h): 1 established, 2 and 3 being set up, 10 listening. */
  readonly state: number;
};

/** The rows of the text of a net/tcp or net/tcp6 table, by inode. */
export function parseTcpTable(text: string): Map<number, TcpSocket> {
  const rows = new Map<number, TcpSocket>();
  for (const line of text.split('\n')) {
    const row = parseTcpRow(line);
    if (row) rows.set(row.inode, row);
  }
  return rows;
}

/** A row of net/tcp, or null: the line with the headings has no inode. */
function parseTcpRow(line: string): TcpSocket | null {
  const fields = line.trim().split(/ +/, 10);
  const [local, remote, state, inode] = [fields[1], fields[2], fields[3], Number(fields[9])];
  // Inode 0: a connection that is no process's any more (TIME_WAIT).
  if (!local || !remote || !state || !Number.isSafeInteger(inode) || inode === 0) return null;
  return { inode, local, remote, state: Number.parseInt(state, 16) };
}

/** Those of the `wanted` inodes that are TCP sockets, of v4 or v6, of the network namespace that a process lives in; 3.5 ms of kernel time (measured). */
export function readTcpTable(
  procRoot: string,
  pid: number | 'self',
  table: 'tcp' | 'tcp6',
  wanted: ReadonlySet<number>,
  isExhausted: () => boolean,
): Result<Map<number, TcpSocket>> {
  const rows = new Map<number, TcpSocket>();
  const read = forEachLine(`${procRoot}/${pid}/net/${table}`, isExhausted, (line) => {
    const row = parseTcpRow(line);
    if (row && wanted.has(row.inode)) rows.set(row.inode, row);
  });
  // A kernel without IPv6 has no table for it.
  return read.ok || (table === 'tcp6' && read.failure.code === 'not-found') ? ok(rows) : read;
}

const MAPPED = '00000000000000000000ffff';

/**
 * An address and port as people write them, from what /proc/PID/net/tcp and tcp6 say (proc_pid_net(5)): words of four
 * bytes in hexadecimal, each in the byte order of this machine, then the port.
 */
export function formatAddress(text: string): string {
  const [words = '', port = ''] = text.split(':');
  const bytes = Buffer.from(words, 'hex');
  if (endianness() === 'LE') for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
  return `${hostInWords(bytes)}:${Number.parseInt(port, 16)}`;
}

function hostInWords(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16) return '?';
  if (bytes.subarray(0, 12).toString('hex') === MAPPED) return bytes.subarray(12).join('.');
  const groups = bytes.toString('hex').match(/.{4}/g) ?? [];
  // A URL writes an IPv6 address in its shortest form.
  return new URL(`http://[${groups.join(':')}]`).hostname;
}
