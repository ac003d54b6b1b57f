import { endianness } from 'node:os';
import { describe, expect, it } from 'vitest';
import { addressInWords } from '../../src/proc/address.ts';

/** What the kernel of this machine writes for these bytes (RFC 4291 order): words of four, as it holds them in memory. */
function asKernel(bytes: readonly number[], port: number): string {
  const words = Buffer.from(bytes);
  if (endianness() === 'LE') words.swap32();
  return `${words.toString('hex').toUpperCase()}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
}

describe('an address in /proc/PID/net/tcp and tcp6', () => {
  it.each([
    [[127, 0, 0, 1], 443, '127.0.0.1:443'],
    [[0, 0, 0, 0], 0, '0.0.0.0:0'],
    [[...Array(15).fill(0), 1], 8080, '[::1]:8080'],
    [[0x20, 0x01, 0x0d, 0xb8, ...Array(11).fill(0), 0x2a], 65535, '[2001:db8::2a]:65535'],
    [[...Array(10).fill(0), 0xff, 0xff, 192, 0, 2, 7], 80, '192.0.2.7:80'],
  ])('%j, port %i is %s', (bytes, port, words) => {
    expect(addressInWords(asKernel(bytes, port))).toBe(words);
  });

  it('that is none is told as such', () => {
    expect(addressInWords('')).toMatch(/^\?/);
  });
});
