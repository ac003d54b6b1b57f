import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createNotifier,
  type NotifyState,
  notifyFd,
  readyMessage,
  statusMessage,
  sweptMessage,
  watchdogFor,
  watchdogUsec,
} from '../../../src/service/notify.ts';

const FIVE_MINUTES_USEC = 300_000_000;
const told = (change: Partial<NotifyState> = {}): NotifyState => ({
  status: 'watching',
  watchdogUsec: FIVE_MINUTES_USEC,
  lastPingMs: 1_000,
  ...change,
});

describe('messages to systemd', () => {
  it('after a sweep: nothing, while nothing has changed', () => {
    expect(sweptMessage(told(), 'watching', 31_000)).toEqual([]);
  });
  it('after a sweep: a ping, once half of the watchdog time is over', () => {
    expect(sweptMessage(told(), 'watching', 150_999)).toEqual([]);
    expect(sweptMessage(told(), 'watching', 151_000)).toEqual(['WATCHDOG=1']);
  });
  it('after a sweep: a new status, with a ping in the same message', () => {
    expect(sweptMessage(told(), 'reaped 1', 2_000)).toEqual(['STATUS=reaped 1', 'WATCHDOG=1']);
  });
  it('without a watchdog: no ping, ever', () => {
    expect(sweptMessage(told({ watchdogUsec: 0 }), 'watching', 1e12)).toEqual([]);
    expect(readyMessage(told({ watchdogUsec: 0 }), 'watching', 0)).toEqual(['READY=1']);
  });
  it('when ready: the status, and a longer watchdog time if one is needed', () => {
    expect(readyMessage(told({ status: undefined }), 'up', FIVE_MINUTES_USEC)).toEqual([
      'READY=1',
      'STATUS=up',
      'WATCHDOG=1',
    ]);
    expect(readyMessage(told(), 'watching', 2 * FIVE_MINUTES_USEC)).toEqual([
      'READY=1',
      'WATCHDOG_USEC=600000000',
      'WATCHDOG=1',
    ]);
  });
  it('a status is one line, even if its text has line breaks', () => {
    expect(statusMessage(told(), 'a\nMAINPID=1\u001b[31m')).toEqual(['STATUS=a MAINPID=1 [31m']);
    expect(statusMessage(told(), 'x'.repeat(9_999))[0]).toHaveLength('STATUS='.length + 500);
  });
});

describe('the watchdog time', () => {
  it('is the one of the unit, if it is meant for this process', () => {
    expect(watchdogUsec({ WATCHDOG_USEC: '300000000', WATCHDOG_PID: '7' }, 7)).toBe(FIVE_MINUTES_USEC);
    expect(watchdogUsec({ WATCHDOG_USEC: '300000000', WATCHDOG_PID: '8' }, 7)).toBe(0);
    expect(watchdogUsec({ WATCHDOG_USEC: '300000000' }, 7)).toBe(FIVE_MINUTES_USEC);
    expect(watchdogUsec({ WATCHDOG_USEC: 'soon' }, 7)).toBe(0);
    expect(watchdogUsec({}, 7)).toBe(0);
  });
  it('is three times the longest gap between two sweeps, where the unit has less', () => {
    expect(watchdogFor(FIVE_MINUTES_USEC, 80_000)).toBe(FIVE_MINUTES_USEC);
    expect(watchdogFor(FIVE_MINUTES_USEC, 600_000)).toBe(1_800_000_000);
    expect(watchdogFor(0, 600_000)).toBe(0);
  });
});

describe('the descriptor of the notify socket', () => {
  const given = { LISTEN_PID: '7', LISTEN_FDS: '2', LISTEN_FDNAMES: 'other:notify' };
  it('is the one that the unit names', () => {
    expect(notifyFd(given, 7)).toBe(4);
  });
  it('is none if systemd gave none, or gave it to another process', () => {
    expect(notifyFd({}, 7)).toBeNull();
    expect(notifyFd({ ...given, LISTEN_FDNAMES: 'other' }, 7)).toBeNull();
    expect(notifyFd(given, 8)).toBeNull();
  });
});

describe('a notifier', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'clay-reaper-notify-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  /** A fake systemd-notify that writes down each call; `then` is more shell for it. */
  const shamProgram = (then = ''): { PATH: string; NOTIFY_SOCKET: string; said: () => string[] } => {
    writeFileSync(join(dir, 'systemd-notify'), `#!/bin/sh\necho "$@" >>${dir}/said\n${then}\n`);
    chmodSync(join(dir, 'systemd-notify'), 0o755);
    const said = (): string[] => readFileSync(join(dir, 'said'), 'utf8').trimEnd().split('\n');
    return { PATH: `${dir}:${process.env.PATH}`, NOTIFY_SOCKET: join(dir, 'socket'), said };
  };

  it('does nothing at all without NOTIFY_SOCKET', async () => {
    const { said, PATH } = shamProgram();
    const notifier = createNotifier({ PATH, WATCHDOG_USEC: '1000000' });
    await notifier.ready('up', 1_000);
    await notifier.stopping('down');
    expect(said).toThrow(/ENOENT/);
  });

  it('sends through systemd-notify, one message after the other', async () => {
    const { said, ...env } = shamProgram('sleep 0.0$(($(wc -l <$0) % 3))');
    const notifier = createNotifier(env);
    const failures = await Promise.all([
      notifier.ready('up', 1_000),
      notifier.reloading(),
      notifier.ready('up', 1_000),
      notifier.stopping('up'),
    ]);
    expect(failures).toEqual([undefined, undefined, undefined, undefined]);
    expect(said()).toEqual([
      'READY=1 STATUS=up',
      expect.stringMatching(/^RELOADING=1 MONOTONIC_USEC=\d+$/),
      expect.stringMatching(/^READY=1/),
      expect.stringMatching(/^STOPPING=1/),
    ]);
  });

  it('sends a failed message again and returns the reason', async () => {
    const { said, ...env } = shamProgram(`[ -e ${dir}/works ] || { echo no such socket >&2; exit 1; }`);
    const notifier = createNotifier({ ...env, WATCHDOG_USEC: '300000000' });
    expect(await notifier.sweepCompleted('one')).toMatch(/no such socket/);
    writeFileSync(join(dir, 'works'), '');
    expect(await notifier.sweepCompleted('one')).toBeUndefined();
    expect(await notifier.sweepCompleted('one')).toBeUndefined();
    expect(said()).toEqual(['STATUS=one WATCHDOG=1', 'STATUS=one WATCHDOG=1']);
  });

  it('names systemd-notify where it is not installed, and rejects nothing', async () => {
    const notifier = createNotifier({ NOTIFY_SOCKET: join(dir, 'socket'), PATH: dir });
    expect(await notifier.ready('up', 1_000)).toMatch(/^systemd-notify: .*ENOENT/);
    expect(await notifier.stopping('down')).toMatch(/^systemd-notify: .*ENOENT/);
  });
});
