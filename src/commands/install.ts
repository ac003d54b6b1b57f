import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../config/load.ts';
import { type Machine, writableByOthers } from '../install/machine.ts';
import { type Places, systemPlaces, UNIT, userPlaces } from '../install/places.ts';
import { isThere, perform, preview, readText, type Step, tryToPlan } from '../install/steps.ts';
import { originOf, renderUnit, withMark } from '../install/unit-file.ts';

export type InstallOptions = {
  readonly user?: boolean;
  readonly now?: boolean;
  readonly dryRun?: boolean;
  readonly force?: boolean;
};

/** Directories that the system service sees another version of: systemd.exec(5), PrivateTmp=, PrivateDevices=. */
const HIDDEN_FROM_SERVICE = ['/tmp/', '/var/tmp/', '/dev/', '/run/user/'];

/**
 * `install`: puts the unit and, if there is none, the configuration in place. Gives the exit status; throws a
 * {@link UsageError} before anything is changed.
 */
export async function install(options: InstallOptions, machine: Machine): Promise<number> {
  const places = options.user ? userPlaces(machine) : systemPlaces(machine.root);
  checkPossible(options, machine);
  const steps = tryToPlan(() => planInstall(options, machine, places));
  if (typeof steps === 'string') {
    machine.complain(`not installed: ${steps}`);
    return 1;
  }
  if (options.dryRun) {
    preview(steps, machine);
    return 0;
  }
  if (!options.user) warnOfOtherOwners(machine);
  const failure = await perform(steps, machine);
  if (failure === undefined) return 0;
  machine.complain(`not installed: ${failure}`);
  return 1;
}

/** What has to be done, given what is there. */
export function planInstall(options: InstallOptions, machine: Machine, places: Places): Step[] {
  const template = readFileSync(join(machine.templates, places.template), 'utf8');
  const config = readFileSync(join(machine.templates, 'config.toml'), 'utf8');
  const unit = renderUnit(template, { ...machine, notifyFd: join(machine.templates, 'notify-fd.pl') });
  const scope = options.user ? ['--user'] : [];
  const systemctl = ['systemctl', ...scope].join(' ');
  return [
    writeOrKeep(places.unit, withMark(unit), options),
    writeOrKeep(places.config, withMark(config), options),
    ...(machine.isUp ? [{ do: 'systemctl', args: [...scope, 'daemon-reload'] } as const] : []),
    ...(options.now
      ? [
          { do: 'systemctl', args: [...scope, 'enable', UNIT] } as const,
          // Not "start": an older version that runs already has to go.
          { do: 'systemctl', args: [...scope, 'restart', UNIT] } as const,
        ]
      : [{ do: 'say', text: `to start it, now and at every boot: ${systemctl} enable --now clay-reaper` } as const]),
    ...(options.user
      ? [{ do: 'say', text: 'to keep it running while you are logged out: loginctl enable-linger' } as const]
      : []),
  ];
}

function writeOrKeep(path: string, text: string, { force }: InstallOptions): Step {
  const there = readText(path);
  if (there === text) return { do: 'keep', path, why: 'unchanged' };
  const origin = originOf(there);
  if (origin === 'missing' || origin === 'ours' || force) return { do: 'write', path, text };
  const whose = origin === 'edited' ? 'it was edited' : 'it is not from "clay-reaper install"';
  return { do: 'keep', path, why: `${whose}; --force replaces it` };
}

function checkPossible({ user, now, dryRun }: InstallOptions, machine: Machine): void {
  const { euid, program, node, isUp } = machine;
  if (euid !== 0 && !user && !dryRun) {
    throw new UsageError(
      'only root can install the system service: use sudo, or "clay-reaper install --user" for a service that looks after your own Clay',
    );
  }
  if (now && !isUp && !dryRun) {
    throw new UsageError(
      user
        ? `no systemd of yours is running, so --now cannot start anything: log in as the user whose Clay it is, or "loginctl enable-linger" them`
        : 'systemd is not running here, so --now cannot start anything: install without it',
    );
  }
  if (program.includes('/_npx/')) {
    throw new UsageError(`${program} is in npx's cache, which npm clears: "npm install --global clay-reaper" first`);
  }
  for (const path of [node, program]) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what a unit file cannot hold
    if (/[\u0000-\u001f\u007f]/.test(path))
      throw new UsageError(`a unit cannot name ${JSON.stringify(path)}: it has control characters`);
    const hidden = user ? undefined : HIDDEN_FROM_SERVICE.find((directory) => path.startsWith(directory));
    if (hidden !== undefined) {
      throw new UsageError(
        `${path} cannot be run by the service, which has a ${hidden} of its own: put it somewhere else`,
      );
    }
  }
}

/** The service has capabilities that its program's owner need not have: root should know who that is. */
function warnOfOtherOwners({ node, program, complain }: Machine): void {
  for (const path of [node, program]) {
    const open = isThere(path) ? writableByOthers(path) : null;
    if (open !== null)
      complain(`warning: not only root can change ${open}, and so what the service runs with its capabilities`);
  }
}
