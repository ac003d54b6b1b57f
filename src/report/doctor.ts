import { styleText } from 'node:util';
import { isInTurn } from '../clay/status-socket.ts';
import { dryRunSource, type LoadedConfig } from '../config/load.ts';
import { SETTING_KEYS, type SettingKey } from '../config/settings.ts';
import type { Evidence } from '../judge/evidence.ts';
import type { ObservedClay } from '../observe/candidates.ts';
import { type Build, formatBuild } from './build.ts';
import { EXIT } from './exit-status.ts';
import type { TerminalStyle } from './format.ts';
import { sanitize } from './sanitize.ts';
import { type Item, section, wrapped } from './sections.ts';

/** The machine, as far as a bug report needs it. */
export type Machine = {
  readonly node: string;
  readonly kernel: string;
  readonly architecture: string;
  /** "Debian GNU/Linux 12 (bookworm)"; null where the system does not tell. */
  readonly system: string | null;
  readonly systemd: number | null;
};

/** The unit of the service, without paths of users. */
export type ServiceReport = {
  readonly scope: 'system' | 'user';
  readonly installed: boolean;
  /** "active (running)". */
  readonly active: string;
  readonly failed: boolean;
  readonly enabled: string;
  readonly result: string;
  readonly restarts: number;
  /** Whether the unit's file has changed since systemd has read it. */
  readonly needsReload: boolean;
  /** Whether the unit is as `install` wrote it. */
  readonly unit: 'missing' | 'ours' | 'edited' | 'foreign';
  readonly dropIns: number;
  readonly status: string;
  readonly running:
    | (Build & {
        readonly pid: number;
        readonly node: string;
        readonly program: string;
        /** Whether it is the program that made this report. */
        readonly isThisProgram: boolean;
        readonly outdated: boolean;
      })
    | null;
};

/** Something that does not work here, and why. */
export type Problem = {
  readonly what:
    | 'configuration'
    | 'service-failed'
    | 'service-outdated'
    | 'service-unknown'
    | 'no-clay'
    | 'permissions'
    | 'other-users'
    | 'api'
    | 'unknown-shape'
    | 'refused'
    | 'container'
    | 'left-alone'
    | 'unreadable'
    | 'proc'
    | 'pressure'
    | 'systemd';
  readonly message: string;
};

/** `doctor --json`, schema 1: fields may be added, none is ever changed or dropped. It holds nothing private. */
export type DoctorReport = {
  readonly schema: 1;
  readonly at: string;
  readonly program: Build;
  readonly machine: Machine;
  readonly rights: {
    readonly uid: number;
    readonly capabilities: Readonly<Record<string, boolean>>;
    /** Whether the processes of other users can be looked after. */
    readonly otherUsers: boolean;
  };
  readonly services: readonly ServiceReport[];
  readonly configuration: {
    /** Whether there is a file; null: the configuration is invalid. */
    readonly file: boolean | null;
    readonly dryRun: string | null;
    readonly settings: Readonly<Record<string, { readonly value: unknown; readonly source: string }>>;
  };
  readonly clays: readonly ReturnType<typeof clayOfDoctor>[];
  /** Clays that run and are not looked after, as they belong to other users. */
  readonly otherClays: readonly { readonly pid: number; readonly uid: number | null }[];
  readonly problems: readonly Problem[];
};

/** Settings whose values may name what is private; only how many there are is shown. */
const PRIVATE_SETTINGS: ReadonlySet<SettingKey> = new Set([
  'clay_home',
  'protect.projects',
  'protect.sessions',
  'trust.packages',
  'metrics.textfile',
  'hooks.on_reaped',
]);

/** The configuration in force, without what is private in it; null: it is invalid. */
export function configurationOfDoctor(loaded: LoadedConfig | null): DoctorReport['configuration'] {
  if (loaded === null) return { file: null, dryRun: null, settings: {} };
  const { given, sources, file } = loaded;
  const source = (key: SettingKey): string => (sources[key] === file ? 'file' : sources[key]);
  const dryRun = dryRunSource(loaded);
  return {
    file: file !== null,
    dryRun: dryRun === null ? null : source('dry_run'),
    settings: Object.fromEntries(
      SETTING_KEYS.map((key) => [
        key,
        { value: PRIVATE_SETTINGS.has(key) ? countOf(given[key]) : given[key], source: source(key) },
      ]),
    ),
  };
}

/** How many values a private setting has; null: none. */
function countOf(value: unknown): string | null {
  const count = Array.isArray(value) ? value.length : value === '' || value === null ? 0 : 1;
  return count === 0 ? null : `${count} not shown`;
}

/** A release of the Agent SDK or of Claude; anything else in its place is a process's own invention. */
const RELEASE = /^\d{1,6}\.\d{1,6}\.\d{1,6}$/;

/** A Clay and what runs below it, in numbers. `conceal`: takes what is private out of a sentence. */
export function clayOfDoctor(
  { daemon, status, permissionProblem, children }: ObservedClay,
  evidence: readonly Evidence[],
  conceal: (text: string) => string,
) {
  const own = evidence.filter(({ clay }) => clay.state !== 'dead' && clay.pid === daemon.pid);
  const { packageName, release } = daemon.installation;
  return {
    pid: daemon.pid,
    uid: daemon.uid,
    /** Null: another package than Clay's own, or one that could not be read. */
    release: packageName === 'clay-server' ? release : null,
    api: status.ok ? ('ok' as const) : ('unreachable' as const),
    apiError: status.ok ? null : conceal(status.failure.detail),
    blind: permissionProblem === null ? null : conceal(permissionProblem),
    projects: status.ok ? status.value.projects.length : 0,
    processing: status.ok ? status.value.projects.filter(isInTurn).length : 0,
    processes: own.length,
    unreadable: own.filter((one) => one.unreadable).length,
    /** Releases of the Agent SDK that have started them. */
    sdks: [...new Set(own.map(({ sdkVersion }) => (RELEASE.test(sdkVersion ?? '') ? sdkVersion : null)))],
    terminals: children.terminals,
    unplaced: children.unplaced,
    otherChildren: children.others,
    unknownShape: children.unknownShape !== null,
  };
}

