import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { wasReplacedAfter } from '../fs/program-file.ts';
import { parseCmdline } from '../proc/cmdline.ts';
import { readProcBytes } from '../proc/read-file.ts';
import { MS_PER_TICK, readStat } from '../proc/stat.ts';
import { readUptimeMs } from '../proc/uptime.ts';
import type { ServiceReport } from '../report/doctor.ts';
import { UNIT } from './paths.ts';
import { type Provenance, provenanceOf } from './unit-file.ts';

/** The program that the service runs, as it is installed now. */
export type RunningProgram = {
  readonly pid: number;
  readonly node: string;
  readonly program: string;
  readonly version: string | null;
  readonly commit: string | null;
  /** Whether the program was replaced after the service started, which so runs an older one. */
  readonly outdated: boolean;
};

/** The unit as systemd has it: systemctl(1), `show`. */
export type ServiceState = Omit<ServiceReport, 'unit' | 'running'> & {
  readonly provenance: Provenance;
  readonly running: RunningProgram | null;
};

const PROPERTIES = [
  'LoadState',
  'ActiveState',
  'SubState',
  'UnitFileState',
  'Result',
  'NRestarts',
  'NeedDaemonReload',
  'FragmentPath',
  'DropInPaths',
  'StatusText',
  'MainPID',
] as const;

/** A systemd that hangs must not hang whoever asks. */
const TIMEOUT_MS = 5_000;

/** Asks systemd for the state of the unit; resolves with the reason as a string if it does not tell. */
export async function readServiceState(
  scope: ServiceState['scope'],
  procRoot: string,
  env: NodeJS.ProcessEnv,
): Promise<ServiceState | string> {
  const args = [...(scope === 'user' ? ['--user'] : []), 'show', UNIT, `--property=${PROPERTIES.join(',')}`];
  return new Promise((resolve) => {
    execFile('systemctl', args, { env, timeout: TIMEOUT_MS }, (error, stdout, stderr) => {
      if (error === null) resolve(serviceStateFrom(scope, stdout, procRoot));
      else resolve((stderr.trim() || error.message.trim()).replace(/\s*\n\s*/g, ' '));
    });
  });
}

/** The state from what `systemctl show` prints: a line `Name=value` for each property. */
export function serviceStateFrom(scope: ServiceState['scope'], text: string, procRoot: string): ServiceState {
  const properties = new Map(
    text.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const),
  );
  const of = (name: (typeof PROPERTIES)[number]): string => properties.get(name) ?? '';
  const pid = Number(of('MainPID'));
  return {
    scope,
    installed: of('LoadState') !== 'not-found',
    active: `${of('ActiveState')} (${of('SubState')})`,
    failed: of('ActiveState') === 'failed' || of('SubState') === 'auto-restart',
    enabled: of('UnitFileState') || 'no',
    result: of('Result'),
    restarts: Number(of('NRestarts')) || 0,
    needsReload: of('NeedDaemonReload') === 'yes',
    provenance: provenanceOf(readIfThere(of('FragmentPath'))),
    dropIns: of('DropInPaths') === '' ? 0 : of('DropInPaths').split(' ').length,
    status: of('StatusText'),
    running: pid > 0 ? runningProgram(pid, procRoot) : null,
  };
}

/** A command line of the service is short; nobody's is read further. */
const MAX_CMDLINE_BYTES = 16 * 1024;

function runningProgram(pid: number, procRoot: string): RunningProgram | null {
  const cmdline = readProcBytes(`${procRoot}/${pid}/cmdline`, MAX_CMDLINE_BYTES);
  if (!cmdline.ok) return null;
  const [node, ...words] = parseCmdline(cmdline.value);
  const [stat, uptime] = [readStat(procRoot, pid), readUptimeMs(procRoot)];
  if (!stat.ok || !uptime.ok) return null;
  const program = words.find((word) => !word.startsWith('-'));
  if (node === undefined || !program?.startsWith('/')) return null;
  const startedAtMs = Date.now() - uptime.value + stat.value.startTicks * MS_PER_TICK;
  return { pid, node, program, ...buildOf(program), outdated: wasReplacedAfter(program, startedAtMs) };
}

/** Version and commit of an installed program, from the package.json that its build has put beside it. */
export function buildOf(program: string): { readonly version: string | null; readonly commit: string | null } {
  try {
    const { version, commit } = JSON.parse(readFileSync(join(dirname(program), 'package.json'), 'utf8')) as {
      version?: unknown;
      commit?: unknown;
    };
    const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);
    return { version: text(version), commit: text(commit) };
  } catch {
    return { version: null, commit: null };
  }
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
