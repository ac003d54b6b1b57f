import type { Host } from './boot.ts';
import { installPackage } from './package.ts';

/** A line of the service's log. */
export type LogLine = { readonly event: string; readonly [field: string]: unknown };

/** The service of a machine, as its administrator installs it. */
export type InstalledService = {
  /** Starts it again: it has seen nothing yet. */
  readonly restart: () => Promise<void>;
  /** A property of the unit. */
  readonly show: (property: string) => Promise<string>;
  /** Where the journal of the machine ends now. */
  readonly cursorNow: () => Promise<string>;
  /** All that the service has logged since a line of its journal. */
  readonly loggedSince: (cursor: string) => Promise<LogLine[]>;
  /** Starts a second service, which watches one home and ends nothing; gives what it has logged since a line of the journal. */
  readonly startControl: (home: string) => Promise<(cursor: string) => Promise<LogLine[]>>;
};

/** Installs this package, and starts the service with a configuration (`log.format = "json"`). */
export async function installService(host: Host, config: string): Promise<InstalledService> {
  await installPackage(host);
  await host.ok(`clay-reaper install && cat >/etc/clay-reaper/config.toml <<'END'\n${config}\nEND`);
  await host.ok('systemctl enable --now clay-reaper');
  const loggedBy =
    (name: string) =>
    async (cursor: string): Promise<LogLine[]> => {
      const lines = await host.ok(
        `journalctl --unit ${name} --output cat --quiet --after-cursor '${cursor}' SYSLOG_IDENTIFIER=${name}`,
      );
      return lines
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as LogLine);
    };
  return {
    restart: async () => void (await host.ok('systemctl restart clay-reaper')),
    show: async (property) => (await host.ok(`systemctl show --property ${property} --value clay-reaper`)).trim(),
    cursorNow: async () =>
      (await host.ok('journalctl --quiet --lines 1 --show-cursor --output cat')).split('-- cursor: ')[1]?.trim() ?? '',
    loggedSince: loggedBy('clay-reaper'),
    startControl: async (home) => {
      const command = `s@^ExecStart=.* run$@& --dry-run --clay-home ${home}@`;
      const names = 's@^(StateDirectory|RuntimeDirectory|SyslogIdentifier)=.*@\\1=control@';
      await host.ok(
        `cd /etc/systemd/system && sed -E -e '${command}' -e '${names}' clay-reaper.service >control.service`,
      );
      await host.ok('systemctl daemon-reload && systemctl start control');
      return loggedBy('control');
    },
  };
}
