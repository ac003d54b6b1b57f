import { dirname } from 'node:path';
import type { InstallContext, Installed } from './context.ts';
import { UNIT } from './paths.ts';
import { provenanceOf, renderUnit, withChecksum } from './unit-file.ts';

/** The options of `install`. */
export type InstallOptions = {
  readonly user?: boolean;
  readonly now?: boolean;
  readonly dryRun?: boolean;
  readonly force?: boolean;
  readonly trial?: boolean;
  readonly live?: boolean;
};

/** The options of `uninstall`. */
export type UninstallOptions = { readonly user?: boolean; readonly purge?: boolean; readonly dryRun?: boolean };

/** One action of `install` or `uninstall`; `preview` describes it and `execute` carries it out. */
export type Step =
  | { readonly action: 'write'; readonly path: string; readonly text: string }
  | { readonly action: 'keep'; readonly path: string; readonly why: string }
  | { readonly action: 'remove'; readonly path: string }
  | { readonly action: 'remove-if-empty'; readonly path: string }
  | { readonly action: 'move-history'; readonly path: string; readonly target: string }
  | { readonly action: 'systemctl'; readonly args: readonly string[]; readonly mayFail?: true }
  | { readonly action: 'note'; readonly text: string };

/** Directories of which the system service has its own version: systemd.exec(5), PrivateTmp=, PrivateDevices=. */
const PRIVATE_TO_SERVICE = ['/tmp/', '/var/tmp/', '/dev/', '/run/user/'];

// biome-ignore lint/suspicious/noControlCharactersInRegex: a unit file cannot contain them
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f]/;

/** Why `install` cannot run with these options here, in one line with the way out; null if it can. */
export function whyNotInstall(
  { user, now, dryRun, trial, live }: InstallOptions,
  context: InstallContext,
): string | null {
  const { euid, node, program, systemdRunning } = context;
  if (trial && live) return '--trial only records what it would end, --live ends it: give one of them';
  if (euid !== 0 && !user && !dryRun) {
    return 'only root can install the system service: use sudo, or "clay-reaper install --user" for a service that watches your own Clay';
  }
  if (now && !systemdRunning && !dryRun) {
    return user
      ? 'your systemd is not running, so --now cannot start anything: log in as the user whose Clay it is, or run "loginctl enable-linger" for that user'
      : 'systemd is not running here, so --now cannot start anything: install without --now';
  }
  if (node.includes('=')) {
    return `env(1), which starts Node, takes ${node} for a variable because of its "=": move Node`;
  }
  if (program.includes('/_npx/')) {
    return `${program} is in the cache of npx, which npm clears: run "npm install --global clay-reaper" first`;
  }
  for (const path of [node, program]) {
    if (CONTROL_CHARACTER.test(path))
      return `a unit file cannot contain ${JSON.stringify(path)}: it has control characters`;
    const hidden = user ? undefined : PRIVATE_TO_SERVICE.find((directory) => path.startsWith(directory));
    if (hidden !== undefined)
      return `the service has its own ${hidden} and cannot run ${path}: move it to another directory`;
  }
  return null;
}

/** Why `uninstall` cannot run with these options here, in one line with the way out; null if it can. */
export function whyNotUninstall({ user, dryRun }: UninstallOptions, { euid }: InstallContext): string | null {
  if (euid === 0 || user || dryRun) return null;
  return 'only root can remove the system service: use sudo, or --user for your own';
}

/** The steps of `install`. Pure. */
export function planInstall(options: InstallOptions, context: InstallContext, installed: Installed): Step[] {
  const { templates, unit, config, blockedState } = installed;
  const scope = options.user ? ['--user'] : [];
  const systemctl = ['systemctl', ...scope].join(' ');
  return [
    writeOrKeep(unit, withChecksum(renderUnit(templates.unit, context, context.systemdVersion)), options),
    writeOrKeep(config, withChecksum(templates.config), options),
    ...(blockedState === null ? [] : [{ action: 'move-history', ...blockedState } as const]),
    ...trialSteps(options, installed),
    ...steps(context.systemdRunning, { action: 'systemctl', args: [...scope, 'daemon-reload'] }),
    // A running service gets or loses its trial now; "try-restart" does nothing if it is not running.
    ...steps(context.systemdRunning && !options.now && (options.trial || options.live), {
      action: 'systemctl',
      args: [...scope, 'try-restart', UNIT],
    }),
    ...(options.now
      ? steps(
          true,
          { action: 'systemctl', args: [...scope, 'enable', UNIT] },
          // "restart" instead of "start": it also replaces a running older version.
          { action: 'systemctl', args: [...scope, 'restart', UNIT] },
        )
      : steps(true, {
          action: 'note',
          text: `to start it now and at every boot: ${systemctl} enable --now clay-reaper`,
        })),
    ...steps(options.user, {
      action: 'note',
      text: 'to keep it running while you are logged out: loginctl enable-linger',
    }),
  ];
}

