import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync, realpathSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Person } from './places.ts';
import type { Hands } from './steps.ts';

/** The machine that a service is installed on, and the program that it is to run. */
export type Machine = Person &
  Hands & {
    /** / , or what stands in for it. */
    readonly root: string;
    /** The package's systemd directory. */
    readonly templates: string;
    readonly perl: string | null;
    readonly node: string;
    readonly program: string;
    /** Whether the systemd that is concerned is running. */
    readonly isUp: boolean;
    readonly complain: (line: string) => void;
  };

const PERL = '/usr/bin/perl';

/** This machine. `program` is the path of the running program, `templates` the package's systemd directory. */
export function thisMachine(program: string, templates: string, forUser: boolean): Machine {
  const euid = process.geteuid?.() ?? -1;
  // sudo and su take it away, and systemctl --user needs it.
  const runtimeDirectory = process.env.XDG_RUNTIME_DIR ?? `/run/user/${euid}`;
  const env = { ...process.env, XDG_RUNTIME_DIR: runtimeDirectory };
  return {
    ...{ root: '/', env, euid, home: homedir(), templates: realpathSync(templates), program: realpathSync(program) },
    node: process.execPath,
    perl: isExecutable(PERL) ? PERL : null,
    // sd_booted(3); a user's systemd has its socket there.
    isUp: existsSync(forUser ? join(runtimeDirectory, 'systemd/private') : '/run/systemd/system'),
    systemctl: (args) => runSystemctl(args, env),
    print: (text) => void process.stdout.write(`${text}\n`),
    complain: (line) => void process.stderr.write(`clay-reaper: ${line}\n`),
  };
}

/** The first part of the way to a file that someone else than root may replace; null if there is none. */
export function writableByOthers(path: string): string | null {
  const { uid, mode } = statSync(path);
  // In a sticky directory, only the owner of a file can replace it.
  const isOpen = (mode & 0o022) !== 0 && (mode & 0o1000) === 0;
  if (uid !== 0 || isOpen) return path;
  return path === dirname(path) ? null : writableByOthers(dirname(path));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function runSystemctl(args: readonly string[], env: NodeJS.ProcessEnv): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile('systemctl', ['--no-ask-password', ...args], { env }, (error, _stdout, stderr) => {
      if (error === null) return resolve(undefined);
      const words = stderr.trim() || error.message;
      resolve(words.trim().replace(/\s*\n\s*/g, ' '));
    });
  });
}
