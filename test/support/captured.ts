import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../fixtures/captures/', import.meta.url));

/** When the captured kernel had booted, and how long it was up when the processes were looked at. */
const BOOT_SECONDS = 1_795_340_543;
const UPTIME_SECONDS = 1600;

/** The daemons of the captures: the one of Clay 2.17, and what ran the processes of Agent SDK 0.3.330. */
const DAEMONS = { older: 16199, newer: 16824 } as const;

/** One capture, by the names of its sections. */
type Capture = { readonly pid: number; readonly section: (title: string) => readonly string[] };

export type CapturedProcess = {
  readonly pid: number;
  readonly sessionId: string;
  readonly cwd: string;
  readonly sessionFile: string;
  readonly journal: string;
};

export type CapturedClay = {
  readonly pid: number;
  readonly home: string;
  readonly configFile: string;
  readonly socket: string;
};

export type Captured = {
  readonly procRoot: string;
  /** Wall clock at the time of the captures. */
  readonly nowMs: number;
  readonly userHome: string;
  readonly clays: Readonly<Record<keyof typeof DAEMONS, CapturedClay>>;
  /** By the name of the capture: `idle`, `tool-running`, `sdk-0.3.330-busy`, … */
  readonly processes: Readonly<Record<string, CapturedProcess>>;
  /** What the older daemon answered to get_status. */
  readonly status: Readonly<Record<string, unknown>>;
  readonly remove: () => void;
};

/**
 * Lays the captured processes out as a tree like /proc, with their homes beside it, under a temporary directory.
 * All of it is as captured, except: the owner is who runs the test; paths below /home/ada lead into the directory; of
 * what was not captured (the daemons, the shells below a process, the journals of 0.3.330) there is the least that works.
 */
