import { fail, ok, type Result } from '../result.ts';
import { readProcText } from './read-file.ts';

/** For how many percent of the last 10 s some task was stalled, from the text of a pressure file (kernel: accounting/psi). */
export function parseSomeAvg10(text: string): Result<number> {
  const match = /^some avg10=(\d+(?:\.\d+)?) /m.exec(text);
  return match ? ok(Number(match[1])) : fail('invalid', 'the pressure file has no line "some avg10="');
}

/** Memory pressure in percent, from /proc/pressure/memory; a failure `gone` means that this kernel has no PSI. */
export function readMemoryPressure(procRoot: string): Result<number> {
  const text = readProcText(`${procRoot}/pressure/memory`);
  return text.ok ? parseSomeAvg10(text.value) : text;
}
