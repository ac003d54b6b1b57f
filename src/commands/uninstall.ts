import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { UsageError } from '../config/load.ts';
import type { Machine } from '../install/machine.ts';
import { type Places, systemPlaces, UNIT, userPlaces } from '../install/places.ts';
import { isThere, perform, preview, readText, type Step, tryToPlan } from '../install/steps.ts';
import { originOf } from '../install/unit-file.ts';

export type UninstallOptions = { readonly user?: boolean; readonly purge?: boolean; readonly dryRun?: boolean };

/** `uninstall`: takes away what `install` put there. Gives the exit status; throws a {@link UsageError} before anything is changed. */
export async function uninstall(options: UninstallOptions, machine: Machine): Promise<number> {
  if (machine.euid !== 0 && !options.user && !options.dryRun) {
    throw new UsageError('only root can remove the system service: use sudo, or --user for your own');
  }
  const places = options.user ? userPlaces(machine) : systemPlaces(machine.root);
  const steps = tryToPlan(() => planUninstall(options, machine, places));
  if (typeof steps === 'string') {
    machine.complain(`nothing was removed: ${steps}`);
    return 1;
  }
  if (steps.length === 0) machine.print('nothing is installed');
  if (options.dryRun) {
    preview(steps, machine);
    return 0;
  }
  const failure = await perform(steps, machine);
  if (failure === undefined) return 0;
  machine.complain(`not everything was removed: ${failure}`);
  return 1;
}

/** What has to be done, given what is there. An edited configuration and the history are kept unless they are to be purged. */
export function planUninstall(options: UninstallOptions, machine: Machine, places: Places): Step[] {
  return [
    ...removeUnit(options, machine, places.unit),
    ...removeConfig(options, places.config),
    ...removeState(options, places.state),
  ];
}

function removeUnit({ user }: UninstallOptions, { isUp }: Machine, path: string): Step[] {
  const scope = user ? ['--user'] : [];
  const origin = originOf(readText(path));
  if (origin === 'missing') return [];
  if (origin === 'foreign') return [{ do: 'keep', path, why: 'it is not from "clay-reaper install"' }];
  const dropIns: Step[] = isThere(`${path}.d`) ? [{ do: 'keep', path: `${path}.d`, why: 'your own settings' }] : [];
  // ~/.config/systemd need not have been there before.
  const emptyDirectories = user
    ? [dirname(path), dirname(dirname(path))].map((directory): Step => ({ do: 'remove-if-empty', path: directory }))
    : [];
  if (!isUp) {
    // A user's links can only be made and removed by their running systemd.
    const disable: Step = { do: 'systemctl', args: [...scope, 'disable', UNIT], ...(user ? { mayFail: true } : {}) };
    return [disable, { do: 'remove', path }, ...dropIns, ...emptyDirectories];
  }
  return [
    { do: 'systemctl', args: [...scope, 'disable', '--now', UNIT] },
    { do: 'remove', path },
    { do: 'systemctl', args: [...scope, 'daemon-reload'] },
    // Where the last run failed, systemd would remember the name for ever. Where it did not, it does not know the name.
    { do: 'systemctl', args: [...scope, 'reset-failed', UNIT], mayFail: true },
    ...dropIns,
    ...emptyDirectories,
  ];
}

function removeConfig({ purge }: UninstallOptions, path: string): Step[] {
  const origin = originOf(readText(path));
  if (origin !== 'missing' && origin !== 'ours' && !purge) {
    return [{ do: 'keep', path, why: 'it was edited; --purge removes it' }];
  }
  // systemd makes the directory even where there is no file.
  const steps: Step[] = [
    { do: 'remove', path },
    { do: 'remove-if-empty', path: dirname(path) },
  ];
  return isThere(path) || isThere(dirname(path)) ? steps : [];
}

function removeState({ purge }: UninstallOptions, paths: readonly string[]): Step[] {
  const there = paths.filter(isThere);
  const isEmpty = there.every((path) => readdirSync(path).length === 0);
  if (purge || isEmpty) return there.map((path) => ({ do: 'remove', path }));
  return there.slice(0, 1).map((path) => ({ do: 'keep', path, why: 'the history; --purge removes it' }));
}
