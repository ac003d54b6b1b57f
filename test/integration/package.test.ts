import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

describe('the packed tarball', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'clay-reaper-package-'));
    // Without scripts: `prepack` would build again.
    execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder], { cwd: root });
    const [tarball = ''] = readdirSync(folder);
    execFileSync('tar', ['--extract', '--gzip', '--file', join(folder, tarball), '--directory', folder]);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const run = (...args: string[]) =>
    spawnSync(process.execPath, [join(folder, 'package/dist/clay-reaper.js'), ...args], {
      env: { PATH: process.env.PATH, HOME: folder, STATE_DIRECTORY: folder, CLAY_HOME: folder },
      encoding: 'utf8',
      timeout: 20_000,
    });

  it('contains the program, its packages, licenses and man page, the units, and nothing of the sources', () => {
    const files = readdirSync(join(folder, 'package'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(join(folder, 'package/').length));
    expect(files.sort()).toEqual([
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'dist/LICENSES.txt',
      'dist/clay-reaper.8',
      'dist/clay-reaper.js',
      'dist/cli-table3.js',
      'dist/completion.js',
      'dist/croner.js',
      'dist/package.json',
      'dist/pidusage.js',
      'dist/pino-pretty.js',
      'dist/pino.js',
      'dist/program.js',
      'dist/prom-client.js',
      'dist/prompt.js',
      'dist/smol-toml.js',
      'dist/status.js',
      'docs/alerts.yml',
      'package.json',
      'systemd/clay-reaper.service',
      'systemd/clay-reaper.user.service',
      'systemd/config.toml',
    ]);
  });

  it('runs without node_modules', () => {
    expect(run('--version')).toMatchObject({ status: 0, stderr: '' });
    expect(run('status', '--json', '--clay-home', folder)).toMatchObject({ status: 3 });
    expect(run('install', '--user', '--dry-run').stdout).toContain('ExecStart=');
  });
});
