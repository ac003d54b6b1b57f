import {
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
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { install } from '../../src/commands/install.ts';
import { uninstall } from '../../src/commands/uninstall.ts';
import { parseConfigFile, UsageError } from '../../src/config/load.ts';
import { SETTING_KEYS, SETTINGS } from '../../src/config/settings.ts';
import type { Machine } from '../../src/install/machine.ts';
import { originOf, quoteWord, renderUnit, withMark } from '../../src/install/unit-file.ts';

const templates = fileURLToPath(new URL('../../systemd', import.meta.url));
const template = (name: string): string => readFileSync(join(templates, name), 'utf8');

let root: string;
let said: string[];
let complaints: string[];
let ran: string[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'clay-reaper-install-'));
  [said, complaints, ran] = [[], [], []];
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const machine = (change: Partial<Machine> = {}): Machine => ({
  ...{ root, env: {}, euid: 0, home: join(root, 'home'), templates, isUp: true },
  ...{ perl: '/usr/bin/perl', node: '/usr/bin/node', program: '/usr/lib/node_modules/clay-reaper/dist/clay-reaper.js' },
  systemctl: async (args) => void ran.push(args.join(' ')),
  print: (text) => void said.push(text),
  complain: (line) => void complaints.push(line),
  ...change,
});
const unit = (): string => join(root, 'etc/systemd/system/clay-reaper.service');
const config = (): string => join(root, 'etc/clay-reaper/config.toml');
const files = (): string[] =>
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => !lstatSync(join(root, path)).isDirectory())
    .sort();
const put = (path: string, text: string): void => {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
};

describe('a command line in a unit', () => {
  it.each([
    ['/usr/bin/node', '/usr/bin/node'],
    ['/opt/my node', '"/opt/my node"'],
    ['/opt/100%', '/opt/100%%'],
    ['/opt/a"b\\c', '"/opt/a\\"b\\\\c"'],
    ["/opt/it's", '"/opt/it\'s"'],
    ['/opt/ü;#', '"/opt/ü;#"'],
  ])('holds %s as %s', (word, quoted) => {
    expect(quoteWord(word, false)).toBe(quoted);
  });
  it('has $ doubled, but not in the path of the program, where it is nothing special', () => {
    expect(quoteWord('/opt/$HOME', false)).toBe('"/opt/$$HOME"');
    expect(quoteWord('/opt/$HOME', true)).toBe('"/opt/$HOME"');
  });
});

describe('a unit', () => {
  const command = {
    perl: '/usr/bin/perl',
    notifyFd: '/p/systemd/notify-fd.pl',
    node: '/n/node',
    program: '/p/dist/x.js',
  };
  it.each(['clay-reaper.service', 'clay-reaper.user.service'])('made from %s differs in the paths only', (name) => {
    const changed = renderUnit(template(name), command).split('\n');
    const different = template(name)
      .split('\n')
      .flatMap((line, index) => (line === changed[index] ? [] : [changed[index]]));
    expect(different).toEqual([
      'ExecStart=/usr/bin/perl /p/systemd/notify-fd.pl /n/node --expose-gc --single-threaded --no-opt --optimize-for-size --max-semi-space-size=1 --max-old-space-size=128 /p/dist/x.js run',
    ]);
  });
  it('lets child processes notify where there is no perl', () => {
    const text = renderUnit(template('clay-reaper.service'), { ...command, perl: null });
    expect(text).toContain(
      '\nExecStart=/n/node --expose-gc --single-threaded --no-opt --optimize-for-size --max-semi-space-size=1 --max-old-space-size=128 /p/dist/x.js run\n',
    );
    expect(text).toContain('\nNotifyAccess=all\n');
  });
  it('tells later whether it was edited', () => {
    expect(originOf(null)).toBe('missing');
    expect(originOf(withMark('[Unit]\n'))).toBe('ours');
    expect(originOf(`${withMark('[Unit]\n')}#\n`)).toBe('edited');
    expect(originOf('[Unit]\n')).toBe('foreign');
  });
});

