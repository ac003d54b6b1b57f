import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROTECTION_RULES } from '../../src/judge/rules.ts';
import { type Clay, type FakeClaudeOptions, IDLE, IDLE_NATIVE, startClay } from '../helpers/clay.ts';
import { type Finished, runCli } from '../helpers/cli.ts';
import { waitFor } from '../helpers/wait-for.ts';

const CODES = PROTECTION_RULES.map(({ code }) => code);
const NOT_YOUNG = ['--min-age', '0s'];

type Explanation = {
  readonly schema: 1;
  readonly pid: number;
  readonly candidate: boolean;
  readonly why: string;
  readonly verdict: 'protected' | 'grace' | 'reap' | null;
  readonly orphan: string | null;
  readonly evidence: readonly Readonly<Record<'what' | 'from' | 'value' | 'meaning', string>>[];
  readonly rules: readonly { readonly code: string; readonly holds: boolean; readonly detail: string }[];
  readonly orphanKinds: readonly { readonly kind: string; readonly fits: boolean; readonly detail: string }[];
  readonly otherwise: readonly { readonly verdict: string; readonly when: readonly string[] }[];
};

describe('explain', () => {
  let clay: Clay;
  let here: string[];
  let api: ReturnType<typeof createServer>;
  const explain = (pid: number | string, ...args: string[]): Promise<Finished> =>
    runCli(['explain', String(pid), ...here, ...args]);
  const explainJson = async (pid: number, ...args: string[]): Promise<Finished & { readonly report: Explanation }> => {
    const finished = await explain(pid, '--json', ...args);
    return { ...finished, report: JSON.parse(finished.stdout) as Explanation };
  };
  // A process that has just begun may still use some CPU.
  const held = ({ rules }: Explanation): string[] =>
    rules.filter(({ code, holds }) => holds && code !== 'cpu').map(({ code }) => code);

  beforeAll(async () => {
    clay = await startClay({ projects: ['rest', 'busy', 'kept'] });
    here = ['--clay-home', clay.home, ...NOT_YOUNG];
    api = createServer();
    await new Promise<void>((resolve) => api.listen(0, '127.0.0.1', resolve));
  });
  afterAll(async () => {
    await clay.stop();
    api.close();
  });

  describe.concurrent('explain of a candidate', () => {
    it('shows all evidence, every rule in order, the orphan kind and the verdict of one to reap', async () => {
      const idle = await clay.spawnClaude(IDLE);
      const { status, stderr, report } = await explainJson(idle.pid);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(report).toMatchObject({ schema: 1, pid: idle.pid, candidate: true, verdict: 'reap', orphan: 'parked' });
      // All that status --json says of it is there too.
      expect(report).toMatchObject({ startTicks: idle.startTicks, project: 'rest', sessionId: idle.sessionId });
      expect(report.rules.map(({ code }) => code)).toEqual(CODES);
      expect(held(report)).toEqual([]);
      for (const { detail } of report.rules) expect(detail).not.toBe('');
      expect(report.orphanKinds.map(({ kind, fits }) => [kind, fits])).toEqual([
        ['superseded', false],
        ['deleted', false],
        ['abandoned', false],
        ['parked', true],
      ]);
      const from = (what: string) => report.evidence.find((line) => line.what === what)?.from;
      expect(from('session file')).toBe(idle.sessionFile);
      expect(from('transcript')).toBe(idle.transcript);
      expect(from('journal')).toBe(idle.journal);
      expect(from('Clay')).toBe(clay.socket);
      expect(from('cpu')).toBe(`/proc/${idle.pid}/stat`);
      expect(report.evidence.find((line) => line.what === 'process')?.meaning).toContain(`Clay ${clay.pid}`);
    });

    it('fits a screen of 24 lines and 80 columns: the verdict, and what decided', async () => {
      const idle = await clay.spawnClaude(IDLE);
      const working = await clay.spawnClaude({ project: 'busy', journal: 'permission', start: { toolShell: true } });
      for (const { pid } of [idle, working]) {
        const { status, stdout } = await explain(pid);
        expect(status).toBe(0);
        const lines = stdout.trimEnd().split('\n');
        expect(lines.length).toBeLessThanOrEqual(23);
        expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
        expect(lines[2]).toBe('Verdict');
        expect(lines.at(-1)).toContain('--verbose');
      }
    });

    it('--verbose shows all evidence and fits 80 columns', async () => {
      const idle = await clay.spawnClaude(IDLE);
      const { status, stdout, stderr } = await explain(idle.pid, '--verbose');
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      const lines = stdout.split('\n');
      expect(lines[0]).toBe(`claude ${idle.pid} of project rest: reap`);
      expect(lines.filter((line) => /^\S/.test(line)).slice(1)).toEqual([
        'Evidence',
        'Rules that protect it (one is enough)',
        'Kind of orphan if no rule holds (the first that fits)',
        'Verdict',
        'Another verdict if',
      ]);
      for (const code of CODES) expect(stdout).toMatch(new RegExp(`^  ${code} +no +\\S`, 'm'));
      expect(stdout).toMatch(/^ {2}parked +yes /m);
      expect(stdout).toMatch(/an idle orphan \(parked\), idle for 1h; its wait is parked_after/);
      expect(stdout).toMatch(/\[protect\]\s+projects = \["rest"\]/);
      // A path alone may be longer than any line.
      const wide = lines.filter((line) => line.length > 80 && !/^ *\/\S+$/.test(line));
      expect(wide).toEqual([]);
    });

    it('of one in grace shows how long it has left and what would end it sooner', async () => {
      const idle = await clay.spawnClaude({ ...IDLE, idleSeconds: 1200 });
      const { report, stdout } = await explainJson(idle.pid);
      expect(report).toMatchObject({ verdict: 'grace', orphan: 'parked' });
      expect(report.why).toMatch(/parked_after, 30m: it is ended in 10m/);
      expect(report.otherwise.map(({ verdict }) => verdict)).toEqual(['protected', 'reap', 'reap']);
      expect(stdout).toContain('nothing happens for another 10m');
      const never = await explainJson(idle.pid, '--parked-after', 'never');
      expect(never.report.why).toMatch(/parked_after, never: it stays/);
    });

    it.each<[string, () => FakeClaudeOptions, string[], RegExp]>([
      [
        'with an open connection',
        () => ({ ...IDLE, start: { connect: { port: (api.address() as { port: number }).port } } }),
        ['connection'],
        /127\.0\.0\.1:\d+ → 127\.0\.0\.1:\d+/,
      ],
      [
        'that runs a tool in the background',
        () => ({ ...IDLE, start: { toolShell: true } }),
        ['tool'],
        /pid \d+ runs a tool \(own session\)/,
      ],
      [
        'that waits for a permission',
        () => ({ project: 'busy', journal: 'permission' }),
        ['turn', 'processing'],
        /last turn open \(record permission_request\)/,
      ],
      [
        'that says it is busy',
        () => ({ ...IDLE_NATIVE, start: { sessionFile: { status: 'busy' } } }),
        ['busy'],
        /status busy/,
      ],
    ])('shows the rules that hold, and what would clear them, of a claude %s', async (_, options, codes, words) => {
      const claude = await clay.spawnClaude(options());
      const { status, report, stdout } = await explainJson(claude.pid);
      expect(status).toBe(0);
      expect(report).toMatchObject({ verdict: 'protected', orphan: null });
      expect(held(report)).toEqual(codes);
      expect(stdout).toMatch(words);
      expect(report.otherwise[0]?.when.map((reason) => reason.split(':')[0])).toEqual(expect.arrayContaining(codes));
      expect(report.otherwise.at(-1)?.verdict).toBe('reap');
    });

    it('names the orphan kinds superseded and deleted', async () => {
      const older = await clay.spawnClaude({ ...IDLE, project: 'kept' });
      const newer = await clay.spawnClaude({ ...IDLE, project: 'kept', sessionId: older.sessionId });
      const superseded = await explainJson(older.pid);
      expect(superseded.report).toMatchObject({ verdict: 'reap', orphan: 'superseded' });
      expect(superseded.report.orphanKinds[0]?.detail).toContain(`pid ${newer.pid}`);
      const deleted = await clay.spawnClaude({ ...IDLE, project: 'kept', journal: null });
      const { report } = await explainJson(deleted.pid);
      expect(report).toMatchObject({ verdict: 'reap', orphan: 'deleted' });
      expect(report.evidence.find(({ what }) => what === 'journal')?.value).toBe('not there');
    });

    it('names the orphan kind abandoned after Clay has died', async () => {
      const dead = await startClay({ projects: ['rest'] });
      try {
        const claude = await dead.spawnClaude({ ...IDLE, start: { outliveDaemon: true } });
        await dead.crash();
        const { status, stdout } = await runCli([
          'explain',
          String(claude.pid),
          '--clay-home',
          dead.home,
          '--verbose',
          ...NOT_YOUNG,
        ]);
        expect(status).toBe(0);
        expect(stdout).toMatch(/^ {2}abandoned +yes /m);
        expect(stdout.replace(/\s+/g, ' ')).toContain(`its Clay (${dead.home}) is dead`);
      } finally {
        await dead.stop();
      }
    });

    it('names the configuration setting that protects', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'config-'));
      try {
        const file = join(folder, 'config.toml');
        writeFileSync(file, '[protect]\nprojects = ["kept"]\n');
        const claude = await clay.spawnClaude({ ...IDLE, project: 'kept' });
        const { report } = await explainJson(claude.pid, '--config', file);
        expect(held(report)).toEqual(['configured']);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });

    it('strips terminal control characters found in its files', async () => {
      const status = '\u001b[2J\u001b]0;owned\u0007\u202e';
      const claude = await clay.spawnClaude({ ...IDLE_NATIVE, start: { sessionFile: { status } } });
      const { stdout } = await explain(claude.pid, '--verbose');
      expect(stdout).toContain('says');
      // biome-ignore lint/suspicious/noControlCharactersInRegex: what must not be there
      expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
    });
  });

  describe.concurrent('explain of a process that is no candidate', () => {
    it('exits with 1 if there is no such process, with --json too', async () => {
      const free = 2 ** 22 - 3;
      expect(await explain(free)).toMatchObject({
        status: 1,
        stdout: '',
        stderr: `clay-reaper: there is no process with pid ${free}\n`,
      });
      const { status, report } = await explainJson(free);
      expect(status).toBe(1);
      expect(report).toMatchObject({ schema: 1, pid: free, candidate: false, verdict: null, rules: [] });
      expect(report.why).toContain('no process');
    });

    it('names the parent, Clay itself, the candidate above, or the process of a thread', async () => {
      const named = await explain(process.pid);
      expect(named.status).toBe(0);
      // The names of the processes decide where the lines break: since Node 24, a Node process is called "MainThread".
      expect(named.stdout.replaceAll(/\s+/g, ' ')).toMatch(
        /^pid \d+ is no claude process of a Clay: its parent, pid \d+ .*is neither a Clay daemon that was found/,
      );
      expect((await explainJson(clay.pid)).report).toMatchObject({
        candidate: false,
        why: 'it is the Clay daemon itself',
      });
      const claude = await clay.spawnClaude({ ...IDLE, start: { toolShell: true } });
      const below = await explain(claude.children.toolShell ?? 0);
      expect(below.stdout).toContain(`it runs below claude ${claude.pid}`);
      const thread = readdirSync(`/proc/${claude.pid}/task`).find((task) => Number(task) !== claude.pid);
      expect((await explain(thread ?? 0)).stdout).toContain(`a thread of process ${claude.pid}`);
    });

    it('says that no Clay started a claude run by hand', async () => {
      const own = await startClaude({});
      try {
        const { status, stdout } = await explain(own.pid ?? 0);
        expect(status).toBe(0);
        const text = stdout.replace(/\s+/g, ' ');
        expect(text).toContain(`of Clay no its parent, pid ${process.pid}`);
        expect(text).toContain(`found: ${clay.pid}`);
      } finally {
        await end(own);
      }
    });

    it('recognises a zombie', async () => {
      // A shell would collect its child; what it becomes does not. So the child ends only after that.
      const parent = spawn('sh', ['-c', 'cat <&3 & echo $!; exec sleep 86400 3<&-'], {
        stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
      });
      try {
        const pid = await new Promise<number>((resolve) =>
          parent.stdout?.once('data', (text) => resolve(Number(text))),
        );
        await waitFor('the shell has become another program', () =>
          readFileSync(`/proc/${parent.pid}/comm`, 'utf8').startsWith('sleep'),
        );
        parent.stdio[3]?.destroy();
        const { stdout } = await waitFor('it is dead', async () => {
          const explained = await explain(pid);
          return explained.stdout.includes('zombie') && explained;
        });
        expect(stdout).toContain(`waits for its parent, pid ${parent.pid}`);
      } finally {
        await end(parent);
      }
    });
  });

  it('exits with 4 and a message if Clay gives no usable answer', async () => {
    const silent = await startClay({ projects: ['rest'] });
    try {
      const claude = await silent.spawnClaude(IDLE);
      await silent.answerStatus({ mode: 'garbage' });
      const { status, stdout, stderr } = await runCli([
        'explain',
        String(claude.pid),
        '--clay-home',
        silent.home,
        '--verbose',
        ...NOT_YOUNG,
      ]);
      expect(status).toBe(4);
      expect(stdout).toMatch(/^ {2}api +yes +Clay's API: its answer is not JSON/m);
      expect(stderr).toContain(silent.home);
    } finally {
      await silent.stop();
    }
  });

  it('exits with 3 if there is no Clay', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'no-clay-'));
    try {
      const { status, stdout, stderr } = await runCli(['explain', String(process.pid), '--clay-home', folder]);
      expect(status).toBe(3);
      expect(stdout).toContain('is no claude process of a Clay');
      expect(stderr).toContain(folder);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.each(['0', '-5', '4711x', '99999999', ''])('refuses the pid %j', async (pid) => {
    const { status, stdout, stderr } = await runCli(['explain', '--', pid]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(/^clay-reaper: explain needs a process id, a number from 1 to 4194304, not .*\n$/);
  });
});

/** A process that is named claude, and nothing more. */
async function startClaude(env: Readonly<Record<string, string>>): Promise<ChildProcess> {
  const script = "process.title = 'claude'; process.stdout.write('ready'); setInterval(() => {}, 1 << 30)";
  const child = spawn(process.execPath, ['-e', script], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}
