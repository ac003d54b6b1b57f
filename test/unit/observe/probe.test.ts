import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkPermissions, newProber } from '../../../src/observe/probe.ts';
import { fail } from '../../../src/result.ts';
import { INSTALLATION } from '../../helpers/assessment.ts';
import { noLimit, noLimits } from '../../helpers/budget.ts';
import { type FakeProc, type FakeProcess, fakeProc } from '../../helpers/fake-proc.ts';

// Signal 0 goes to a real process: this one.
const { pid } = process;
const uid = process.getuid?.() ?? 0;
const daemon = {
  pid,
  uid,
  startTicks: 1,
  home: '/h',
  installation: INSTALLATION,
  insideTool: false,
  projects: [],
  socketPath: '/h/daemon.sock',
};
const silence = fail('invalid', 'no answer');

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});
afterEach(() => proc.end());
const put = (more: Partial<FakeProcess> = {}): void => proc.put({ pid, uid, environ: { HOME: '/h' }, ...more });

describe('checkPermissions', () => {
  it('returns null if everything can be read, even without an answer of the API', () => {
    put();
    expect(checkPermissions(proc.root, daemon, silence, noLimit)).toBeNull();
  });
  it('returns null for a daemon with too many descriptors: that is no permission problem', () => {
    put({ fds: Object.fromEntries(Array.from({ length: 8_193 }, (_, fd) => [fd, '/dev/null'])) });
    expect(checkPermissions(proc.root, daemon, silence, noLimit)).toBeNull();
  }, 30_000);
  it('names a socket that may not be connected to', () => {
    put();
    expect(checkPermissions(proc.root, daemon, fail('denied', 'cannot connect (EACCES)'), noLimit)).toContain(
      '/h/daemon.sock: cannot connect (EACCES) [CAP_DAC_OVERRIDE]',
    );
  });
  it('names a kernel that does not list the children of a process', () => {
    put({ children: [] });
    expect(checkPermissions(proc.root, daemon, silence, noLimit)).toContain('[CONFIG_PROC_CHILDREN]');
  });
});

describe('newProber', () => {
  it('returns the answer of each daemon, or why there is none', async () => {
    put();
    const [probe] = await newProber(proc.root, noLimits).probe([daemon]);
    expect(probe).toMatchObject({ daemon, status: { ok: false }, permissionProblem: null });
  });
  it('checks a daemon with a permission problem again, and one without a problem no more', async () => {
    const prober = newProber(proc.root, noLimits);
    const problem = async () => (await prober.probe([daemon]))[0]?.permissionProblem;
    put({ children: [] });
    expect(await problem()).toContain('[CONFIG_PROC_CHILDREN]');
    put();
    expect(await problem()).toBeNull();
    put({ children: [] });
    expect(await problem()).toBeNull();
    await prober.probe([]);
    expect(await problem()).toContain('[CONFIG_PROC_CHILDREN]');
  });
});
