import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { release } from 'node:os';
import { type Assessment, assess, newAssessState } from '../assess.ts';
import { findHomes, isPrivileged } from '../clay/homes.ts';
import { type LoadedConfig, loadConfig, UsageError } from '../config/load.ts';
import { pressurePolicyFrom } from '../config/policy.ts';
import { ownHome, parseUserNames, readPasswd } from '../fs/passwd.ts';
import { currentSystemdVersion } from '../install/context.ts';
import { readServiceState, type ServiceState } from '../install/service-state.ts';
import { findProcRoot } from '../observe/clock.ts';
import { scanProcesses } from '../observe/process-scan.ts';
import { readMemoryPressure } from '../proc/pressure.ts';
import { readProcText } from '../proc/read-file.ts';
import { parseEffectiveCapabilities, readStatus } from '../proc/status.ts';
import type { Build } from '../report/build.ts';
import {
  clayOfDoctor,
  configurationOfDoctor,
  type DoctorReport,
  doctorText,
  exitOfDoctor,
  type Problem,
  type ServiceReport,
} from '../report/doctor.ts';
import { EXIT, exitStatus } from '../report/exit-status.ts';
import { terminalStyle } from '../report/format.ts';
import { printJson } from '../report/json.ts';
import { type Private, publicPath, redact } from '../report/redact.ts';
import { attempt, UnavailableError } from '../result.ts';
import { type CommonOptions, loadFromOptions, sweepSettings } from './options.ts';

type DoctorOptions = CommonOptions & { readonly json?: boolean };

/** `doctor`: what works on this machine, what does not, and why; nothing in it is private. Returns the exit status. */
export async function doctor(options: DoctorOptions, build: Build): Promise<number> {
  const { report, exit } = await examine(options, build);
  if (options.json) printJson(report);
  else process.stdout.write(`${doctorText(report, terminalStyle(process.stdout))}\n`);
  return exit;
}

async function examine(options: DoctorOptions, build: Build): Promise<{ report: DoctorReport; exit: number }> {
  const passwd = readPasswd();
  const secrets: Private = {
    places: [{ path: ownHome(), label: '~' }, ...homesIn(passwd)],
    userNames: parseUserNames(passwd),
  };
  const { loaded, problem: configurationProblem } = load(options);
  const procRoot = findProcRoot();
  const seen = procRoot.ok ? await lookAround(procRoot.value, loaded ?? defaults()) : null;
  const assessment = seen?.assessment ?? null;
  const conceal = (text: string): string => redact(text, withClays(secrets, assessment));
  const { services, problems: serviceProblems } = await lookAtServices(procRoot.ok ? procRoot.value : '/proc');
  const problems = [
    ...configurationProblem,
    ...serviceProblems,
    ...(procRoot.ok ? kernelProblems(procRoot.value, loaded) : [problem('proc', procRoot.failure.detail)]),
    ...(seen?.problem ?? []),
    ...(assessment === null ? [] : assessmentProblems(assessment, seen?.otherClays ?? [])),
  ].map(({ what, message }) => ({ what, message: conceal(message) }));
  const report: DoctorReport = {
    schema: 1,
    at: new Date().toISOString(),
    program: build,
    machine: {
      node: process.versions.node,
      kernel: release(),
      architecture: process.arch,
      system: systemName(),
      systemd: currentSystemdVersion(),
    },
    rights: rights(),
    services: services.map((service) => ({ ...service, status: conceal(service.status) })),
    configuration: configurationOfDoctor(loaded),
    clays: (assessment?.clays ?? []).map((clay) => clayOfDoctor(clay, assessment?.evidence ?? [], conceal)),
    otherClays: seen?.otherClays ?? [],
    problems,
  };
  return { report, exit: exitOfDoctor(problems, assessment === null ? EXIT.incomplete : exitStatus(assessment)) };
}

const problem = (what: Problem['what'], message: string): Problem => ({ what, message });

