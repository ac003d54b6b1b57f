import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AssessSettings } from '../../src/assess.ts';
import { type FakeProc, fakeProc } from './fake-proc.ts';

const folder = fileURLToPath(new URL('../fixtures/captures/', import.meta.url));

/** When the captured kernel had booted, and how long it was up when the processes were captured. */
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
 * A fake /proc of the captured processes, with their homes beside it, in a temporary directory. All of it is as captured,
 * except: the owner is the user of the test; paths below /home/ada point into the directory; of what was not captured
 * (the daemons, the shells below a process, the journals of 0.3.330) there is the minimum that works.
 */
export function createCapturedProc(): Captured {
  const directory = mkdtempSync(join(tmpdir(), 'captured-'));
  const proc = fakeProc(join(directory, 'proc'));
  const userHome = join(directory, 'home', 'ada');
  const write = (path: string, text: string | Buffer): void => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  };
  const captures = readCaptures();
  const uid = process.getuid?.() ?? 0;

  putMachine(proc);
  const script = join(directory, 'clay-server/lib/daemon.js');
  write(script, '');
  write(join(dirname(dirname(script)), 'package.json'), '{"name":"clay-server"}');
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
      putDaemon(proc, pid, uid, children, script, home);
      return [key, { pid, home, configFile: join(home, 'daemon.json'), socket: join(home, 'daemon.sock') }];
    }),
  ) as Captured['clays'];

  const sockets = { unix: rows(captures, '/net/unix'), tcp: rows(captures, '/net/tcp') };
  const processes = Object.fromEntries(
    [...captures].map(([name, capture]) => {
      putCaptured(proc, capture, uid, userHome, sockets);
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
    procRoot: proc.root,
    nowMs: (BOOT_SECONDS + UPTIME_SECONDS) * 1000,
    userHome,
    clays: laidOut,
    processes,
    status: JSON.parse(readFileSync(join(folder, 'get_status.json'), 'utf8')) as Record<string, unknown>,
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

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

function putMachine(proc: FakeProc): void {
  proc.write('uptime', `${UPTIME_SECONDS}.00 ${2 * UPTIME_SECONDS}.00\n`);
  proc.write('stat', `cpu  0 0 0 0\nbtime ${BOOT_SECONDS}\n`);
  proc.write('self/status', `Name:\tnode\nNSpid:\t${process.pid}\n`);
}

function putDaemon(
  proc: FakeProc,
  pid: number,
  uid: number,
  children: readonly number[],
  script: string,
  home: string,
) {
  proc.put({
    pid,
    uid,
    comm: 'node',
    ppid: 1,
    session: pid,
    startTicks: 134_500,
    cmdline: ['/usr/bin/node', script],
    environ: { HOME: dirname(home), CLAY_HOME: home },
    children: [children],
    cwd: '/',
  });
}

/** The captured process, and the shells below it of which only the command line was captured. */
function putCaptured(
  proc: FakeProc,
  capture: Capture,
  uid: number,
  userHome: string,
  sockets: { readonly unix: readonly string[]; readonly tcp: readonly string[] },
): void {
  const { pid } = capture;
  const [, cwd] = capture.section('exe');
  const environ = capture.section('environ').map((line) => line.replace('/home/ada', userHome));
  const status = capture.section('PID/status').map((line) => line.replace(/^Uid:.*/, `Uid:${`\t${uid}`.repeat(4)}`));
  const shells = capture.section('children').map((line) => /^(\d+) (\S+) \| (\S+) (-c) (.*)$/.exec(line) ?? []);
  proc.put({
    pid,
    ...sockets,
    stat: `${stat(capture)}\n`,
    status: `${[...status, ...(has(status, 'NSpid') ? [] : [`NSpid:\t${pid}`])].join('\n')}\n`,
    cmdline: cmdline(capture.section('PID/cmdline')[0] ?? ''),
    environ: Object.fromEntries(environ.map((entry) => entry.split(/=(.*)/s).slice(0, 2))),
    cwd: cwd ?? sessionOf(capture).cwd,
    fds: Object.fromEntries(capture.section('fds').map((line) => line.split(' -> '))),
    children: [shells.map(([, child]) => Number(child))],
  });
  for (const [, child, comm = '', ...words] of shells) {
    const shell = Number(child);
    proc.put({ pid: shell, uid, comm, ppid: pid, session: shell, startTicks: 139_000, cmdline: words });
  }
}

function has(lines: readonly string[], name: string): boolean {
  return lines.some((line) => line.startsWith(name));
}

/** The padding of a process title is written as dots in a capture. */
function cmdline(captured: string): string[] {
  const padded = captured.startsWith('claude|') ? `claude${'|'.repeat(200)}` : captured;
  return padded.replace(/\|$/, '').split('|');
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

/** Settings by which each captured process is due at once, unless a rule protects it. */
export const settingsFor = (captured: Captured, procRoot: string): AssessSettings => ({
  procRoot,
  homes: () => ({
    paths: Object.values(captured.clays).map(({ home }) => home),
    discover: 'none',
    trustedPackages: [],
  }),
  policy: {
    gracePeriodMs: 0,
    parkedAfterMs: 0,
    maxParked: null,
    minAgeMs: 0,
    cpuIdleBelow: 1,
    staleConnectionAfterMs: Number.POSITIVE_INFINITY,
    protectedProjects: [],
    protectedSessions: [],
  },
  pressure: null,
});
