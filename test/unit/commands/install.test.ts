import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { install as runInstall } from '../../../src/commands/install.ts';
import { uninstall as runUninstall } from '../../../src/commands/uninstall.ts';
import { parseConfigFile, UsageError } from '../../../src/config/load.ts';
import { SETTING_KEYS, SETTINGS } from '../../../src/config/settings.ts';
import { historyRecord } from '../../../src/history/record.ts';
import { appendHistory, type HistoryRecord, readHistory } from '../../../src/history/store.ts';
import type { InstallContext } from '../../../src/install/context.ts';
import type { Effects } from '../../../src/install/execute.ts';
import type { InstallOptions, UninstallOptions } from '../../../src/install/plan.ts';
import { provenanceOf, withChecksum } from '../../../src/install/unit-file.ts';
import { reapedAs } from '../../helpers/assessment.ts';

const templates = fileURLToPath(new URL('../../../systemd', import.meta.url));
const template = (name: string): string => readFileSync(join(templates, name), 'utf8');

let root: string;
let printed: string[];
let errors: string[];
let ran: string[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'clay-reaper-install-'));
  [printed, errors, ran] = [[], [], []];
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => errors.push(String(text).trimEnd()) > 0);
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(root, { recursive: true, force: true });
});

const contextWith = (change: Partial<InstallContext> = {}): InstallContext => ({
  root,
  env: {},
  euid: 0,
  home: join(root, 'home'),
  templates,
  systemdRunning: true,
  systemdVersion: 252,
  node: '/usr/bin/node',
  program: '/usr/lib/node_modules/clay-reaper/dist/clay-reaper.js',
  ...change,
});
const effects = (systemctl: Effects['systemctl']): Effects => ({ systemctl, print: (text) => void printed.push(text) });
const recorded = (): Effects => effects(async (args) => void ran.push(args.join(' ')));
const install = (options: InstallOptions, context = contextWith(), through = recorded()): Promise<number> =>
  runInstall(options, context, through);
const uninstall = (options: UninstallOptions, context = contextWith(), through = recorded()): Promise<number> =>
  runUninstall(options, context, through);
const context = { atMs: Date.UTC(2026, 10, 22), userNames: new Map(), titles: new Map() };
const unit = (): string => join(root, 'etc/systemd/system/clay-reaper.service');
const config = (): string => join(root, 'etc/clay-reaper/config.toml');
const files = (): string[] =>
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => !lstatSync(join(root, path)).isDirectory())
    .sort();
const write = (path: string, text: string): void => {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
};