/** The configuration; null and a problem if it is invalid. */
function load(options: DoctorOptions): { loaded: LoadedConfig | null; problem: readonly Problem[] } {
  try {
    return { loaded: loadFromOptions(options), problem: [] };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return { loaded: null, problem: [problem('configuration', error.message)] };
  }
}

/** The defaults, as from a file that is not there. */
const defaults = (): LoadedConfig =>
  loadConfig({ file: null, environment: {}, options: {}, asRoot: false, home: '/nonexistent' });

/** What was seen of Clays and their processes. */
type Seen = {
  readonly assessment: Assessment | null;
  readonly otherClays: DoctorReport['otherClays'];
  readonly problem: readonly Problem[];
};

async function lookAround(procRoot: string, loaded: LoadedConfig): Promise<Seen> {
  const settings = sweepSettings(procRoot, loaded);
  try {
    const assessment = await assess(settings, newAssessState(procRoot));
    return { assessment, otherClays: await clayOfOthers(procRoot, assessment, loaded), problem: [] };
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return { assessment: null, otherClays: [], problem: [problem('proc', error.message)] };
  }
}

/** The Clays that run as other users, if those cannot be looked after. */
async function clayOfOthers(
  procRoot: string,
  { budgets }: Assessment,
  { config }: LoadedConfig,
): Promise<DoctorReport['otherClays']> {
  if (isPrivileged(procRoot)) return [];
  const { trustedPackages } = findHomes(procRoot, [], config['trust.packages']);
  const { foreignDaemons } = await scanProcesses(procRoot, {
    onlyOwn: true,
    findDaemon: true,
    trustedPackages,
    budgets,
  });
  return foreignDaemons.map((pid) => {
    const status = readStatus(procRoot, pid);
    return { pid, uid: status.ok ? status.value.uids[1] : null };
  });
}

function assessmentProblems(
  { clays, homes, judgements, inContainers, withoutHome, leftAlone, scanNote }: Assessment,
  otherClays: DoctorReport['otherClays'],
): Problem[] {
  const unreadable = judgements.filter(({ evidence }) => evidence.unreadable).length;
  return [
    ...(clays.length === 0 ? [problem('no-clay', 'no Clay daemon was found: start Clay, or use --clay-home DIR')] : []),
    ...(otherClays.length === 0
      ? []
      : [problem('other-users', 'Clays of other users can be looked after by root only: use sudo')]),
    ...clays.flatMap(({ daemon, status, permissionProblem, children }) => [
      ...(permissionProblem === null ? [] : [problem('permissions', permissionProblem)]),
      ...(status.ok || permissionProblem !== null
        ? []
        : [problem('api', `Clay ${daemon.pid} gives no usable answer: ${status.failure.detail}`)]),
      ...(children.unknownShape === null
        ? []
        : [
            problem(
              'unknown-shape',
              `Clay ${daemon.pid} has processes of an unknown shape, which are left alone; "clay-reaper status" says which`,
            ),
          ]),
    ]),
    ...homes.flatMap(({ home, refusals }) => refusals.map((why) => problem('refused', `${home} was refused: ${why}`))),
    ...(inContainers === null ? [] : [problem('container', inContainers)]),
    ...[...withoutHome, ...leftAlone].map((line) => problem('left-alone', line)),
    ...(scanNote === null ? [] : [problem('proc', scanNote)]),
    ...(unreadable === 0 ? [] : [problem('unreadable', `${unreadable} claude processes could not be read`)]),
  ];
}

function kernelProblems(procRoot: string, loaded: LoadedConfig | null): Problem[] {
  const pressure = readMemoryPressure(procRoot);
  const wantsPressure = loaded !== null && pressurePolicyFrom(loaded) !== null;
  return [
    ...(existsSync(`${procRoot}/1`)
      ? []
      : [problem('proc', `${procRoot} hides the processes of other users (mount option hidepid)`)]),
    ...(readProcText(`${procRoot}/self/task/${process.pid}/children`).ok
      ? []
      : [problem('proc', 'the kernel does not tell the children of a process (CONFIG_PROC_CHILDREN)')]),
    ...(pressure.ok || !wantsPressure
      ? []
      : [
          problem('pressure', `[pressure] has no effect, because the kernel measures none: ${pressure.failure.detail}`),
        ]),
  ];
}

