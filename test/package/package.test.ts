import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'clay-reaper-package-'));
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
const tarball = join(folder, `clay-reaper-${version}.tgz`);

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { cwd: root, encoding: 'utf8' });

beforeAll(() => void run('npm', 'pack', '--silent', '--pack-destination', folder));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('npm package', () => {
  // npm 10 comes with Node 20 and 22, npm 11 with Node 24.
  it.each(['10', '11'])('is installed by npm %s without a warning, with its program and man page', (major) => {
    const prefix = join(folder, `npm${major}`);
    const install = [
      'install',
      '--global',
      '--prefix',
      prefix,
      '--no-audit',
      '--no-fund',
      '--no-update-notifier',
      tarball,
    ];
    const { status, stderr } = spawnSync('npx', ['--yes', `npm@${major}`, ...install], {
      cwd: folder,
      encoding: 'utf8',
      env: { PATH: process.env.PATH, HOME: process.env.HOME },
    });
    // What npm 10 knows and npm 11 does not may stand in the configuration of this machine.
    const warnings = stderr
      .split('\n')
      .filter((line) => line.includes('npm warn') && !/npm warn Unknown \w+ config /.test(line));
    expect({ status, warnings }).toEqual({ status: 0, warnings: [] });
    expect(run(join(prefix, 'bin/clay-reaper'), '--version')).toContain(version);
    // As man(1) finds it: man --where clay-reaper.
    expect(readFileSync(join(prefix, 'share/man/man8/clay-reaper.8'), 'utf8')).toMatch(/^\.TH CLAY/im);
  });

  it('has links to its repository, and a provenance when it is published', () => {
    const manifest = JSON.parse(run('tar', '-xzOf', tarball, 'package/package.json')) as Record<string, unknown>;
    expect(manifest).toMatchObject({
      repository: { type: 'git', url: expect.stringMatching(/^git\+https:.*\.git$/) },
      bugs: { url: expect.stringMatching(/^https:/) },
      homepage: expect.stringMatching(/^https:/),
      publishConfig: { access: 'public', provenance: true },
      man: ['dist/clay-reaper.8'],
    });
    expect(manifest).not.toHaveProperty('dependencies');
    // npm 11 warns of these when somebody installs the package.
    for (const script of ['preinstall', 'install', 'postinstall', 'prepare'])
      expect(manifest.scripts).not.toHaveProperty(script);
    // "npm ci" in a clone builds the program: npm runs this one there, and warns of it nowhere.
    expect(manifest.scripts).toHaveProperty('postprepare', 'npm run build');
  });
});

describe('Debian package', () => {
  const deb = join(folder, `clay-reaper_${version}_all.deb`);
  beforeAll(() => void run('npm', 'run', '--silent', 'deb', '--', tarball, folder));

  it('needs Node 20, and says where it comes from', () => {
    expect(run('dpkg-deb', '--field', deb, 'Version', 'Depends', 'Architecture')).toBe(
      `Version: ${version}\nDepends: nodejs (>= 20), procps\nArchitecture: all\n`,
    );
  });

  it('has its files where Debian expects them, owned by root', () => {
    const lines = run('dpkg-deb', '--contents', deb).trim().split('\n');
    expect(lines.filter((line) => !line.includes(' root/root '))).toEqual([]);
    const files = lines.filter((line) => !line.startsWith('d')).map((line) => line.replace(/^.* \.\//, ''));
    expect(files).toEqual(
      expect.arrayContaining([
        'etc/clay-reaper/config.toml',
        'usr/bin/clay-reaper -> ../lib/clay-reaper/dist/clay-reaper.js',
        'usr/lib/clay-reaper/dist/clay-reaper.js',
        'usr/lib/systemd/system/clay-reaper.service',
        'usr/share/doc/clay-reaper/alerts.yml',
        'usr/share/doc/clay-reaper/changelog.gz',
        'usr/share/doc/clay-reaper/copyright',
        'usr/share/man/man8/clay-reaper.8.gz',
      ]),
    );
    // Writable for root only, whatever the umask of the builder.
    expect(lines.filter((line) => /^[d-].{4}w|^[d-].{7}w/.test(line))).toEqual([]);
  });

  it('keeps an edited configuration when it is upgraded or removed', () => {
    expect(run('dpkg-deb', '--info', deb, 'conffiles')).toBe('/etc/clay-reaper/config.toml\n');
  });

  it('has a unit that starts its own program with the Node of Debian', () => {
    const unit = run(
      'sh',
      '-c',
      `dpkg-deb --fsys-tarfile ${deb} | tar -xO ./usr/lib/systemd/system/clay-reaper.service`,
    );
    expect(unit).toMatch(
      /^ExecStart=\/usr\/bin\/env \/usr\/bin\/node .* \/usr\/lib\/clay-reaper\/dist\/clay-reaper\.js run$/m,
    );
  });
});