describe('the configuration that comes with it', () => {
  it('has a comment for every setting, and shows its default', () => {
    const uncommented = template('config.toml').replace(/^#(?=\w+ = )/gm, '');
    const shown = parseConfigFile(uncommented, 'config.toml');
    expect([...shown.keys()].sort()).toEqual([...SETTING_KEYS].sort());
    for (const key of SETTING_KEYS) {
      // A setting that is unset has no default to show.
      if (SETTINGS[key].default !== null) expect({ [key]: shown.get(key) }).toEqual({ [key]: SETTINGS[key].default });
    }
  });
  it('changes nothing as it is', () => {
    expect([...parseConfigFile(template('config.toml'), 'config.toml').keys()]).toEqual([]);
  });
});

describe('install', () => {
  it('writes the unit and the configuration, and reloads systemd', async () => {
    expect(await install({}, machine())).toBe(0);
    expect(files()).toEqual(['etc/clay-reaper/config.toml', 'etc/systemd/system/clay-reaper.service']);
    expect(lstatSync(unit()).mode & 0o777).toBe(0o644);
    expect(ran).toEqual(['daemon-reload']);
    expect(said.at(-1)).toContain('systemctl enable --now clay-reaper');
  });
  it('starts it too with --now, and replaces a version that runs', async () => {
    await install({ now: true }, machine());
    expect(ran).toEqual(['daemon-reload', 'enable clay-reaper.service', 'restart clay-reaper.service']);
  });
  it('puts a new version in the place of an old one that nobody has edited', async () => {
    put(unit(), withMark('[Unit]\n# older\n'));
    put(config(), withMark('# older\n'));
    await install({}, machine());
    expect(readFileSync(unit(), 'utf8')).not.toContain('older');
    expect(readFileSync(config(), 'utf8')).not.toContain('older');
  });
  it.each([
    ['edited', `${withMark('[Unit]\n')}# mine\n`],
    ['written by someone else', '[Unit]\n# mine\n'],
  ])('keeps what was %s, unless it is told not to', async (_, text) => {
    put(unit(), text);
    put(config(), text);
    expect(await install({}, machine())).toBe(0);
    expect([unit(), config()].map((path) => readFileSync(path, 'utf8'))).toEqual([text, text]);
    expect(said.filter((line) => /^kept .*--force replaces it/.test(line))).toHaveLength(2);
    await install({ force: true }, machine());
    expect([unit(), config()].map((path) => originOf(readFileSync(path, 'utf8')))).toEqual(['ours', 'ours']);
  });
  it('keeps a masked unit masked', async () => {
    mkdirSync(dirname(unit()), { recursive: true });
    symlinkSync('/dev/null', unit());
    await install({}, machine());
    expect(lstatSync(unit()).isSymbolicLink()).toBe(true);
  });
  it('says what it would do, and does none of it, in a dry run, for which one need not be root', async () => {
    expect(await install({ dryRun: true, now: true }, machine({ euid: 1000 }))).toBe(0);
    expect(said.join('\n')).toContain(`would write ${unit()}:\n`);
    expect(said.join('\n')).toContain('ExecStart=/usr/bin/perl');
    expect(said).toContain('would run systemctl enable clay-reaper.service');
    expect({ files: files(), ran }).toEqual({ files: [], ran: [] });
  });
  it('is for the user alone with --user', async () => {
    expect(await install({ user: true, now: true }, machine({ euid: 1000 }))).toBe(0);
    expect(files()).toEqual(['home/.config/clay-reaper/config.toml', 'home/.config/systemd/user/clay-reaper.service']);
    expect(ran.every((args) => args.startsWith('--user '))).toBe(true);
    expect(said.at(-1)).toContain('loginctl enable-linger');
  });
  it.each<[string, Parameters<typeof install>[0], Partial<Machine>, RegExp]>([
    ['without root', {}, { euid: 1000 }, /only root .* --user/],
    ['--now without systemd', { now: true }, { isUp: false }, /systemd is not running/],
    ['from the cache of npx', {}, { program: '/root/.npm/_npx/1/x.js' }, /npm install --global/],
    ['from a directory that the service does not see', {}, { node: '/tmp/node' }, /somewhere else/],
    ['from a path that no unit can hold', {}, { program: '/a\nExecStart=/b' }, /control characters/],
  ])('refuses: %s', async (_, options, change, message) => {
    await expect(install(options, machine(change))).rejects.toThrow(UsageError);
    await expect(install(options, machine(change))).rejects.toThrow(message);
    expect(files()).toEqual([]);
  });
  it('only writes the files where systemd does not run', async () => {
    expect(await install({}, machine({ isUp: false }))).toBe(0);
    expect(ran).toEqual([]);
  });
  it('says in one line what failed', async () => {
    const failing = machine({ systemctl: async () => 'Job failed.' });
    expect(await install({ now: true }, failing)).toBe(1);
    expect(complaints.at(-1)).toBe('not installed: systemctl daemon-reload: Job failed.');
    rmSync(config());
    mkdirSync(`${config()}/directory`, { recursive: true });
    expect(await install({ force: true }, machine())).toBe(1);
    expect(complaints.at(-1)).toMatch(/config\.toml: .*\n?$/);
  });
});

describe('uninstall', () => {
  const state = (): string => join(root, 'var/lib/private/clay-reaper');
  const link = (): string => join(root, 'var/lib/clay-reaper');
  const putHistory = (): void => {
    put(join(state(), 'history.jsonl'), '{}\n');
    symlinkSync('private/clay-reaper', link());
  };

  it('takes away what install put there', async () => {
    await install({}, machine());
    ran = [];
    expect(await uninstall({}, machine())).toBe(0);
    expect(files()).toEqual([]);
    expect(existsSync(dirname(config()))).toBe(false);
    expect(ran).toEqual(['disable --now clay-reaper.service', 'daemon-reload', 'reset-failed clay-reaper.service']);
  });
  it('keeps an edited configuration and the history', async () => {
    await install({}, machine());
    put(config(), 'dry_run = true\n');
    putHistory();
    await uninstall({}, machine());
    expect(files()).toContain('etc/clay-reaper/config.toml');
    expect(files()).toContain('var/lib/private/clay-reaper/history.jsonl');
    expect(lstatSync(link()).isSymbolicLink()).toBe(true);
    expect(existsSync(unit())).toBe(false);
  });
  it('keeps neither with --purge', async () => {
    await install({}, machine());
    put(config(), 'dry_run = true\n');
    putHistory();
    await uninstall({ purge: true }, machine());
    expect(files()).toEqual([]);
  });
  it('removes an edited unit, but not one that install did not write', async () => {
    await install({}, machine());
    put(unit(), `${readFileSync(unit(), 'utf8')}# mine\n`);
    await uninstall({}, machine());
    expect(existsSync(unit())).toBe(false);
    put(unit(), '[Unit]\n');
    await uninstall({ purge: true }, machine());
    expect(existsSync(unit())).toBe(true);
  });
  it('does nothing, and says what it would do, in a dry run', async () => {
    await install({}, machine());
    const before = files();
    [said, ran] = [[], []];
    expect(await uninstall({ dryRun: true }, machine({ euid: 1000 }))).toBe(0);
    expect({ files: files(), ran }).toEqual({ files: before, ran: [] });
    expect(said).toContain(`would remove ${unit()}`);
  });
  it('stops before it removes a unit whose service it cannot stop', async () => {
    await install({}, machine());
    expect(await uninstall({}, machine({ systemctl: async () => 'Access denied' }))).toBe(1);
    expect(existsSync(unit())).toBe(true);
    expect(complaints).toEqual([
      'not everything was removed: systemctl disable --now clay-reaper.service: Access denied',
    ]);
  });
  it('is for root, and for users their own', async () => {
    await expect(uninstall({}, machine({ euid: 1000 }))).rejects.toThrow(/only root .*--user/);
    const user = machine({ euid: 1000 });
    await install({ user: true }, user);
    put(join(root, 'home/.local/state/clay-reaper/history.jsonl'), '{}\n');
    await uninstall({ user: true, purge: true }, user);
    expect(files()).toEqual([]);
    expect(existsSync(join(root, 'home/.config/systemd'))).toBe(false);
  });
  it('finds nothing to do where nothing is installed', async () => {
    expect(await uninstall({}, machine())).toBe(0);
    expect({ said, ran }).toEqual({ said: ['nothing is installed'], ran: [] });
  });
});

describe('what cannot even be looked at', () => {
  it('is said in one line, and nothing is changed', async () => {
    mkdirSync(join(root, 'etc'));
    symlinkSync('systemd', join(root, 'etc/systemd'));
    expect(await install({}, machine())).toBe(1);
    expect(await uninstall({}, machine())).toBe(1);
    expect(complaints).toEqual([
      expect.stringMatching(/^not installed: ELOOP.*clay-reaper\.service'$/),
      expect.stringMatching(/^nothing was removed: ELOOP.*clay-reaper\.service'$/),
    ]);
    expect([said, ran, files()]).toEqual([[], [], ['etc/systemd']]);
  });
});