async function lookAtServices(procRoot: string): Promise<{ services: ServiceReport[]; problems: Problem[] }> {
  if (!existsSync('/run/systemd/system'))
    return { services: [], problems: [problem('systemd', 'systemd does not run here: no service can be installed')] };
  const env = { ...process.env, XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? `/run/user/${process.geteuid?.()}` };
  const scopes = process.geteuid?.() === 0 ? (['system'] as const) : (['system', 'user'] as const);
  const services: ServiceReport[] = [];
  const problems: Problem[] = [];
  for (const scope of scopes) {
    const state = await readServiceState(scope, procRoot, env);
    if (typeof state !== 'string') {
      services.push(serviceReport(state));
      problems.push(...serviceProblems(state));
    } else if (scope === 'system') problems.push(problem('service-unknown', `systemctl: ${state}`));
  }
  return { services, problems };
}

function serviceReport({ provenance, running, ...state }: ServiceState): ServiceReport {
  const own = attempt('this program', () => realpathSync(process.argv[1] ?? ''));
  return {
    ...state,
    unit: provenance,
    running: running && {
      ...running,
      version: running.version ?? '?',
      node: publicPath(running.node),
      program: publicPath(running.program),
      isThisProgram: own.ok && own.value === running.program,
    },
  };
}

function serviceProblems({ scope, failed, result, running }: ServiceState): Problem[] {
  const systemctl = scope === 'user' ? 'systemctl --user' : 'systemctl';
  const journal = scope === 'user' ? 'journalctl --user' : 'journalctl';
  return [
    ...(failed
      ? [problem('service-failed', `the ${scope} service has failed (${result}): see ${journal} -u clay-reaper`)]
      : []),
    ...(running?.outdated
      ? [
          problem(
            'service-outdated',
            `the ${scope} service runs an older program than the installed one: ${systemctl} restart clay-reaper`,
          ),
        ]
      : []),
  ];
}

/** linux/capability.h: the three that the unit gives to the service. */
const CAPABILITIES = { CAP_DAC_OVERRIDE: 1n << 1n, CAP_KILL: 1n << 5n, CAP_SYS_PTRACE: 1n << 19n } as const;

function rights(): DoctorReport['rights'] {
  const status = readProcText('/proc/self/status');
  const held = status.ok ? parseEffectiveCapabilities(status.value) : 0n;
  return {
    uid: process.geteuid?.() ?? -1,
    capabilities: Object.fromEntries(Object.entries(CAPABILITIES).map(([name, bit]) => [name, (held & bit) !== 0n])),
    otherUsers: isPrivileged('/proc'),
  };
}

/** os-release(5), PRETTY_NAME. */
function systemName(): string | null {
  const text = attempt('/etc/os-release', () => readFileSync('/etc/os-release', 'utf8'));
  return text.ok ? (/^PRETTY_NAME="?([^"\n]{1,200})"?$/m.exec(text.value)?.[1] ?? null) : null;
}

/** The homes of all accounts but those of the system, which are the same everywhere. */
const homesIn = (passwd: string): Private['places'] =>
  passwd.split('\n').flatMap((line) => {
    const [, , uid, , , home] = line.split(':');
    return home?.startsWith('/') && Number(uid) >= 1000 && home.length > 1 && home !== '/nonexistent'
      ? [{ path: home, label: `<home of uid ${uid}>` }]
      : [];
  });

/** Also what Clays have named: their homes, and the folders of their projects. */
function withClays(secrets: Private, assessment: Assessment | null): Private {
  const clays = assessment?.clays ?? [];
  return {
    ...secrets,
    places: [
      ...secrets.places,
      ...clays.map(({ daemon }) => ({ path: daemon.home, label: `<home of Clay ${daemon.pid}>` })),
      ...(assessment?.homes ?? []).map(({ home }, index) => ({ path: home, label: `<Clay home ${index + 1}>` })),
    ],
  };
}