export function layOutCaptures(): Captured {
  const directory = mkdtempSync(join(tmpdir(), 'captured-'));
  const procRoot = join(directory, 'proc');
  const userHome = join(directory, 'home', 'ada');
  const write = (path: string, text: string | Buffer): void => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  };
  const captures = readCaptures();
  const uid = process.getuid?.() ?? 0;

  layOutMachine(procRoot, write);
  const clays = {
    older: { name: '.clay', pid: DAEMONS.older, projects: ['alpha', 'beta'] },
    newer: { name: '.clay-newer', pid: DAEMONS.newer, projects: ['gamma'] },
  };
  const laidOut = Object.fromEntries(
    Object.entries(clays).map(([key, { name, pid, projects }]) => {
      const home = join(userHome, name);
      const children = [...captures.values()]
        .filter((capture) => parent(capture) === pid)
        .map((capture) => capture.pid);
      const config = {
        pid,
        port: 26330,
        projects: projects.map((slug) => ({ slug, path: `/srv/projects/${slug}`, addedAt: BOOT_SECONDS * 1000 })),
      };
      write(join(home, 'daemon.json'), JSON.stringify(config));
      layOutDaemon({ procRoot, pid, uid, children, script: join(directory, 'clay-server/lib/daemon.js'), home }, write);
      return [key, { pid, home, configFile: join(home, 'daemon.json'), socket: join(home, 'daemon.sock') }];
    }),
  ) as Captured['clays'];

  const tables = {
    unix: ['Num       RefCount Protocol Flags    Type St Inode Path', ...rows(captures, '/net/unix')],
    tcp: [
      '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
      ...rows(captures, '/net/tcp'),
    ],
  };
  const processes = Object.fromEntries(
    [...captures].map(([name, capture]) => {
      layOutProcess({ procRoot, capture, uid, userHome, tables }, write);
      const session = sessionOf(capture);
      const sessionFile = join(userHome, '.claude/sessions', `${capture.pid}.json`);
      write(sessionFile, JSON.stringify(session));
      const clay = parent(capture) === DAEMONS.older ? laidOut.older : laidOut.newer;
      const encoded = session.cwd.replace(/[^a-zA-Z0-9]/g, '-');
      const journal = join(clay.home, 'sessions', encoded, `${session.sessionId}.jsonl`);
      write(journal, journalOf(capture, session.sessionId, name));
      // Both were last written when the first turn was about to end.
      for (const path of [sessionFile, journal])
        utimesSync(path, session.startedAt / 1000 + 1, session.startedAt / 1000 + 1);
      const { sessionId, cwd } = session;
      return [name, { pid: capture.pid, sessionId, cwd, sessionFile, journal }];
    }),
  );

  return {
    procRoot,
    nowMs: (BOOT_SECONDS + UPTIME_SECONDS) * 1000,
    userHome,
    clays: laidOut,
    processes,
    status: JSON.parse(readFileSync(join(folder, 'get_status.json'), 'utf8')) as Record<string, unknown>,
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

type Write = (path: string, text: string | Buffer) => void;

function readCaptures(): Map<string, Capture> {
  const names = readdirSync(folder).filter((name) => name.endsWith('.txt'));
  return new Map(names.map((name) => [basename(name, '.txt'), parseCapture(readFileSync(join(folder, name), 'utf8'))]));
}

function parseCapture(text: string): Capture {
  const [head = '', ...parts] = text.split(/^## /m);
  const sections = parts.map((part) => part.split('\n'));
  const pid = Number(/pid (\d+)/.exec(head)?.[1]);
  return {
    pid,
    section: (title) => {
      const found = sections.find(([name]) => name?.includes(title));
      return (found ?? []).slice(1).filter((line) => line !== '');
    },
  };
}

function stat(capture: Capture): string {
  return capture.section('PID/stat')[0] ?? '';
}

type Session = { readonly sessionId: string; readonly cwd: string; readonly startedAt: number };

/** What Claude wrote about itself. */
function sessionOf(capture: Capture): Session {
  return JSON.parse(capture.section('.claude/sessions').join('')) as Session;
}

/** Field 4 of stat; the names in the captures hold no space. */
function parent(capture: Capture): number {
  return Number(stat(capture).split(' ')[3]);
}

/** All processes live in one network namespace, so each sees the rows of all. */
function rows(captures: ReadonlyMap<string, Capture>, title: string): string[] {
  return [...captures.values()].flatMap((capture) => [...capture.section(title)]);
}

function layOutMachine(procRoot: string, write: Write): void {
  write(join(procRoot, 'uptime'), `${UPTIME_SECONDS}.00 ${2 * UPTIME_SECONDS}.00\n`);
  write(join(procRoot, 'stat'), `cpu  0 0 0 0\nbtime ${BOOT_SECONDS}\n`);
  write(join(procRoot, 'self/status'), `Name:\tnode\nNSpid:\t${process.pid}\n`);
  // Its layout is the machine's, and the units in it are the same everywhere that this runs.
  write(join(procRoot, 'self/auxv'), readFileSync('/proc/self/auxv'));
}

/** A stat line with what is known, and zeros. */
function plainStat(pid: number, comm: string, ppid: number, sid: number, startTicks: number): string {
  const middle = [ppid, sid, sid, 0, -1, 4194304, ...Array<number>(8).fill(0), 20, 0, 1, 0, startTicks];
  return `${pid} (${comm}) S ${middle.join(' ')} ${Array<number>(30).fill(0).join(' ')}\n`;
}

function plainStatus(pid: number, comm: string, ppid: number, uid: number): string {
  const ids = [uid, uid, uid, uid].join('\t');
  return `Name:\t${comm}\nState:\tS (sleeping)\nPPid:\t${ppid}\nUid:\t${ids}\nNSpid:\t${pid}\nVmRSS:\t  61000 kB\n`;
}

function layOutDaemon(
  daemon: {
    readonly procRoot: string;
    readonly pid: number;
    readonly uid: number;
    readonly children: readonly number[];
    readonly script: string;
    readonly home: string;
  },
  write: Write,
): void {
  const { procRoot, pid, uid, children, script, home } = daemon;
  const at = join(procRoot, String(pid));
  write(script, '');
  write(join(dirname(dirname(script)), 'package.json'), '{"name":"clay-server"}');
  write(join(at, 'stat'), plainStat(pid, 'node', 1, pid, 134_500));
  write(join(at, 'status'), plainStatus(pid, 'node', 1, uid));
  write(join(at, 'cmdline'), `/usr/bin/node\0${script}\0`);
  write(join(at, 'environ'), `HOME=${dirname(home)}\0CLAY_HOME=${home}\0`);
  write(join(at, 'task', String(pid), 'children'), children.map((child) => `${child} `).join(''));
  mkdirSync(join(at, 'fd'));
  symlinkSync('/usr/bin/node', join(at, 'exe'));
  symlinkSync('/', join(at, 'cwd'));
}

function layOutProcess(
  process_: {
    readonly procRoot: string;
    readonly capture: Capture;
    readonly uid: number;
    readonly userHome: string;
    readonly tables: Readonly<Record<'unix' | 'tcp', readonly string[]>>;
  },
  write: Write,
): void {
  const { procRoot, capture, uid, userHome, tables } = process_;
  const { pid } = capture;
  const at = join(procRoot, String(pid));
  const [exe = '', cwd] = [...capture.section('exe')];
  const environ = capture.section('environ').map((line) => line.replace('/home/ada', userHome));
  const status = capture.section('PID/status').map((line) => line.replace(/^Uid:.*/, `Uid:${`\t${uid}`.repeat(4)}`));

  write(join(at, 'stat'), `${stat(capture)}\n`);
  write(join(at, 'status'), `${[...status, ...(has(status, 'NSpid') ? [] : [`NSpid:\t${pid}`])].join('\n')}\n`);
  write(join(at, 'cmdline'), cmdline(capture.section('PID/cmdline')[0] ?? ''));
  write(join(at, 'environ'), environ.map((entry) => `${entry}\0`).join(''));
  write(join(at, 'net/unix'), `${tables.unix.join('\n')}\n`);
  write(join(at, 'net/tcp'), `${tables.tcp.join('\n')}\n`);
  write(join(at, 'net/tcp6'), `${tables.tcp[0]}\n`);
  symlinkSync(exe, join(at, 'exe'));
  symlinkSync(cwd ?? sessionOf(capture).cwd, join(at, 'cwd'));
  mkdirSync(join(at, 'ns'));
  symlinkSync('net:[4026531840]', join(at, 'ns/net'));
  symlinkSync('pid:[4026531836]', join(at, 'ns/pid'));
  mkdirSync(join(at, 'fd'));
  for (const line of capture.section('fds')) {
    const [fd = '', target = ''] = line.split(' -> ');
    symlinkSync(target, join(at, 'fd', fd));
  }

  const shells = capture.section('children').map((line) => /^(\d+) (\S+) \| (\S+) (-c) (.*)$/.exec(line) ?? []);
  write(join(at, 'task', String(pid), 'children'), shells.map(([, child]) => `${child} `).join(''));
  for (const [, child, comm = '', ...words] of shells) {
    const shell = Number(child);
    const below = join(procRoot, String(shell));
    write(join(below, 'stat'), plainStat(shell, comm, pid, shell, 139_000));
    write(join(below, 'status'), plainStatus(shell, comm, pid, uid));
    write(join(below, 'cmdline'), words.map((word) => `${word}\0`).join(''));
    write(join(below, 'task', String(shell), 'children'), '');
  }
}

function has(lines: readonly string[], name: string): boolean {
  return lines.some((line) => line.startsWith(name));
}

/** The padding of a process title is written as dots in a capture. */
function cmdline(captured: string): string {
  const words = captured.startsWith('claude|') ? `claude${'|'.repeat(200)}` : captured;
  return words.replaceAll('|', '\0');
}

/** The captured end of the journal behind the beginning that every journal has; the longest lines were cut. */
function journalOf(capture: Capture, sessionId: string, name: string): string {
  const captured = capture.section('Clay journal').map((line) => (isJson(line) ? line : '{"type":"result"}'));
  const ended = ['{"type":"delta","text":"hello"}', '{"type":"result"}', '{"type":"done","code":0}'];
  const tail = captured.length > 0 ? captured : name.endsWith('idle') ? ended : [];
  const records = [
    { type: 'meta', localId: 2, cliSessionId: sessionId, title: 'hello', createdAt: BOOT_SECONDS * 1000 },
    { type: 'user_message', text: 'hello' },
    { type: 'session_id', cliSessionId: sessionId },
  ];
  const beginning = tail[0]?.includes('"meta"') ? [] : records.map((record) => JSON.stringify(record));
  return [...beginning, ...tail].map((line) => `${line}\n`).join('');
}

function isJson(line: string): boolean {
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}
