import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** A process as the kernel would show it. */
export type FakeProcess = {
  readonly pid: number;
  readonly comm?: string;
  readonly state?: string;
  readonly ppid?: number;
  readonly session?: number;
  readonly ttyNr?: number;
  readonly ownTicks?: number;
  readonly reapedTicks?: number;
  readonly startTicks?: number;
  readonly uid?: number;
  /** The whole line of `stat`, as captured; overrides the fields above. */
  readonly stat?: string;
  /** The whole text of `status`, as captured. */
  readonly status?: string;
  /** As in NSpid: one more for each pid namespace below. */
  readonly pids?: readonly number[];
  readonly cmdline?: readonly string[];
  readonly environ?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** What its descriptors are links to. */
  readonly fds?: Readonly<Record<string, string>>;
  /** The children of each of its threads. */
  readonly children?: readonly (readonly number[])[];
  readonly netNamespace?: string;
  /** Rows of mountinfo for a mount namespace of its own; else it is in ours. */
  readonly mounts?: readonly string[];
  readonly unix?: readonly string[];
  readonly tcp?: readonly string[];
  readonly tcp6?: readonly string[];
};

/** A tree of files that stands in for /proc. */
export type FakeProc = {
  readonly root: string;
  /** Writes or replaces a process. */
  readonly put: (process: FakeProcess) => void;
  readonly remove: (pid: number) => void;
  /** Writes any file below the root. */
  readonly write: (path: string, content: string | Buffer) => void;
  readonly end: () => void;
};

const UNIX_HEAD = 'Num               RefCount Protocol Flags    Type St Inode Path';
const TCP_HEAD =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     ';

/** A row of net/unix for a socketpair. */
export const unixRow = (inode: number): string => `00000000446cde85: 00000003 00000000 00000000 0001 03 ${inode}`;

/** A row of net/tcp. */
export const tcpRow = (inode: number, state = '01', local = '0100007F:A12C', remote = '0100007F:0FAA'): string =>
  `   7: ${local} ${remote} ${state} 00000000:00000000 02:000013C6 00000000     0        0 ${inode} 2 000000006faed3ad 20 4 30 12 -1`;

/** A row of mountinfo. */
export const mountRow = (device: string, root: string, mountPoint: string): string =>
  `27 1 ${device} ${root} ${mountPoint} rw,relatime - ext4 /dev/vda rw`;

const USERS = 'user:[4026531837]';

const REAL_MOUNT_IDS = readFileSync('/proc/self/mountinfo', 'utf8').match(/^\d+/gm) ?? [];

const OUR_MOUNTS = 'mnt:[4026531841]';

export function fakeProc(root = mkdtempSync(join(tmpdir(), 'clay-reaper-proc-'))): FakeProc {
  const write = (path: string, content: string | Buffer): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  };
  const link = (path: string, target: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    symlinkSync(target, join(root, path));
  };
  const remove = (pid: number): void => rmSync(join(root, String(pid)), { recursive: true, force: true });
  const table = (head: string, rows: readonly string[]): string => `${[head, ...rows].join('\n')}\n`;

  const put = (process: FakeProcess): void => {
    const { pid } = process;
    remove(pid);
    write(`${pid}/stat`, process.stat ?? statLine(process));
    write(`${pid}/status`, process.status ?? statusText(process));
    write(`${pid}/cmdline`, (process.cmdline ?? ['claude', '', '']).map((word) => `${word}\0`).join(''));
    write(
      `${pid}/environ`,
      Object.entries(process.environ ?? {})
        .map(([name, value]) => `${name}=${value}\0`)
        .join(''),
    );
    mkdirSync(join(root, `${pid}/fd`));
    for (const [fd, target] of Object.entries(process.fds ?? {})) symlinkSync(target, join(root, `${pid}/fd/${fd}`));
    (process.children ?? [[]]).forEach((children, thread) => {
      write(`${pid}/task/${pid + thread}/children`, children.map((child) => `${child} `).join(''));
    });
    link(`${pid}/cwd`, process.cwd ?? '/srv/projects/alpha');
    link(`${pid}/ns/net`, process.netNamespace ?? 'net:[4026531840]');
    link(`${pid}/ns/user`, USERS);
    link(`${pid}/ns/mnt`, process.mounts ? `mnt:[${4_026_532_000 + pid}]` : OUR_MOUNTS);
    if (process.mounts) write(`${pid}/mountinfo`, process.mounts.map((row) => `${row}\n`).join(''));
    write(`${pid}/net/unix`, table(UNIX_HEAD, process.unix ?? []));
    write(`${pid}/net/tcp`, table(TCP_HEAD, process.tcp ?? []));
    write(`${pid}/net/tcp6`, table(TCP_HEAD, process.tcp6 ?? []));
  };
  write('loadavg', '0.50 0.40 0.30 1/200 12345\n');
  link('self/ns/mnt', OUR_MOUNTS);
  link('self/ns/user', USERS);
  // The ids are those of this machine, as the files are; everything is at one place.
  write('self/mountinfo', REAL_MOUNT_IDS.map((id) => `${id} 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n`).join(''));
  return { root, put, remove, write, end: () => rmSync(root, { recursive: true, force: true }) };
}

function statLine(process: FakeProcess): string {
  const { state = 'S', ppid = 16_199, session = 16_199, ttyNr = 0, startTicks = 135_996 } = process;
  const { ownTicks = 138, reapedTicks = 0 } = process;
  const flagsAndFaults = [-1, 4_194_304, 58_487, 8461, 0, 0];
  const times = [ownTicks, 0, reapedTicks, 0];
  const scheduling = [20, 0, 11, 0];
  const memory = [12_051_456_000, 47_467, 0, 0];
  const fields = [
    state,
    ppid,
    16_199,
    session,
    ttyNr,
    ...flagsAndFaults,
    ...times,
    ...scheduling,
    startTicks,
    ...memory,
  ];
  return `${process.pid} (${process.comm ?? 'claude'}) ${fields.join(' ')}\n`;
}

function statusText({ pid, comm = 'claude', uid = 1000, pids = [pid] }: FakeProcess): string {
  return `Name:\t${comm}\nUid:${`\t${uid}`.repeat(4)}\nFDSize:\t64\nNSpid:\t${pids.join('\t')}\nVmRSS:\t  189868 kB\n`;
}
