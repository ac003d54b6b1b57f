import { execFile } from 'node:child_process';
import { write } from 'node:fs';

/**
 * Speaks to systemd's notify socket (sd_notify(3)), or to nobody where there is none.
 * Each call resolves, and never rejects, once the message is out: with undefined, or with the reason why it is not. What could
 * not be said is said again with the next call.
 */
export type Notifier = {
  /** The service is up, or is done with a reload. `sweepGapMs`: the longest time between two completed sweeps that is normal. */
  ready(status: string, sweepGapMs: number): Promise<string | undefined>;
  /** A sweep is complete. Feeds the watchdog, and is the only call that does. */
  sweepCompleted(status: string): Promise<string | undefined>;
  /** Something has changed between two sweeps. */
  status(status: string): Promise<string | undefined>;
  /** A reload begins; `ready` ends it. */
  reloading(): Promise<string | undefined>;
  /** The service is about to end. Wait for it before exiting. */
  stopping(status: string): Promise<string | undefined>;
};

/** What was sent to systemd so far. Times are monotonic, in ms. */
export type NotifyState = { status: string | undefined; watchdogUsec: number; lastPingMs: number };

/** One message: assignments as in sd_notify(3), without line breaks. */
export type Message = readonly string[];

type Send = (message: Message) => Promise<string | undefined>;

// A new process a message can fail to come back; the longest that systemd-notify itself waits for PID 1 is 5 s.
const CHILD_TIMEOUT_MS = 6_000;
// systemd cuts messages at PIPE_BUF, 4096 bytes; a person reads no more than a line.
const MAX_STATUS_CHARACTERS = 500;
// A ping goes out with the first sweep that ends in the second half of the watchdog time, so at worst one gap into it: with three
// gaps to the whole time, a sixth of it is to spare.
const GAPS_PER_WATCHDOG = 3;