/** Where the tests run as root, which may look at everything, acts as nobody meanwhile. */
async function asOrdinaryUser(act: () => Promise<void>): Promise<void> {
  const isRoot = process.geteuid?.() === 0;
  chmodSync(root, 0o755);
  if (isRoot) process.seteuid?.(65_534);
  try {
    await act();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

describe('systemd/config.toml', () => {
  it('shows every setting with its default', () => {
    const uncommented = template('config.toml').replace(/^#(?=\w+ = )/gm, '');
    const shown = parseConfigFile(uncommented, 'config.toml');
    expect([...shown.keys()].sort()).toEqual([...SETTING_KEYS].sort());
    for (const key of SETTING_KEYS) {
      // A setting that is unset has no default to show.
      if (SETTINGS[key].default !== null) expect({ [key]: shown.get(key) }).toEqual({ [key]: SETTINGS[key].default });
    }
  });
  it('sets nothing until a line is uncommented', () => {
    expect([...parseConfigFile(template('config.toml'), 'config.toml').keys()]).toEqual([]);
  });
});

describe('install', () => {
  it('writes the unit and the configuration, and reloads systemd', async () => {
    expect(await install({})).toBe(0);
    expect(files()).toEqual(['etc/clay-reaper/config.toml', 'etc/systemd/system/clay-reaper.service']);
    expect(lstatSync(unit()).mode & 0o777).toBe(0o644);
    expect(ran).toEqual(['daemon-reload']);
    expect(printed.at(-1)).toContain('systemctl enable --now clay-reaper');
  });
  it('enables and restarts the service with --now', async () => {
    await install({ now: true });
    expect(ran).toEqual(['daemon-reload', 'enable clay-reaper.service', 'restart clay-reaper.service']);
  });
  it('replaces files of an older version that were not edited', async () => {
    write(unit(), withChecksum('[Unit]\n# older\n'));
    write(config(), withChecksum('# older\n'));
    await install({});
    expect(readFileSync(unit(), 'utf8')).not.toContain('older');
    expect(readFileSync(config(), 'utf8')).not.toContain('older');
  });
  it.each([
    ['edited', `${withChecksum('[Unit]\n')}# mine\n`],
    ['not written by install', '[Unit]\n# mine\n'],
  ])('keeps files that were %s, and replaces them with --force', async (_, text) => {
    write(unit(), text);
    write(config(), text);
    expect(await install({})).toBe(0);
    expect([unit(), config()].map((path) => readFileSync(path, 'utf8'))).toEqual([text, text]);
    expect(printed.filter((line) => /^kept .*--force replaces it/.test(line))).toHaveLength(2);
    await install({ force: true });
    expect([unit(), config()].map((path) => provenanceOf(readFileSync(path, 'utf8')))).toEqual(['ours', 'ours']);
  });
  it('keeps a masked unit masked', async () => {
    mkdirSync(dirname(unit()), { recursive: true });
    symlinkSync('/dev/null', unit());
    await install({});
    expect(lstatSync(unit()).isSymbolicLink()).toBe(true);
  });
  it('describes its steps in a dry run without root and changes nothing', async () => {
    expect(await install({ dryRun: true, now: true }, contextWith({ euid: 1000 }))).toBe(0);
    expect(printed.join('\n')).toContain(`would write ${unit()}:\n`);
    expect(printed.join('\n')).toContain('ExecStart=/usr/bin/env /usr/bin/node ');
    expect(printed).toContain('would run systemctl enable clay-reaper.service');
    expect({ files: files(), ran }).toEqual({ files: [], ran: [] });
  });
  it('describes its steps without root where the service has a state that only root may look at', async () => {
    cpSync(templates, join(root, 'templates'), { recursive: true });
    write(join(root, 'var/lib/private/clay-reaper/history.jsonl'), '');
    symlinkSync('private/clay-reaper', join(root, 'var/lib/clay-reaper'));
    chmodSync(join(root, 'var/lib/private'), 0o000);
    const user = contextWith({ euid: 1000, templates: join(root, 'templates') });
    await asOrdinaryUser(async () => {
      expect(() => readdirSync(join(root, 'var/lib/clay-reaper'))).toThrow(/EACCES/);
      expect(await install({ dryRun: true }, user)).toBe(0);
      expect(printed.join('\n')).toContain(`would write ${unit()}:\n`);
      expect(await uninstall({ dryRun: true }, user)).toBe(0);
    });
    expect(printed.at(-1)).toMatch(/^would keep .*\/var\/lib\/clay-reaper \(the history; --purge removes it\)$/);
    chmodSync(join(root, 'var/lib/private'), 0o700);
  });
  it('installs a user service with --user', async () => {
    expect(await install({ user: true, now: true }, contextWith({ euid: 1000 }))).toBe(0);
    expect(files()).toEqual(['home/.config/clay-reaper/config.toml', 'home/.config/systemd/user/clay-reaper.service']);
    expect(ran.every((args) => args.startsWith('--user '))).toBe(true);
    expect(printed.at(-1)).toContain('loginctl enable-linger');
  });
  it.each<[string, Parameters<typeof install>[0], Partial<InstallContext>, RegExp]>([
    ['a trial that is live', { trial: true, live: true }, {}, /give one of them/],
    ['without root', {}, { euid: 1000 }, /only root .* --user/],
    ['--now without systemd', { now: true }, { systemdRunning: false }, /systemd is not running here/],
    ['from the cache of npx', {}, { program: '/root/.npm/_npx/1/x.js' }, /npm install --global/],
    ['from a directory that the service does not see', {}, { node: '/tmp/node' }, /another directory/],
    ['a path of Node that env(1) takes for a variable', {}, { node: '/opt/a=b/node' }, /"=".* move Node/],
    ['from a path that no unit can hold', {}, { program: '/a\nExecStart=/b' }, /control characters/],
  ])('refuses with a usage error: %s', async (_, options, change, message) => {
    await expect(install(options, contextWith(change))).rejects.toThrow(UsageError);
    await expect(install(options, contextWith(change))).rejects.toThrow(message);
    expect(files()).toEqual([]);
  });
  it('writes the files and runs no systemctl where systemd is not running', async () => {
    expect(await install({}, contextWith({ systemdRunning: false }))).toBe(0);
    expect(ran).toEqual([]);
  });
  it('repairs a state directory that keeps the service from starting, and loses no record', async () => {
    const record = (pid: number): HistoryRecord => ({
      ...(historyRecord(reapedAs('terminated'), context) as HistoryRecord),
      pid,
    });
    const [blocking, target] = [join(root, 'var/lib/clay-reaper'), join(root, 'var/lib/private/clay-reaper')];
    for (const directory of [blocking, target]) mkdirSync(directory, { recursive: true });
    appendHistory(blocking, [record(1)]);
    appendHistory(target, [record(2)]);
    await install({});
    expect(existsSync(blocking)).toBe(false);
    expect(
      readHistory(target)
        .records.map(({ pid }) => pid)
        .sort(),
    ).toEqual([1, 2]);
    expect(printed.join('\n')).toContain('kept the service from starting');
  });
  it('runs a trial through a drop-in that --live and uninstall remove', async () => {
    const dropIn = `${unit()}.d/trial.conf`;
    await install({ trial: true });
    expect(readFileSync(dropIn, 'utf8')).toContain('\nEnvironment=CLAY_REAPER_DRY_RUN=true\n');
    expect(ran).toEqual(['daemon-reload', 'try-restart clay-reaper.service']);
    await install({});
    expect(existsSync(dropIn)).toBe(true);
    ran = [];
    await install({ live: true });
    expect(existsSync(dirname(dropIn))).toBe(false);
    expect(ran).toEqual(['daemon-reload', 'try-restart clay-reaper.service']);
    await install({ trial: true });
    await uninstall({});
    expect(files()).toEqual([]);
    expect(existsSync(dirname(dropIn))).toBe(false);
  });
  it('keeps drop-ins that it did not write, with a trial among them', async () => {
    await install({ trial: true });
    write(`${unit()}.d/mine.conf`, '[Service]\n');
    await uninstall({ purge: true });
    expect(files()).toEqual(['etc/systemd/system/clay-reaper.service.d/mine.conf']);
  });
  it('says that dry_run in the configuration outlives a trial', async () => {
    write(config(), 'dry_run = true\n');
    await install({ live: true });
    expect(printed.join('\n')).toContain(`dry_run = true in ${config()} still keeps it from ending anything`);
  });
  it('reports a failed step in one line', async () => {
    const failing = effects(async () => 'Job failed.');
    expect(await install({ now: true }, contextWith(), failing)).toBe(1);
    expect(errors.at(-1)).toBe('clay-reaper: not installed: systemctl daemon-reload: Job failed.');
    rmSync(config());
    mkdirSync(`${config()}/directory`, { recursive: true });
    expect(await install({ force: true })).toBe(1);
    expect(errors.at(-1)).toMatch(/config\.toml: .*\n?$/);
  });
});

describe('uninstall', () => {
  const state = (): string => join(root, 'var/lib/private/clay-reaper');
  const link = (): string => join(root, 'var/lib/clay-reaper');
  const writeHistory = (): void => {
    write(join(state(), 'history.jsonl'), '{}\n');
    symlinkSync('private/clay-reaper', link());
  };

  it('removes everything that install wrote', async () => {
    await install({});
    ran = [];
    expect(await uninstall({})).toBe(0);
    expect(files()).toEqual([]);
    expect(existsSync(dirname(config()))).toBe(false);
    expect(ran).toEqual(['disable --now clay-reaper.service', 'daemon-reload', 'reset-failed clay-reaper.service']);
  });
  it('keeps an edited configuration and the history without --purge', async () => {
    await install({});
    write(config(), 'dry_run = true\n');
    writeHistory();
    await uninstall({});
    expect(files()).toContain('etc/clay-reaper/config.toml');
    expect(files()).toContain('var/lib/private/clay-reaper/history.jsonl');
    expect(lstatSync(link()).isSymbolicLink()).toBe(true);
    expect(existsSync(unit())).toBe(false);
  });
  it('removes an edited configuration and the history with --purge', async () => {
    await install({});
    write(config(), 'dry_run = true\n');
    writeHistory();
    await uninstall({ purge: true });
    expect(files()).toEqual([]);
  });
  it('removes an edited unit, but keeps one that install did not write', async () => {
    await install({});
    write(unit(), `${readFileSync(unit(), 'utf8')}# mine\n`);
    await uninstall({});
    expect(existsSync(unit())).toBe(false);
    write(unit(), '[Unit]\n');
    await uninstall({ purge: true });
    expect(existsSync(unit())).toBe(true);
  });
  it('describes its steps in a dry run and changes nothing', async () => {
    await install({});
    const before = files();
    [printed, ran] = [[], []];
    expect(await uninstall({ dryRun: true }, contextWith({ euid: 1000 }))).toBe(0);
    expect({ files: files(), ran }).toEqual({ files: before, ran: [] });
    expect(printed).toContain(`would remove ${unit()}`);
  });
  it('keeps the unit if the service cannot be stopped', async () => {
    await install({});
    const failing = effects(async () => 'Access denied');
    expect(await uninstall({}, contextWith(), failing)).toBe(1);
    expect(existsSync(unit())).toBe(true);
    expect(errors).toEqual([
      'clay-reaper: not everything was removed: systemctl disable --now clay-reaper.service: Access denied',
    ]);
  });
  it('removes the system service as root only, and a user service as its user', async () => {
    await expect(uninstall({}, contextWith({ euid: 1000 }))).rejects.toThrow(/only root .*--user/);
    const user = contextWith({ euid: 1000 });
    await install({ user: true }, user);
    write(join(root, 'home/.local/state/clay-reaper/history.jsonl'), '{}\n');
    await uninstall({ user: true, purge: true }, user);
    expect(files()).toEqual([]);
    expect(existsSync(join(root, 'home/.config/systemd'))).toBe(false);
  });
  it('never touches the state of the system service with --user, not even as root', async () => {
    writeHistory();
    await install({ user: true });
    await uninstall({ user: true, purge: true });
    expect(existsSync(join(state(), 'history.jsonl'))).toBe(true);
    expect(lstatSync(link()).isSymbolicLink()).toBe(true);
  });
  it('says that nothing is installed', async () => {
    expect(await uninstall({})).toBe(0);
    expect({ printed, ran }).toEqual({ printed: ['nothing is installed'], ran: [] });
  });
});

describe('install and uninstall on unreadable paths', () => {
  it('report the error in one line and change nothing', async () => {
    mkdirSync(join(root, 'etc'));
    symlinkSync('systemd', join(root, 'etc/systemd'));
    expect(await install({})).toBe(1);
    expect(await uninstall({})).toBe(1);
    expect(errors).toEqual([
      expect.stringMatching(/^clay-reaper: not installed: ELOOP.*clay-reaper\.service'$/),
      expect.stringMatching(/^clay-reaper: not everything was removed: ELOOP.*clay-reaper\.service'$/),
    ]);
    expect([printed, ran, files()]).toEqual([[], [], ['etc/systemd']]);
  });
});
