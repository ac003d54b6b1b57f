import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Clay, type FakeClaude, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { runCliJson } from '../helpers/cli.ts';
import { isAlive, kill } from '../helpers/processes.ts';
import { waitFor } from '../helpers/wait-for.ts';
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
function freeze(claude: FakeClaude): { readonly thaw: () => void } {
  const name = `clay-reaper-test-${process.ppid}-${claude.pid}`;
  const older = existsSync('/sys/fs/cgroup/freezer');
  const folder = join(older ? '/sys/fs/cgroup/freezer' : '/sys/fs/cgroup', name);
  const write = (file: string, text: string): void => writeFileSync(join(folder, file), text);
  mkdirSync(folder);
  write('cgroup.procs', String(claude.pid));
  if (older) write('freezer.state', 'FROZEN');
  else write('cgroup.freeze', '1');
  return {
    thaw: () => {
      if (older) write('freezer.state', 'THAWED');
      else write('cgroup.freeze', '0');
      kill(claude);
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

describe('ending an unkillable claude', () => {
  test('reports a frozen one as ended only if it has exited, in bounded time', async () => {
    const frozen = await clay.spawnClaude(IDLE_NATIVE);
    const beside = await clay.spawnClaude(IDLE_NATIVE);
    const { thaw } = freeze(frozen);
    onTestFinished(thaw);
    const begun = performance.now();
    const { status, report } = await runCliJson([...ARGS, '--clay-home', clay.home]);
    expect(performance.now() - begun).toBeLessThan(20_000);
    // Control groups of version 2 let SIGKILL through, those of version 1 keep it until they thaw.
    const alive = frozen.isAlive();
    const outcome = report.processes.find((process) => process.pid === frozen.pid)?.outcome;
    expect([alive, outcome, status]).toEqual(alive ? [true, 'survived', 1] : [false, 'killed', 0]);
    expect(beside.isAlive()).toBe(false);
  });

  test('ends one in uninterruptible sleep (waiting for its vfork child)', async () => {
    const perl = claudeProgram(join(common.path, 'bin'), '/usr/bin/perl');
    // clone(2) with CLONE_VFORK: the parent sleeps in state D until the child is done. Perl's own fork is none of that kind.
    const clone = { x64: 56, arm64: 220 }[process.arch as 'x64' | 'arm64'];
    const vforking = `exec ${perl} -e 'my $p = syscall(${clone}, 0x4011, 0, 0, 0, 0); if ($p == 0) { sleep 86400; exit } sleep 86400'`;
    const { home, daemon, end } = await fakeClay(ADA, join(common.path, 'ada'), [vforking]);
    onTestFinished(end);
    const [claude] = daemon.claudes;
    if (!claude) throw new Error('it did not start');
    await waitFor('it sleeps in state D', () => stateOf(claude.pid) === 'D');
    const { status, report } = await runCliJson([...ARGS, '--clay-home', home]);
    expect(status).toBe(0);
    // A signal that is deadly anyway gets through to such a sleeper.
    expect(report.processes).toMatchObject([{ pid: claude.pid, reasons: [], outcome: 'terminated' }]);
    expect(isAlive(claude)).toBe(false);
  });
});
