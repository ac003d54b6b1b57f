import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readMachineUnits, readUptimeMs } from '../../src/proc/machine.ts';
import { type FakeProc, fakeProc } from './fake-proc.ts';

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});
afterEach(() => proc.end());

const AT_NULL = 0;
const AT_PAGESZ = 6;
const AT_CLKTCK = 17;
const AT_SYSINFO_EHDR = 33;

/** An auxiliary vector of a 64-bit little-endian machine. */
function auxv(...pairs: readonly (readonly [number, number | bigint])[]): Buffer {
  const bytes = Buffer.alloc(pairs.length * 16);
  pairs.forEach(([type, value], at) => {
    bytes.writeBigUInt64LE(BigInt(type), at * 16);
    bytes.writeBigUInt64LE(BigInt(value), at * 16 + 8);
  });
  return bytes;
}

describe('readMachineUnits', () => {
  it('reads them from the auxiliary vector', () => {
    // An address needs more bits than a number holds, and is none of our business.
    proc.write(
      'self/auxv',
      auxv([AT_SYSINFO_EHDR, 0x7ffd_1c9f_e000n], [AT_PAGESZ, 65_536], [AT_CLKTCK, 250], [AT_NULL, 0]),
    );
    expect(readMachineUnits(proc.root)).toEqual({ ok: true, value: { ticksPerSecond: 250, pageBytes: 65_536 } });
  });
  it('are those of the running kernel, too', () => {
    const units = readMachineUnits('/proc');
    expect(units).toEqual({ ok: true, value: { ticksPerSecond: expect.any(Number), pageBytes: expect.any(Number) } });
  });
  it.each([
    ['nothing', Buffer.alloc(0)],
    ['half an entry', auxv([AT_PAGESZ, 4096]).subarray(0, 9)],
    ['no clock tick', auxv([AT_PAGESZ, 4096], [AT_NULL, 0])],
    ['no page size', auxv([AT_CLKTCK, 100], [AT_NULL, 0])],
    ['a clock that does not tick', auxv([AT_PAGESZ, 4096], [AT_CLKTCK, 0])],
  ])('refuses a vector with %s', (_, bytes) => {
    proc.write('self/auxv', bytes);
    expect(readMachineUnits(proc.root)).toMatchObject({ ok: false, failure: { why: 'odd' } });
  });
  it('says if there is none', () => {
    expect(readMachineUnits(proc.root)).toMatchObject({ ok: false, failure: { why: 'gone' } });
  });
});

describe('readUptimeMs', () => {
  it('reads it in ms', () => {
    proc.write('uptime', '904188.88 1790555.84\n');
    expect(readUptimeMs(proc.root)).toEqual({ ok: true, value: 904_188_880 });
  });
  it.each([['soon 1.0\n'], ['NaN'], ['Infinity 1\n']])('refuses %j', (text) => {
    proc.write('uptime', text);
    expect(readUptimeMs(proc.root)).toMatchObject({ ok: false, failure: { why: 'odd' } });
  });
});
