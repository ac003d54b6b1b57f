import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fail } from '../../src/files.ts';
import { findBlindness } from '../../src/observe/blindness.ts';
import type { Host } from '../../src/observe/host.ts';
import { type FakeProc, type FakeProcess, fakeProc } from './fake-proc.ts';

// Signal 0 goes to a real process: this one.
const { pid } = process;
const uid = process.getuid?.() ?? 0;
const daemon = { ...{ pid, uid, startTicks: 1, home: '/h', libDir: '/l', projects: [] }, socketPath: '/h/daemon.sock' };
const silence = fail('odd', 'no answer');

let proc: FakeProc;
let host: Host;
beforeEach(() => {
  proc = fakeProc();
  host = { procRoot: proc.root, units: { ticksPerSecond: 100, pageBytes: 4096 } };
});
afterEach(() => proc.end());
const put = (more: Partial<FakeProcess> = {}): void => proc.put({ pid, uid, environ: { HOME: '/h' }, ...more });

describe('findBlindness', () => {
  it('finds none where all can be read, whatever the API says', () => {
    put();
    expect(findBlindness(host, daemon, silence)).toBeNull();
  });
  it('does not take a Clay with more descriptors than anybody follows for one that may not be looked into', () => {
    put({ fds: Object.fromEntries(Array.from({ length: 8_193 }, (_, fd) => [fd, '/dev/null'])) });
    expect(findBlindness(host, daemon, silence)).toBeNull();
  });
  it('names a socket that may not be connected to', () => {
    put();
    expect(findBlindness(host, daemon, fail('denied', 'cannot connect (EACCES)'))).toContain(
      '/h/daemon.sock: cannot connect (EACCES) [CAP_DAC_OVERRIDE]',
    );
  });
  it('names a kernel that does not tell the children of a process', () => {
    put({ children: [] });
    expect(findBlindness(host, daemon, silence)).toContain('[CONFIG_PROC_CHILDREN]');
  });
});
