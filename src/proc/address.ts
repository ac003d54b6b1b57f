import { endianness } from 'node:os';

const MAPPED = '00000000000000000000ffff';

/**
 * An address and port as people write them, from what /proc/PID/net/tcp and tcp6 say (proc_pid_net(5)): words of four
 * bytes in hexadecimal, each in the byte order of this machine, then the port.
 */
export function addressInWords(text: string): string {
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
