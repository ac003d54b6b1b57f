import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { accessSync, constants, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** What a command left behind. `code` is its exit status, or 128 + signal number. */
export type Ran = { code: number; stdout: string; stderr: string };

export type RunOptions = {
  /** The account to run as; root unless given. Its `systemctl --user` works once `enable-linger` is on. */
  user?: string;
  timeoutMs?: number;
};

/** A machine on a real systemd: the programs of this one, empty homes and state, no network. */
export type Host = {
  /** Its root directory as seen from outside. Changes with a reboot. */
  root(): string;
  /** Runs a shell script in it. Its processes are outside systemd's cgroups: start what must live there with `systemd-run`. */
  run(script: string, options?: RunOptions): Promise<Ran>;
  /** Like `run`, for what must succeed: throws with all its output, answers with stdout. */
  ok(script: string, options?: RunOptions): Promise<string>;
  /** Copies a file or a directory of this machine to an absolute path in it. */
  copyIn(from: string, to: string): void;
  /** Boots it again, as `systemctl reboot` does; resolves when it is up. */
  reboot(): Promise<void>;
  /** Ends it with all its processes, mounts and cgroups. */
  powerOff(): Promise<void>;
};

const PROGRAMS = ['systemd-nspawn', 'nsenter', 'unshare', 'setpriv', 'runuser', 'useradd'] as const;
const SYSTEMD = '/lib/systemd/systemd';
const CGROUP_PREFIX = 'clay-reaper-test-';
const BOOT_TIMEOUT_MS = 60_000;

/** Why no machine can be booted here, or undefined when one can. */
export function whyNoHost(): string | undefined {
  if (process.platform !== 'linux') return 'not Linux';
  if (process.geteuid?.() !== 0) return 'not root: mounting and systemd-nspawn need it';
  if (!existsSync(SYSTEMD)) return 'systemd is not installed';
  const missing = PROGRAMS.filter((program) => !onPath(program));
  return missing.length > 0
    ? `missing: ${missing.join(', ')} (packages systemd-container, util-linux, passwd)`
    : undefined;
}

/** Polls `probe` until it answers with something other than undefined or false; throws with `what` after the timeout. */
export async function waitFor<T>(
  what: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await probe();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs / 1000} s: ${what}`);
    await sleep(50);
  }
}

/** Boots a machine. The caller owns it: `powerOff()` it, whatever happens. */
export async function bootHost(): Promise<Host> {
  removeStaleCgroups();
  const cgroups = makeCgroups(`${CGROUP_PREFIX}${process.pid}-${Math.trunc(performance.now())}`);
  // The parent-death signal and --kill-child: if this process is killed, the kernel takes the whole machine down.
  const holder = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL', 'unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'],
      ...['--propagation', 'private', 'sh', fileURLToPath(new URL('host.sh', import.meta.url)), ...cgroups],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } },
  );
  let output = '';
  for (const stream of [holder.stdout, holder.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const ended = new Promise<void>((resolve) => holder.once('close', () => resolve()));
  let init = 0;

  const enter = (script: string, options: RunOptions = {}): Promise<Ran> => {
    const login = options.user === undefined ? [] : ['runuser', '-u', options.user, '--'];
    const environment =
      options.user === undefined
        ? 'export HOME=/root XDG_RUNTIME_DIR=/run/user/0; cd /root;'
        : `export HOME=/home/${options.user} USER=${options.user} XDG_RUNTIME_DIR=/run/user/$(id -u); cd;`;
    return capture(
      'nsenter',
      ['--all', '--target', String(init), ...login, 'sh', '-c', `${environment} ${script}`],
      options.timeoutMs ?? 60_000,
    );
  };
  const ok = async (script: string, options?: RunOptions): Promise<string> => {
    const ran = await enter(script, options);
    if (ran.code !== 0) throw new Error(`exit status ${ran.code}: ${script}\n${ran.stdout}${ran.stderr}`);
    return ran.stdout;
  };
  const up = async (before: number): Promise<void> => {
    await waitFor(
      `a booted systemd (its console said: ${output.slice(-2000)})`,
      async () => {
        if (holder.exitCode !== null) throw new Error(`the machine ended with status ${holder.exitCode}: ${output}`);
        const found = findInit(holder);
        if (found === undefined || found === before) return false;
        init = found;
        const state = (await enter('test -S /run/systemd/private && systemctl is-system-running --wait')).stdout.trim();
        // Some other unit of the machine may have failed: that is no concern of these tests.
        return state === 'running' || state === 'degraded';
      },
      BOOT_TIMEOUT_MS,
    );
  };
  const powerOff = async (): Promise<void> => {
    holder.kill('SIGKILL');
    await ended;
    await waitFor('its cgroups are empty', () => cgroups.every(removeCgroup));
  };

  try {
    await up(0);
    const root = (): string => `/proc/${init}/root`;
    bringNode(root());
    return {
      root,
      run: enter,
      ok,
      copyIn: (from, to) => {
        mkdirSync(join(root(), dirname(to)), { recursive: true });
        cpSync(from, join(root(), to), { recursive: true });
      },
      reboot: async () => {
        const before = init;
        await enter('systemctl reboot');
        await up(before);
      },
      powerOff,
    };
  } catch (error) {
    await powerOff();
    throw error;
  }
}

function capture(file: string, args: string[], timeoutMs: number): Promise<Ran> {
  const env = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8' };
  return new Promise((resolve) => {
    const child = execFile(
      file,
      args,
      { env, timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 64 << 20 },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 137;
        resolve({ code, stdout, stderr });
      },
    );
    child.stdin?.end();
  });
}

function onPath(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((dir) => isExecutable(join(dir, program)));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The machine's PID 1, as a pid of this one: the child of nspawn that has become systemd. Undefined while there is none. */
function findInit(holder: ChildProcess): number | undefined {
  let pid = holder.pid;
  // unshare → host.sh → systemd-nspawn → systemd
  for (let generation = 0; generation < 3; generation++) {
    if (pid === undefined) return undefined;
    const child = children(pid).at(-1);
    if (child === undefined) return undefined;
    pid = child;
  }
  return pid !== undefined && comm(pid) === 'systemd' ? pid : undefined;
}

function children(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    return [];
  }
}

function comm(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** A Node outside /usr (nvm, a tarball) is not in the machine yet: put it where a tarball would. */
function bringNode(root: string): void {
  if (process.execPath.startsWith(`/usr${sep}`)) return;
  const prefix = dirname(dirname(process.execPath));
  for (const part of ['bin', 'lib/node_modules/npm']) {
    cpSync(join(prefix, part), join(root, 'usr/local', part), { recursive: true, verbatimSymlinks: true });
  }
}

/** Fresh cgroups below this process's own, one for each hierarchy that systemd uses: cgroup2, and v1's `name=systemd`. */
function makeCgroups(name: string): string[] {
  const made = ownCgroups().map((own) => join(own, name));
  for (const dir of made) mkdirSync(dir);
  return made;
}

/** cgroups(7), /proc/PID/cgroup: `0::PATH` is cgroup2, mounted at the top or, beside v1, at `unified`. */
function ownCgroups(): string[] {
  const top = '/sys/fs/cgroup';
  return readFileSync('/proc/self/cgroup', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const path = line.split(':').slice(2).join(':');
      if (line.startsWith('0::')) return [join(existsSync(join(top, 'unified')) ? join(top, 'unified') : top, path)];
      return line.includes(':name=systemd:') ? [join(top, 'systemd', path)] : [];
    })
    .filter((dir) => existsSync(join(dir, 'cgroup.procs')));
}

/** Removes a cgroup and all below it; false while something still lives there. */
function removeCgroup(dir: string): boolean {
  if (!existsSync(dir)) return true;
  const below = readdirSync(dir, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  if (!below.every((entry) => removeCgroup(join(dir, entry.name)))) return false;
  try {
    rmdirSync(dir);
    return true;
  } catch {
    return false;
  }
}

/** Those of a run that was killed. The kernel refuses to remove one that is in use. */
function removeStaleCgroups(): void {
  for (const own of ownCgroups()) {
    for (const entry of readdirSync(own)) if (entry.startsWith(CGROUP_PREFIX)) removeCgroup(join(own, entry));
  }
}

/** Whether tests on a booted machine are to be skipped; says why. In CI there is no such reason. */
export function cannotBoot(): boolean {
  const reason = whyNoHost();
  if (reason === undefined) return false;
  if (process.env.CI) throw new Error(`no systemd can be booted for the tests: ${reason}`);
  process.stderr.write(`the tests on a real systemd are skipped: ${reason}\n`);
  return true;
}
