import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMetrics, metricsFile, writeTextfile } from '../../src/service/metrics.ts';
import { clayLook, lookWith, orphan, protectedBy, reapedAs } from './look.ts';

describe('createMetrics', () => {
  it('counts what there is at the last sweep, and adds up what was done', async () => {
    const metrics = createMetrics();
    const bytes = (rssBytes: number) => orphan({ orphan: 'deleted' }, { rssBytes });
    metrics.count(
      lookWith({ judgements: [orphan(), orphan(), protectedBy(['cpu'])] }),
      [reapedAs('terminated', bytes(7))],
      0.02,
    );
    const silent = lookWith({
      clays: [clayLook({ error: 'x' })],
      judgements: [orphan({ verdict: 'grace' }, { rssBytes: 5 })],
    });
    metrics.count(
      silent,
      [reapedAs('killed', bytes(30)), reapedAs('spared'), reapedAs('survived'), reapedAs('vanished')],
      2,
    );
    const lines = (await metrics.text()).split('\n').filter((line) => !line.startsWith('#'));
    expect(lines).toEqual(
      expect.arrayContaining([
        'clay_reaper_processes{verdict="protected"} 0',
        'clay_reaper_processes{verdict="grace"} 1',
        'clay_reaper_processes{verdict="reap"} 0',
        'clay_reaper_resident_bytes{verdict="grace"} 5',
        'clay_reaper_reaped_total{orphan="deleted",signal="SIGTERM"} 1',
        'clay_reaper_reaped_total{orphan="deleted",signal="SIGKILL"} 1',
        'clay_reaper_reclaimed_bytes_total 37',
        'clay_reaper_spared_total 1',
        'clay_reaper_survived_total 1',
        'clay_reaper_api_failures_total 1',
        'clay_reaper_sweep_duration_seconds_bucket{le="0.03"} 1',
        'clay_reaper_sweep_duration_seconds_count 2',
      ]),
    );
  });
  it('of two services are apart', async () => {
    createMetrics().count(lookWith(), [reapedAs('spared')], 1);
    expect(await createMetrics().text()).toContain('clay_reaper_spared_total 0');
  });
});

describe('metricsFile', () => {
  it('is where it is said to be, or in the runtime directory', () => {
    expect(metricsFile('/var/lib/x.prom', '/run/clay-reaper')).toBe('/var/lib/x.prom');
    expect(metricsFile('x.prom', '/run/clay-reaper')).toBe('/run/clay-reaper/x.prom');
    expect(metricsFile('x.prom', '/run/a:/run/b')).toBe('/run/a/x.prom');
    expect(metricsFile('x.prom', undefined)).toBe('/run/clay-reaper/x.prom');
  });
});

describe('writeTextfile', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'clay-reaper-metrics-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  it('replaces the file at once, and leaves nothing beside it', () => {
    const path = join(dir, 'x.prom');
    expect(writeTextfile(path, 'a 1\n')).toBeUndefined();
    expect(writeTextfile(path, 'a 2\n')).toBeUndefined();
    expect(readFileSync(path, 'utf8')).toBe('a 2\n');
    expect(readdirSync(dir)).toEqual(['x.prom']);
  });
  it('replaces a link, and does not write where it leads', () => {
    writeFileSync(join(dir, 'precious'), 'precious');
    symlinkSync('precious', join(dir, 'x.prom'));
    expect(writeTextfile(join(dir, 'x.prom'), 'a 1\n')).toBeUndefined();
    expect(readFileSync(join(dir, 'precious'), 'utf8')).toBe('precious');
  });
  it('says why it could not, and does not throw', () => {
    expect(writeTextfile(join(dir, 'none/x.prom'), 'a')).toContain('ENOENT');
    mkdirSync(join(dir, 'x.prom'));
    expect(writeTextfile(join(dir, 'x.prom'), 'a')).toEqual(expect.any(String));
    expect(readdirSync(dir)).toEqual(['x.prom']);
  });
});
