import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkPackage, daemonInstallation, runsScriptOf, runsSetuidProgram } from '../../../src/clay/installation.ts';
import { noLimit } from '../../helpers/budget.ts';
import { type FakeProc, fakeProc } from '../../helpers/fake-proc.ts';

const FOLDER = '/usr/lib/node_modules/clay-server';
let dir: string;
let proc: FakeProc;
beforeEach(() => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), 'clay-reaper-package-')));
  proc = fakeProc();
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
  proc.end();
});
const run = (cmdline: readonly string[], cwd = '/srv'): void => {
  proc.put({ pid: 7, comm: 'node', cmdline, cwd });
  symlinkSync('/', join(proc.root, '7/root'));
};

describe('daemonInstallation', () => {
  const folderOf = (cmdline: readonly string[], cwd?: string): string | null | undefined => {
    run(cmdline, cwd);
    const installation = daemonInstallation(proc.root, 7, noLimit);
    return installation.ok ? (installation.value?.folder ?? null) : undefined;
  };
  it.each([
    [['node', `${FOLDER}/lib/daemon.js`], FOLDER],
    [['/usr/bin/node', '--max-old-space-size=512', `${FOLDER}/lib/daemon.js`, '--port', '2633'], FOLDER],
    [['node', '-r', '/srv/hook.js', `${FOLDER}/lib/daemon.js`], FOLDER],
    [['node', '/opt/x/../clay-server/lib/daemon.js'], '/opt/clay-server'],
    [
      ['node', '/root/.npm/_npx/0f1e/node_modules/clay-server/lib/daemon.js'],
      '/root/.npm/_npx/0f1e/node_modules/clay-server',
    ],
    [['node', `${FOLDER}/bin/cli.js`, '--debug'], FOLDER],
    [['node', '', `${FOLDER}/lib/daemon.js`], FOLDER],
    // As a title, that pm2 sets.
    [[`node ${FOLDER}/lib/daemon.js`, '', ''], FOLDER],
    [['bun /srv/my apps/clay-server/lib/daemon.js'], '/srv/my apps/clay-server'],
    [[`node ${FOLDER}/bin/cli.js --debug`], FOLDER],
  ])('finds the installation in %j', (cmdline, expected) => expect(folderOf(cmdline)).toBe(expected));
  it('resolves a relative path from where the process works', () => {
    expect(folderOf(['node', 'lib/daemon.js'], '/opt/clay-server')).toBe('/opt/clay-server');
  });
  it('follows the link that npm makes for a command', () => {
    mkdirSync(join(dir, 'clay-server/bin'), { recursive: true });
    writeFileSync(join(dir, 'clay-server/bin/cli.js'), '');
    mkdirSync(join(dir, 'bin'));
    symlinkSync(join(dir, 'clay-server/bin/cli.js'), join(dir, 'bin/clay-server'));
    expect(folderOf(['node', join(dir, 'bin/clay-server'), '--debug'])).toBe(join(dir, 'clay-server'));
  });
  it.each([
    [['node', '/opt/clay-server/lib/server.js']],
    [['node', '/opt/clay-server/lib/daemon.js.bak']],
    [['node', '/opt/clay-server/xlib/daemon.js']],
    [[`${FOLDER}/lib/daemon.js`]],
    [['node /opt/clay-server/lib/server.js']],
    [[`node ${'x '.repeat(100)}${FOLDER}/lib/daemon.js.bak`]],
    [[]],
  ])('returns null for %j', (cmdline) => expect(folderOf(cmdline)).toBeNull());
  it('reads name and release from package.json, and does without it', () => {
    run(['node', `${dir}/lib/daemon.js`]);
    const read = () => daemonInstallation(proc.root, 7, noLimit);
    expect(read()).toMatchObject({ value: { packageName: null, release: null } });
    writeFileSync(join(dir, 'package.json'), '{"name":"clay-server","version":"4.8.0"}');
    expect(read()).toMatchObject({ value: { packageName: 'clay-server', release: '4.8.0' } });
    for (const content of ['{"name":["clay-server"]}', 'clay-server', '']) {
      writeFileSync(join(dir, 'package.json'), content);
      expect(read(), content).toMatchObject({ value: { packageName: null } });
    }
  });
  it('returns not-found if the process is gone', () => {
    expect(daemonInstallation(proc.root, 8, noLimit)).toMatchObject({ ok: false, failure: { code: 'not-found' } });
  });
});

describe('checkPackage', () => {
  const check = (folder: string, packageName: string | null, trusted: readonly string[] = []) =>
    checkPackage({ folder, packageName, release: null }, trusted);
  it('trusts clay-server wherever it is, and a folder of that name without package.json', () => {
    expect(check('/srv/checkout', 'clay-server').ok).toBe(true);
    expect(check(FOLDER, null).ok).toBe(true);
  });
  it('refuses another package, also in a folder called clay-server, and names the setting', () => {
    expect(check(FOLDER, 'clay-fork')).toMatchObject({
      failure: { detail: expect.stringContaining('[trust] packages = ["clay-fork"]') },
    });
    expect(check('/srv/other', null).ok).toBe(false);
  });
  it('trusts the packages of the configuration', () => {
    expect(check('/x/clay-fork', 'clay-fork', ['clay-fork']).ok).toBe(true);
  });
});

describe('runsScriptOf', () => {
  const isWorker = (cmdline: readonly string[], folder = FOLDER): boolean => {
    run(cmdline);
    return runsScriptOf({ folder }, proc.root, 7, noLimit);
  };
  it.each(['lib/sdk-worker.js', 'lib/yoke/adapters/claude-worker.js', 'lib/a/third.mjs'])(
    'is true for %s',
    (script) => {
      expect(isWorker(['/usr/bin/node', '--no-warnings', `${FOLDER}/${script}`, '/tmp/w.sock'])).toBe(true);
    },
  );
  it.each([
    ['a script of another installation', '/home/eve/clay-server/lib/sdk-worker.js'],
    ['a script beside lib/', `${FOLDER}/bin/cli.js`],
    ['a path that leads out of lib/', `${FOLDER}/lib/../../evil.js`],
    ['a folder whose name begins alike', `${FOLDER}/library/x.js`],
  ])('is false for %s', (_, script) => expect(isWorker(['node', script])).toBe(false));
  it('compares real paths where one of the two is a link', () => {
    mkdirSync(join(dir, 'real/lib'), { recursive: true });
    writeFileSync(join(dir, 'real/lib/worker.js'), '');
    symlinkSync(join(dir, 'real'), join(dir, 'link'));
    expect(isWorker(['node', join(dir, 'real/lib/worker.js')], join(dir, 'link'))).toBe(true);
  });
  it('is false for a process that is gone', () => {
    expect(runsScriptOf({ folder: FOLDER }, proc.root, 99, noLimit)).toBe(false);
  });
});

describe('runsSetuidProgram', () => {
  it('recognises a program with a setuid bit', () => {
    run(['x']);
    writeFileSync(join(dir, 'program'), '');
    symlinkSync(join(dir, 'program'), join(proc.root, '7/exe'));
    expect(runsSetuidProgram(proc.root, 7, noLimit)).toBe(false);
    chmodSync(join(dir, 'program'), 0o4755);
    expect(runsSetuidProgram(proc.root, 7, noLimit)).toBe(true);
  });
  it('returns false if the program cannot be determined', () =>
    expect(runsSetuidProgram(proc.root, 99, noLimit)).toBe(false));
});
