import { kill } from 'node:process';
import type { ClayStatus } from '../clay/api.ts';
import type { Daemon } from '../clay/daemon.ts';
import type { Failure, Result } from '../files.ts';
import { readProcText } from '../proc/read.ts';
import { readSocketFds } from '../proc/sockets.ts';
import { readStat } from '../proc/stat.ts';
import { readStatus, singleUid } from '../proc/status.ts';
import { readEnviron } from '../proc/strings.ts';
import { readChildStats } from './candidates.ts';
import type { Host } from './host.ts';

/**
 * Proves that the job can be done for a Clay: descriptors and environment of its processes can be read, signals sent,
 * its socket connected to. Gives null, or one line that says what is missing.
 * Tried on the daemon itself and on one child of every other user.
 */
export function findBlindness(host: Host, daemon: Daemon, answer: Result<ClayStatus>): string | null {
  const missing: string[] = [];
  if (
    !readProcText(`${host.procRoot}/${daemon.pid}/task/${daemon.pid}/children`).ok &&
    readStat(host.procRoot, daemon.pid).ok
  ) {
    missing.push('the kernel does not tell the children of a process [CONFIG_PROC_CHILDREN]');
  }
  for (const pid of [daemon.pid, ...onePerOtherUser(host, daemon)]) {
    const reads = [readSocketFds(host.procRoot, pid), readEnviron(host.procRoot, pid)];
    // What is odd could be read: a Clay with thousands of processes has more descriptors than anybody counts.
    const failures = reads.flatMap((each): Failure[] => (each.ok || isNoBlindness(each.failure) ? [] : [each.failure]));
    const [failure] = failures;
    if (failure) missing.push(`${failure.detail} [CAP_SYS_PTRACE]`);
    if (!maySignal(pid)) missing.push(`pid ${pid} may not be signalled [CAP_KILL]`);
  }
  if (!answer.ok && answer.failure.why === 'denied')
    missing.push(`${daemon.socketPath}: ${answer.failure.detail} [CAP_DAC_OVERRIDE]`);
  if (missing.length === 0) return null;
  return `cannot do its job for Clay ${daemon.pid} of uid ${daemon.uid}: ${missing.join('; ')}; run it as that user, as root, or with these capabilities`;
}

const isNoBlindness = ({ why }: Failure): boolean => why === 'gone' || why === 'odd';

function onePerOtherUser(host: Host, daemon: Daemon): number[] {
  const children = readChildStats(host, daemon.pid);
  const byUid = new Map<number, number>();
  for (const child of children.ok ? children.value : []) {
    const status = readStatus(host.procRoot, child.pid);
    const uid = status.ok ? singleUid(status.value) : null;
    if (uid !== null && uid !== daemon.uid) byUid.set(uid, child.pid);
  }
  return [...byUid.values()];
}

function maySignal(pid: number): boolean {
  try {
    return kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EPERM';
  }
}
