import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Clay, type Sham, startClay } from '../support/clay.ts';
import { isAlive, kill } from '../support/processes.ts';
import { reaperJson } from '../support/reaper.ts';
import { until } from '../support/until.ts';
import { ADA, claudeProgram, commonFolder, fakeClay } from './users.ts';

const ARGS = ['cleanup', '--yes', '--now', '--min-age', '0s', '--kill-after', '300ms'];
const common = commonFolder();
let clay: Clay;
beforeAll(async () => {
  clay = await startClay({ user: ADA, projects: ['rest'] });
});
afterAll(async () => {
  await clay?.stop();
  common.remove();
});

const stateOf = (pid: number): string => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3);
};

/** A frozen control group, of whichever version this machine has. */
function freeze(sham: Sham): { readonly thaw: () => void } {
  const name = `clay-reaper-test-${process.ppid}-${sham.pid}`;
  const older = existsSync('/sys/fs/cgroup/freezer');
  const folder = join(older ? '/sys/fs/cgroup/freezer' : '/sys/fs/cgroup', name);
  const write = (file: string, text: string): void => writeFileSync(join(folder, file), text);
  mkdirSync(folder);
  write('cgroup.procs', String(sham.pid));
  if (older) write('freezer.state', 'FROZEN');
  else write('cgroup.freeze', '1');
  return {
    thaw: () => {
      if (older) write('freezer.state', 'THAWED');
      else write('cgroup.freeze', '0');
      kill(sham);
      for (let attempt = 0; attempt < 100; attempt += 1) {
        try {
          return rmdirSync(folder);
        } catch {
          // It is empty when the process is gone.
          execFileSync('sleep', ['0.05']);
        }
      }
    },
  };
}

describe('10. a claude that', () => {
  test('is frozen is said to be dead only if it is, in bounded time', async () => {
    const frozen = await clay.sham({ project: 'rest', shape: 'native', idleSeconds: 3600 });
    const beside = await clay.sham({ project: 'rest', shape: 'native', idleSeconds: 3600 });
    const { thaw } = freeze(frozen);
    onTestFinished(thaw);
    const begun = performance.now();
    const { status, report } = await reaperJson([...ARGS, '--clay-home', clay.home]);
    expect(performance.now() - begun).toBeLessThan(20_000);
    // Control groups of version 2 let SIGKILL through, those of version 1 keep it until they thaw.
    const alive = frozen.isAlive();
    const outcome = report.processes.find((each) => each.pid === frozen.pid)?.outcome;
    expect([alive, outcome, status]).toEqual(alive ? [true, 'survived', 1] : [false, 'killed', 0]);
    expect(beside.isAlive()).toBe(false);
  });

  test('sleeps uninterruptibly, as one does that waits for its vfork child, is ended', async () => {
    const perl = claudeProgram(join(common.path, 'bin'), '/usr/bin/perl');
    // clone(2) with CLONE_VFORK: the parent sleeps in state D until the child is done. Perl's own fork is none of that kind.
    const clone = { x64: 56, arm64: 220 }[process.arch as 'x64' | 'arm64'];
    const vforking = `exec ${perl} -e 'my $p = syscall(${clone}, 0x4011, 0, 0, 0, 0); if ($p == 0) { sleep 86400; exit } sleep 86400'`;
    const { home, daemon, end } = await fakeClay(ADA, join(common.path, 'ada'), [vforking]);
    onTestFinished(end);
    const [claude] = daemon.claudes;
    if (!claude) throw new Error('it did not start');
    await until('it sleeps in state D', () => stateOf(claude.pid) === 'D');
    const { status, report } = await reaperJson([...ARGS, '--clay-home', home]);
    expect(status).toBe(0);
    // A signal that is deadly anyway gets through to such a sleeper.
    expect(report.processes).toMatchObject([{ pid: claude.pid, reasons: [], outcome: 'terminated' }]);
    expect(isAlive(claude)).toBe(false);
  });
});
