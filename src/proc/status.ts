import { fail, ok, type Result } from '../result.ts';
import { readProcText } from './read-file.ts';

/** What /proc/PID/status says (proc_pid_status(5)); only the fields that are used. */
export type Status = {
  /** Real, effective, saved and file system uid. */
  readonly uids: readonly [number, number, number, number];
  /** How deep below the /proc mount's own pid namespace the process lives: 1 is in that very namespace. */
  readonly pidNamespaceDepth: number;
  /** Resident memory. 0 for zombies and kernel threads, which have no VmRSS line. */
  readonly rssBytes: number;
  /**
   * Memory that no other process shares, in RAM or swapped out (RssAnon + VmSwap): what comes back when the process ends.
   * VmRSS also counts file pages, which all processes of one program share. VmRSS before Linux 4.5, which has no RssAnon.
   */
  readonly reclaimableBytes: number;
  /** The size of its table of descriptors (FDSize): it has at most so many open. Null if the kernel does not say. */
  readonly descriptorTableSize: number | null;
};

/** Parses the text of a status file. */
export function parseStatus(text: string): Result<Status> {
  const uids = /^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$/m.exec(text);
  const pids = /^NSpid:((?:\t\d+)+)$/m.exec(text);
  const tableSize = /^FDSize:\t(\d+)$/m.exec(text)?.[1];
  if (!uids || !pids?.[1]) return fail('invalid', 'status has no Uid or no NSpid line');
  return ok({
    uids: [Number(uids[1]), Number(uids[2]), Number(uids[3]), Number(uids[4])],
    pidNamespaceDepth: pids[1].split('\t').length - 1,
    rssBytes: parseBytes(VM_RSS, text) ?? 0,
    reclaimableBytes: (parseBytes(RSS_ANON, text) ?? parseBytes(VM_RSS, text) ?? 0) + (parseBytes(VM_SWAP, text) ?? 0),
    descriptorTableSize: tableSize === undefined ? null : Number(tableSize),
  });
}

const VM_RSS = /^VmRSS:[\t ]+(\d+) kB$/m;
const RSS_ANON = /^RssAnon:[\t ]+(\d+) kB$/m;
const VM_SWAP = /^VmSwap:[\t ]+(\d+) kB$/m;

/** The value of a memory field in bytes, or null if there is no such line. */
function parseBytes(field: RegExp, text: string): number | null {
  const kilobytes = field.exec(text)?.[1];
  return kilobytes === undefined ? null : Number(kilobytes) * 1024;
}

/** Reads /proc/PID/status. */
export function readStatus(procRoot: string, pid: number): Result<Status> {
  const text = readProcText(`${procRoot}/${pid}/status`);
  return text.ok ? parseStatus(text.value) : text;
}

/** The pids of a process from the text of a status file: in the /proc mount's own pid namespace, and in each below it. */
export function parseNamespacePids(text: string): number[] {
  const pids = /^NSpid:((?:\t\d+)+)$/m.exec(text)?.[1];
  return pids === undefined ? [] : pids.slice(1).split('\t').map(Number);
}

/** The one uid a process runs under, or null if its four uids differ (setuid programs, sudo). */
export function singleUid(status: Status): number | null {
  const first = status.uids[0];
  return status.uids.every((uid) => uid === first) ? first : null;
}

/** The effective capabilities as a bit set (capabilities(7)), from the text of a status file; 0 if there are none. */
export function parseEffectiveCapabilities(text: string): bigint {
  const line = /^CapEff:\t([0-9a-f]+)$/m.exec(text);
  return line ? BigInt(`0x${line[1]}`) : 0n;
}