/** The steps of `uninstall`, none if nothing is installed. Keeps an edited configuration and the history unless purged. Pure. */
export const planUninstall = (options: UninstallOptions, context: InstallContext, installed: Installed): Step[] => [
  ...removeUnit(options, context, installed),
  ...removeConfig(options, installed),
  ...removeState(options, installed),
];

/** The drop-in of a trial: the variable outweighs the configuration, which stays as it is. */
const TRIAL = `# A trial: "clay-reaper install --live" ends it.
[Service]
Environment=CLAY_REAPER_DRY_RUN=true
`;

function trialSteps({ trial: wanted, live }: InstallOptions, { trial, config }: Installed): Step[] {
  if (live) {
    const isDryRun = /^\s*dry_run\s*=\s*true/m.test(config.text ?? '');
    return [
      ...steps(trial.text !== null, { action: 'remove', path: trial.path }),
      { action: 'remove-if-empty', path: dirname(trial.path) },
      ...steps(isDryRun, {
        action: 'note',
        text: `dry_run = true in ${config.path} still keeps it from ending anything`,
      }),
    ];
  }
  if (!wanted) {
    return steps(trial.text !== null, { action: 'keep', path: trial.path, why: 'the trial goes on; --live ends it' });
  }
  return [
    { action: 'write', path: trial.path, text: TRIAL },
    {
      action: 'note',
      text: 'a trial: it ends nothing, and "clay-reaper history --trial" shows what it would have ended',
    },
    { action: 'note', text: 'to end processes after it: clay-reaper install --live' },
  ];
}

const steps = (condition: boolean | undefined, ...planned: Step[]): Step[] => (condition ? planned : []);

function writeOrKeep({ path, text: present }: Installed['unit'], text: string, { force }: InstallOptions): Step {
  if (present === text) return { action: 'keep', path, why: 'unchanged' };
  const provenance = provenanceOf(present);
  if (provenance === 'missing' || provenance === 'ours' || force) return { action: 'write', path, text };
  const reason = provenance === 'edited' ? 'it was edited' : 'it is not from "clay-reaper install"';
  return { action: 'keep', path, why: `${reason}; --force replaces it` };
}

function removeUnit({ user }: UninstallOptions, { systemdRunning }: InstallContext, installed: Installed): Step[] {
  const { path, text } = installed.unit;
  const scope = user ? ['--user'] : [];
  const provenance = provenanceOf(text);
  if (provenance === 'missing') return [];
  if (provenance === 'foreign') return [{ action: 'keep', path, why: 'it is not from "clay-reaper install"' }];
  const remaining: Step[] = [
    ...steps(installed.trial.text !== null, { action: 'remove', path: installed.trial.path }),
    ...steps(installed.trial.text !== null && !installed.hasDropIns, {
      action: 'remove-if-empty',
      path: dirname(installed.trial.path),
    }),
    ...steps(installed.hasDropIns, { action: 'keep', path: `${path}.d`, why: 'your own settings' }),
    // `install --user` may have created ~/.config/systemd/user.
    ...steps(
      user,
      { action: 'remove-if-empty', path: dirname(path) },
      { action: 'remove-if-empty', path: dirname(dirname(path)) },
    ),
  ];
  if (!systemdRunning) {
    // "systemctl --user disable" needs the user's systemd; "systemctl disable" works on the files alone.
    const disable: Step = {
      action: 'systemctl',
      args: [...scope, 'disable', UNIT],
      ...(user ? { mayFail: true } : {}),
    };
    return [disable, { action: 'remove', path }, ...remaining];
  }
  return [
    { action: 'systemctl', args: [...scope, 'disable', '--now', UNIT] },
    { action: 'remove', path },
    { action: 'systemctl', args: [...scope, 'daemon-reload'] },
    // systemd keeps the name of a failed unit; it does not know the name of any other, so this may fail.
    { action: 'systemctl', args: [...scope, 'reset-failed', UNIT], mayFail: true },
    ...remaining,
  ];
}

function removeConfig({ purge }: UninstallOptions, { config, hasConfigDirectory }: Installed): Step[] {
  const { path, text } = config;
  const provenance = provenanceOf(text);
  if (provenance !== 'missing' && provenance !== 'ours' && !purge) {
    return [{ action: 'keep', path, why: 'it was edited; --purge removes it' }];
  }
  return [
    ...steps(text !== null, { action: 'remove', path }),
    // systemd creates the directory (ConfigurationDirectory=) even without a file.
    ...steps(hasConfigDirectory, { action: 'remove-if-empty', path: dirname(path) }),
  ];
}

function removeState({ purge }: UninstallOptions, { state }: Installed): Step[] {
  const isEmpty = state.every((directory) => directory.isEmpty);
  if (purge || isEmpty) return state.map(({ path }) => ({ action: 'remove', path }));
  return state.slice(0, 1).map(({ path }) => ({ action: 'keep', path, why: 'the history; --purge removes it' }));
}
