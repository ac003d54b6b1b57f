import { join } from 'node:path';
import { historyDirectory, systemStateDirectories } from '../history/store.ts';

/** The unit's name in systemctl. */
export const UNIT = 'clay-reaper.service';

/** systemd.unit(5): settings in `<unit>.d/` add to the unit. */
const TRIAL_DROP_IN = `${UNIT}.d/trial.conf`;

/** The files and directories of an installation, absolute. */
export type InstallPaths = {
  /** The name of the unit template in the package. */
  readonly template: string;
  readonly unit: string;
  /** The drop-in of a trial, beside the unit. */
  readonly trial: string;
  readonly config: string;
  /** The directories of the history that `uninstall` may remove. */
  readonly state: readonly string[];
};

/** The user who runs `install`, and their environment. */
export type UserContext = { readonly home: string; readonly env: NodeJS.ProcessEnv; readonly euid: number };

/** The paths of the system service. `root` is /, or another directory in tests. */
export function systemPaths(root: string): InstallPaths {
  const { link, target } = systemStateDirectories(root);
  return {
    template: 'clay-reaper.service',
    unit: join(root, 'etc/systemd/system', UNIT),
    trial: join(root, 'etc/systemd/system', TRIAL_DROP_IN),
    config: join(root, 'etc/clay-reaper/config.toml'),
    state: [link, target],
  };
}

/** The paths of a user's own service: systemd.unit(5), XDG Base Directory Specification. */
export function userPaths({ home, env, euid }: UserContext): InstallPaths {
  const config = env.XDG_CONFIG_HOME?.startsWith('/') ? env.XDG_CONFIG_HOME : join(home, '.config');
  return {
    template: 'clay-reaper.user.service',
    unit: join(config, 'systemd/user', UNIT),
    trial: join(config, 'systemd/user', TRIAL_DROP_IN),
    config: join(config, 'clay-reaper/config.toml'),
    // Root's own history is that of the system service, which --user must not touch.
    state: euid === 0 ? [] : [historyDirectory({ XDG_STATE_HOME: env.XDG_STATE_HOME, HOME: home }, euid)],
  };
}