/** A notifier for the environment that systemd gave this process. `nowMs` is a monotonic clock. */
export function createNotifier(env: NodeJS.ProcessEnv, nowMs = (): number => performance.now()): Notifier {
  const send = sender(env);
  const unitUsec = watchdogUsec(env, process.pid);
  const told: NotifyState = { status: undefined, watchdogUsec: unitUsec, lastPingMs: Number.NEGATIVE_INFINITY };
  const sendLines = async (message: Message, then: Partial<NotifyState>): Promise<string | undefined> => {
    if (message.length === 0 || send === undefined) return undefined;
    const failure = await send(message);
    if (failure === undefined) Object.assign(told, then);
    return failure;
  };
  return {
    ready: (status, sweepGapMs) => {
      const usec = watchdogFor(unitUsec, sweepGapMs);
      const now = nowMs();
      return sendLines(readyMessage(told, status, usec), {
        status: sanitizeStatus(status),
        watchdogUsec: usec,
        lastPingMs: now,
      });
    },
    sweepCompleted: (status) => {
      const now = nowMs();
      const message = sweptMessage(told, status, now);
      return sendLines(message, {
        status: sanitizeStatus(status),
        ...(message.includes('WATCHDOG=1') ? { lastPingMs: now } : {}),
      });
    },
    status: (status) => sendLines(statusMessage(told, status), { status: sanitizeStatus(status) }),
    reloading: () => sendLines(['RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`], {}),
    stopping: (status) => sendLines(['STOPPING=1', ...statusMessage(told, status)], { status: sanitizeStatus(status) }),
  };
}

/** What to say when the service is up: systemd starts to count the watchdog time anew with it. */
export function readyMessage(told: NotifyState, status: string, usec: number): Message {
  return [
    'READY=1',
    ...statusMessage(told, status),
    ...(usec === told.watchdogUsec ? [] : [`WATCHDOG_USEC=${usec}`]),
    ...(usec === 0 ? [] : ['WATCHDOG=1']),
  ];
}

/** What to say after a completed sweep: nothing at all, most of the time. */
export function sweptMessage(told: NotifyState, status: string, nowMs: number): Message {
  const changed = statusMessage(told, status);
  const due = told.watchdogUsec > 0 && (nowMs - told.lastPingMs) * 1000 >= told.watchdogUsec / 2;
  // A message that goes out anyway feeds the watchdog too.
  return due || (told.watchdogUsec > 0 && changed.length > 0) ? [...changed, 'WATCHDOG=1'] : changed;
}

/** The status as an assignment, if systemd does not know it yet. */
export function statusMessage(told: NotifyState, status: string): Message {
  const text = sanitizeStatus(status);
  return text === told.status ? [] : [`STATUS=${text}`];
}

/** The watchdog time to ask for, in µs: the unit's, or more where sweeps are rarer than it was made for. 0: no watchdog. */
export function watchdogFor(unitUsec: number, sweepGapMs: number): number {
  return unitUsec === 0 ? 0 : Math.max(unitUsec, Math.ceil(sweepGapMs * 1000 * GAPS_PER_WATCHDOG));
}

/** The watchdog time that the unit sets, in µs; 0 if there is none or it is meant for another process. sd_watchdog_enabled(3) */
export function watchdogUsec(env: NodeJS.ProcessEnv, pid: number): number {
  if (env.WATCHDOG_PID !== undefined && env.WATCHDOG_PID !== String(pid)) return 0;
  const usec = Number(env.WATCHDOG_USEC);
  return Number.isSafeInteger(usec) && usec > 0 ? usec : 0;
}

const CONTROL = /\p{Cc}+/gu;

/** One line of printable text: a message's lines are its assignments, and a status can name things that others chose. */
function sanitizeStatus(status: string): string {
  return status.replace(CONTROL, ' ').trim().slice(0, MAX_STATUS_CHARACTERS);
}

/**
 * The notify socket takes datagrams, and Node has no call to send one. From systemd 254 on, the unit has it opened (OpenFile=),
 * and write(2) sends. Before, each message is a run of systemd-notify(1), which is part of systemd: 8 ms, of which the event
 * loop is blocked for 2.5 ms. It is a child of the service, so that unit needs NotifyAccess=all. It needs no --pid=, because
 * systemd knows the main process of its unit.
 */
function sender(env: NodeJS.ProcessEnv): Send | undefined {
  if (!env.NOTIFY_SOCKET) return undefined;
  const fd = notifyFd(env, process.pid);
  const sendOne = fd === null ? runSystemdNotify : (_: NodeJS.ProcessEnv, message: Message) => writeTo(fd, message);
  // One at a time: READY=1 must not overtake RELOADING=1.
  let last: Promise<unknown> = Promise.resolve();
  return (message) => {
    const sent = last.then(() => sendOne(env, message));
    last = sent;
    return sent;
  };
}

/** sd_listen_fds(3). */
const FIRST_FD = 3;

/** The name in the unit's OpenFile=. */
const FD_NAME = 'notify';

/** The descriptor that is connected to the notify socket, if systemd gave one to this process; else null. */
export function notifyFd(env: NodeJS.ProcessEnv, pid: number): number | null {
  if (env.LISTEN_PID !== String(pid)) return null;
  const index = (env.LISTEN_FDNAMES ?? '').split(':').indexOf(FD_NAME);
  return index === -1 ? null : FIRST_FD + index;
}

/** In a thread of its own: where systemd does not read, this waits. */
const writeTo = (fd: number, message: Message): Promise<string | undefined> =>
  new Promise((resolve) => {
    write(fd, message.join('\n'), (error) => {
      resolve(error === null ? undefined : `the notify socket of systemd: ${error.message}`);
    });
  });

function runSystemdNotify(env: NodeJS.ProcessEnv, message: Message): Promise<string | undefined> {
  const options = {
    env: { NOTIFY_SOCKET: env.NOTIFY_SOCKET, PATH: env.PATH },
    timeout: CHILD_TIMEOUT_MS,
    killSignal: 'SIGKILL' as const,
  };
  return new Promise((resolve) => {
    // It waits until systemd has read the message: a sender that is gone by then could no longer be told to be of this unit.
    execFile('systemd-notify', [...message], options, (error) => {
      resolve(error === null ? undefined : `systemd-notify: ${error.message.trim().split('\n').join('; ')}`);
    });
  });
}