/**
 * The exit status: 2 with an invalid configuration, 1 with a service that has failed or runs an older program, else that of a
 * `status` (`sweep`).
 */
export function exitOfDoctor(problems: readonly Problem[], sweep: number): number {
  const has = (what: Problem['what']): boolean => problems.some((problem) => problem.what === what);
  if (has('configuration')) return EXIT.usage;
  if (has('service-failed') || has('service-outdated')) return EXIT.failed;
  return sweep === EXIT.ok && has('proc') ? EXIT.incomplete : sweep;
}

/** The report as a person reads it. */
export function doctorText(report: DoctorReport, style: TerminalStyle): string {
  const { program, machine, problems } = report;
  const { kernel, architecture, system, systemd } = machine;
  const environment = [
    `Node ${machine.node}`,
    `Linux ${kernel} ${architecture}`,
    systemd === null ? 'no systemd' : `systemd ${systemd}`,
    ...(system === null ? [] : [system]),
  ];
  const head = `clay-reaper ${formatBuild(program)}, ${environment.join(', ')}`;
  const listed = (heading: string, items: readonly Item[], none: string): string =>
    section(heading, items.length > 0 ? items : [{ term: '-', text: none }], style);
  const clean = (items: readonly Item[]): Item[] =>
    items.map(({ term, text }) => ({ term, text: sanitize(text, 2000) }));
  const verdict =
    problems.length === 0
      ? 'Everything works that is needed here.'
      : `${problems.length === 1 ? 'One thing does' : `${problems.length} things do`} not work here:`;
  return [
    wrapped(sanitize(head), style),
    listed('Service', clean(report.services.map(serviceItem)), 'systemd has no such unit, or does not run'),
    listed('Clays', clean([...report.clays.map(clayItem), ...report.otherClays.map(otherItem)]), 'none was found'),
    section('Rights', [{ term: `uid ${report.rights.uid}`, text: describeRights(report.rights) }], style),
    listed('Configuration', clean(configurationItems(report.configuration)), 'all settings have their defaults'),
    problems.length === 0
      ? wrapped(verdict, style)
      : section(
          style.colour ? styleText('yellow', verdict) : verdict,
          clean(problems.map(({ what, message }) => ({ term: what, text: message }))),
          style,
        ),
    wrapped('For a bug report, add --json: it names no project, conversation, home or login name.', style),
  ].join('\n\n');
}

function serviceItem(service: ServiceReport): Item {
  if (!service.installed) return { term: service.scope, text: 'not installed' };
  const { running } = service;
  const runs =
    running === null
      ? ''
      : `; pid ${running.pid} runs ${formatBuild({ ...running, version: running.version ?? '?' })} (${running.program}) on ${running.node}${running.outdated ? ', in an older version' : ''}${running.isThisProgram ? '' : ', another installation than this one'}`;
  const parts = [
    `${service.active}, at boot: ${service.enabled}, result ${service.result}, ${service.restarts} restarts${runs}`,
    ...(service.unit === 'edited' ? ['its unit was edited'] : []),
    ...(service.dropIns > 0 ? [`${service.dropIns} drop-ins`] : []),
    ...(service.needsReload ? ['systemd has not read its unit again: systemctl daemon-reload'] : []),
    ...(service.status === '' ? [] : [`it says "${service.status}"`]),
  ];
  return { term: service.scope, text: parts.join('; ') };
}

function clayItem(clay: DoctorReport['clays'][number]): Item {
  const sdks = clay.sdks.map((sdk) => sdk ?? 'unknown').join(', ');
  const parts = [
    `uid ${clay.uid}, release ${clay.release ?? 'unknown'}, ${clay.api === 'ok' ? 'answers' : 'gives no usable answer'}`,
    `projects: ${clay.projects}, in a turn: ${clay.processing}`,
    `claude processes: ${clay.processes}${clay.processes > 0 ? ` (SDK ${sdks})` : ''}`,
    `terminals: ${clay.terminals}, other processes: ${clay.otherChildren}`,
  ];
  return { term: `Clay ${clay.pid}`, text: parts.join('; ') };
}

const otherItem = ({ pid, uid }: DoctorReport['otherClays'][number]): Item => ({
  term: `Clay ${pid}`,
  text: `${uid === null ? 'of another user' : `uid ${uid}`}: not looked after`,
});

function describeRights({ capabilities, otherUsers }: DoctorReport['rights']): string {
  const held = Object.entries(capabilities).map(([name, has]) => `${name} ${has ? 'yes' : 'no'}`);
  return `${otherUsers ? 'looks after the Clays of all users' : 'looks after the Clays of its own user only'}; ${held.join(', ')}`;
}

function configurationItems({ file, dryRun, settings }: DoctorReport['configuration']): Item[] {
  if (file === null) return [{ term: '-', text: 'invalid, see below; the defaults are in force for this report' }];
  const changed = Object.entries(settings).filter(([, { source }]) => source !== 'default');
  return [
    ...(dryRun === null ? [] : [{ term: 'dry run', text: `nothing is ended (${dryRun})` }]),
    ...changed.map(([key, { value, source }]) => ({ term: key, text: `${JSON.stringify(value)} (${source})` })),
  ];
}
