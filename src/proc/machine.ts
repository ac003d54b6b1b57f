import { endianness } from 'node:os';
import { fail, ok, type Result } from '../files.ts';
import { readProcBytes, readProcRecord } from './read.ts';

/** What the kernel counts in. */
export type MachineUnits = { readonly ticksPerSecond: number; readonly pageBytes: number };

const AT_PAGESZ = 6;
const AT_CLKTCK = 17;

/**
 * The units of this kernel, from the auxiliary vector of this process (getauxval(3)): what `getconf CLK_TCK PAGESIZE`
 * would say, without starting a process.
 */
export function readMachineUnits(procRoot: string): Result<MachineUnits> {
  const bytes = readProcBytes(`${procRoot}/self/auxv`);
  if (!bytes.ok) return bytes;
  const wide = ['arm', 'ia32', 'mips', 'mipsel', 'ppc', 's390'].includes(process.arch) ? 4 : 8;
  const word = (offset: number): number => {
    const slice = bytes.value.subarray(offset, offset + wide);
    return endianness() === 'LE'
      ? slice.readUIntLE(0, Math.min(wide, 6))
      : slice.readUIntBE(Math.max(0, wide - 6), Math.min(wide, 6));
  };
  const entries = new Map<number, number>();
  for (let at = 0; at + 2 * wide <= bytes.value.length; at += 2 * wide) entries.set(word(at), word(at + wide));
  const ticksPerSecond = entries.get(AT_CLKTCK);
  const pageBytes = entries.get(AT_PAGESZ);
  if (!ticksPerSecond || !pageBytes)
    return fail('odd', `${procRoot}/self/auxv does not name the clock tick and page size`);
  return ok({ ticksPerSecond, pageBytes });
}

/** How long the machine has been up, suspended time included, in ms (proc_uptime(5)). */
export function readUptimeMs(procRoot: string): Result<number> {
  const text = readProcRecord(`${procRoot}/uptime`);
  if (!text.ok) return text;
  const seconds = Number(text.value.split(' ')[0]);
  return Number.isFinite(seconds) ? ok(seconds * 1000) : fail('odd', `${procRoot}/uptime holds no number`);
}
