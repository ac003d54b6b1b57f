import { join } from 'node:path';
import { historyDirectory } from '../service/history.ts';

/** The name that all of systemctl knows the service by. */
export const UNIT = 'clay-reaper.service';

/** Where the parts of an installation are. */
export type Places = {
  /** The template's name in the package. */
  readonly template: string;
  readonly unit: string;
  readonly config: string;
  /** What holds the history. More than one: systemd keeps a dynamic user's elsewhere, and a link to it. */
  readonly state: readonly string[];
};

/** Who is asking, and what their environment says. */
export type Person = { readonly home: string; readonly env: NodeJS.ProcessEnv; readonly euid: number };

/** The places of the system service. `root` is /, or what stands in for it. */
export function systemPlaces(root: string): Places {
  return {
    template: 'clay-reaper.service',
    unit: join(root, 'etc/systemd/system', UNIT),
    config: join(root, 'etc/clay-reaper/config.toml'),
    // systemd.exec(5), DynamicUser=: the link first.
    state: [join(root, 'var/lib/clay-reaper'), join(root, 'var/lib/private/clay-reaper')],
  };
}

/** The places of a user's own service: systemd.unit(5), XDG base directories. */
export function userPlaces({ home, env, euid }: Person): Places {
  const config = env.XDG_CONFIG_HOME?.startsWith('/') ? env.XDG_CONFIG_HOME : join(home, '.config');
  return {
    template: 'clay-reaper.user.service',
    unit: join(config, 'systemd/user', UNIT),
    config: join(config, 'clay-reaper/config.toml'),
    state: [historyDirectory({ XDG_STATE_HOME: env.XDG_STATE_HOME, HOME: home }, euid)],
  };
}
