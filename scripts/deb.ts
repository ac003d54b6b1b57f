import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
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
import { dirname, join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import { renderUnit } from '../src/install/unit-file.ts';

// npm run deb -- TARBALL [DIRECTORY]: makes a Debian package of what `npm pack` made, so that both hold the same files.
// Needs dpkg-deb. Prints the path of the package.
const [tarball, out = '.'] = process.argv.slice(2);
if (tarball === undefined) {
  console.error('usage: npm run deb -- TARBALL [DIRECTORY]');
  process.exit(2);
}

const LIBRARY = 'usr/lib/clay-reaper';

type Manifest = { readonly version: string; readonly description: string; readonly homepage: string };

const staging = mkdtempSync(join(tmpdir(), 'clay-reaper-deb-'));
try {
  const unpacked = join(staging, 'unpacked');
  mkdirSync(unpacked);
  execFileSync('tar', ['--extract', '--gzip', '--file', resolve(tarball), '--directory', unpacked]);
  const source = join(unpacked, 'package');
  const manifest = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as Manifest;
  // A pre-release sorts before its release with "~" only: deb-version(7).
  const version = manifest.version.replace('-', '~');
  const tree = join(staging, 'tree');
  stageFiles(source, tree);
  stageControl(tree, version, manifest);
  setModes(tree);
  const target = resolve(out, `clay-reaper_${version}_all.deb`);
  execFileSync('dpkg-deb', ['--root-owner-group', '-Zxz', '--build', tree, target], { stdio: 'ignore' });
  process.stdout.write(`${target}\n`);
} finally {
  rmSync(staging, { recursive: true, force: true });
}

function write(path: string, content: string | Buffer): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

/** Puts the files where the Filesystem Hierarchy Standard and Debian's policy have them. */
function stageFiles(source: string, tree: string): void {
  const read = (name: string): string => readFileSync(join(source, name), 'utf8');
  for (const name of ['dist', 'systemd', 'package.json'])
    cpSync(join(source, name), join(tree, LIBRARY, name), { recursive: true });
  // Both have their own place in /usr/share.
  for (const name of ['clay-reaper.8', 'LICENSES.txt']) rmSync(join(tree, LIBRARY, 'dist', name));

  mkdirSync(join(tree, 'usr/bin'), { recursive: true });
  symlinkSync('../lib/clay-reaper/dist/clay-reaper.js', join(tree, 'usr/bin/clay-reaper'));
  const command = { node: '/usr/bin/node', program: `/${LIBRARY}/dist/clay-reaper.js` };
  // One unit for every release from Debian 12 on, which has this systemd.
  const unit = renderUnit(read('systemd/clay-reaper.service'), command, 252);
  write(join(tree, 'usr/lib/systemd/system/clay-reaper.service'), unit);
  write(join(tree, 'etc/clay-reaper/config.toml'), read('systemd/config.toml'));
  write(join(tree, 'usr/share/man/man8/clay-reaper.8.gz'), gzipSync(read('dist/clay-reaper.8'), { level: 9 }));
  const documents = join(tree, 'usr/share/doc/clay-reaper');
  write(join(documents, 'copyright'), `${read('LICENSE')}\n${read('dist/LICENSES.txt')}`);
  write(join(documents, 'changelog.gz'), gzipSync(read('CHANGELOG.md'), { level: 9 }));
  write(join(documents, 'alerts.yml'), read('docs/alerts.yml'));
}

/** The control files: deb-control(5), deb-conffiles(5), deb-postinst(5), deb-prerm(5), deb-postrm(5). */
function stageControl(tree: string, version: string, { description, homepage }: Manifest): void {
  const control = (name: string, text: string): void => write(join(tree, 'DEBIAN', name), text);
  const installedSize = Math.ceil(filesBelow(tree).reduce((sum, path) => sum + lstatSync(path).size, 0) / 1024);
  control(
    'control',
    `Package: clay-reaper
Version: ${version}
Architecture: all
Maintainer: The clay-reaper authors <clay-reaper@users.noreply.github.com>
Installed-Size: ${installedSize}
Depends: nodejs (>= 20), procps
Recommends: systemd
Suggests: prometheus-node-exporter
Section: admin
Priority: optional
Homepage: ${homepage}
Description: ${description.replace(/^Ends/, 'end').replace(/, and never.*/, '')}
 Clay starts a claude process for each conversation and does not end it.
 clay-reaper ends those that have been idle for long enough. A process that
 may be at work is never ended: anything unknown protects it.
`,
  );
  control('conffiles', '/etc/clay-reaper/config.toml\n');
  // Neither enables nor starts the service: it ends processes, so the administrator decides. An upgrade restarts it.
  control(
    'postinst',
    `#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl try-restart clay-reaper.service
fi
`,
  );
  control(
    'prerm',
    `#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  systemctl disable --now clay-reaper.service
fi
`,
  );
  // The history is data, not configuration: it stays until the package is purged.
  control(
    'postrm',
    `#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
if [ "$1" = purge ]; then
  rm -rf /var/lib/private/clay-reaper /var/lib/clay-reaper
fi
`,
  );
}

/** Everyone may read everything; only programs can be executed. The umask of the builder does not matter. */
function setModes(tree: string): void {
  const programs = ['DEBIAN/postinst', 'DEBIAN/prerm', 'DEBIAN/postrm', `${LIBRARY}/dist/clay-reaper.js`];
  chmodSync(tree, 0o755);
  for (const path of filesBelow(tree)) {
    const stats = lstatSync(path);
    if (stats.isSymbolicLink()) continue;
    const isProgram = stats.isDirectory() || programs.some((name) => path === join(tree, name));
    chmodSync(path, isProgram ? 0o755 : 0o644);
  }
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).map((name) => join(directory, name));
}
