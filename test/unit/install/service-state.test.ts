import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { programIdentity, wasReplacedAfter } from '../../../src/fs/program-file.ts';
import { buildOf, serviceStateFrom } from '../../../src/install/service-state.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'clay-reaper-service-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What systemd 252 prints, shortened. */
const SHOWN = `MainPID=0
NRestarts=3
Result=exit-code
StatusText=waiting for Clay: 0 claude processes
LoadState=loaded
ActiveState=failed
SubState=failed
FragmentPath=/nowhere/clay-reaper.service
DropInPaths=/etc/systemd/system/clay-reaper.service.d/a.conf /etc/systemd/system/clay-reaper.service.d/b.conf
UnitFileState=enabled
NeedDaemonReload=yes
`;

describe('serviceStateFrom', () => {
  it('reads what systemctl show prints', () => {
    expect(serviceStateFrom('system', SHOWN, '/proc')).toEqual({
      scope: 'system',
      installed: true,
      active: 'failed (failed)',
      failed: true,
      enabled: 'enabled',
      result: 'exit-code',
      restarts: 3,
      needsReload: true,
      provenance: 'missing',
      dropIns: 2,
      status: 'waiting for Clay: 0 claude processes',
      running: null,
    });
  });

  it('takes a unit that systemd does not know for not installed', () => {
    const state = serviceStateFrom('user', 'LoadState=not-found\nActiveState=inactive\nSubState=dead\n', '/proc');
    expect(state).toMatchObject({ installed: false, failed: false, enabled: 'no', running: null, dropIns: 0 });
  });

  it('says which program runs, and that it was replaced since', () => {
    const procRoot = join(folder, 'proc');
    const dist = join(folder, 'dist');
    const program = join(dist, 'clay-reaper.js');
    mkdirSync(join(procRoot, '812'), { recursive: true });
    mkdirSync(dist, { recursive: true });
    writeFileSync(join(dist, 'package.json'), '{"type":"commonjs","version":"1.2.3","commit":"abcdef0"}');
    writeFileSync(program, '');
    const command = ['/usr/bin/node', '--expose-gc', program, 'run', '--dry-run', ''].join('\0');
    writeFileSync(join(procRoot, '812/cmdline'), command);
    writeFileSync(join(procRoot, 'uptime'), '1000.00 1.00\n');
    const startedAt = (ticks: number) => {
      const fields = Array.from({ length: 50 }, () => '0');
      fields[19] = String(ticks);
      writeFileSync(join(procRoot, '812/stat'), `812 (node) S ${fields.slice(1).join(' ')}\n`);
      return serviceStateFrom('system', SHOWN.replace('MainPID=0', 'MainPID=812'), procRoot).running;
    };
    // Started 900 s ago, and the program's file has just been written.
    expect(startedAt(10_000)).toEqual({
      pid: 812,
      node: '/usr/bin/node',
      program,
      version: '1.2.3',
      commit: 'abcdef0',
      outdated: true,
    });
    // A start that is still to come.
    expect(startedAt(200_000)?.outdated).toBe(false);
  });
});

describe('buildOf', () => {
  it('returns null for a program of a release that does not say it', () => {
    expect(buildOf(join(folder, 'elsewhere/clay-reaper.js'))).toEqual({ version: null, commit: null });
  });
});

describe('wasReplacedAfter', () => {
  it('goes by the change time, because npm sets the modification time to 1985', () => {
    const program = join(folder, 'program.js');
    writeFileSync(program, '');
    utimesSync(program, new Date(0), new Date(0));
    expect(wasReplacedAfter(program, Date.now() - 60_000)).toBe(true);
    expect(wasReplacedAfter(program, Date.now() + 60_000)).toBe(false);
  });

  it('takes a program that was removed for replaced', () => {
    expect(wasReplacedAfter(join(folder, 'nothing.js'), 0)).toBe(true);
  });
});

describe('programIdentity', () => {
  it('returns null, and no error, where it cannot be told', () => {
    writeFileSync(join(folder, 'file'), '');
    const loop = join(folder, 'loop');
    symlinkSync(loop, loop);
    expect(programIdentity(loop)).toBeNull();
    expect(wasReplacedAfter(loop, 0)).toBe(false);
    expect(programIdentity(join(folder, 'file'))).toMatch(/^\d+:\d+:[\d.]+$/);
    expect(programIdentity(join(folder, 'nothing'))).toBe('none');
  });
});
