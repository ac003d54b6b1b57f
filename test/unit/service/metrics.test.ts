import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMetrics, metricsFile, writeTextfile } from '../../../src/service/metrics.ts';
import { clayLook, lookWith, orphan, protectedBy, reapedAs } from '../../helpers/assessment.ts';

describe('createMetrics', () => {
  it('sets gauges to the last sweep and adds to counters', async () => {
    const metrics = createMetrics('1.2.3');
    const bytes = (rssBytes: number) => orphan({ orphan: 'deleted' }, { rssBytes });
    metrics.count(
      lookWith({ judgements: [orphan(), orphan(), protectedBy(['cpu'])] }),
      [reapedAs('terminated', bytes(7))],
      0.02,
      true,
    );
    const silent = lookWith({
      clays: [clayLook({ error: 'x' })],
      judgements: [orphan({ verdict: 'grace' }, { rssBytes: 5 }), protectedBy(['unverified', 'cpu'], { rssBytes: 3 })],
    });
    metrics.count(
      silent,
      [reapedAs('killed', bytes(30)), reapedAs('spared'), reapedAs('survived'), reapedAs('vanished')],
      2,
      false,
    );
    const lines = (await metrics.text()).split('\n').filter((line) => !line.startsWith('#'));
    expect(lines).toEqual(
      expect.arrayContaining([
        'clay_reaper_build_info{version="1.2.3"} 1',
        'clay_reaper_dry_run 0',
        'clay_reaper_unverified_processes 1',
        'clay_reaper_processes{verdict="protected"} 1',
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
  it('says whether it is a dry run', async () => {
    const metrics = createMetrics('1');
    metrics.count(lookWith(), [], 1, true);
    expect(await metrics.text()).toContain('\nclay_reaper_dry_run 1\n');
  });
  it('keeps the counters of two instances apart', async () => {
    createMetrics('1').count(lookWith(), [reapedAs('spared')], 1, false);
    expect(await createMetrics('1').text()).toContain('clay_reaper_spared_total 0');
  });
});

describe('metricsFile', () => {
  it('resolves a relative path against the first runtime directory', () => {
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
  it('replaces the file and leaves no temporary file behind', () => {
    const path = join(dir, 'x.prom');
    expect(writeTextfile(path, 'a 1\n')).toBeUndefined();
    expect(writeTextfile(path, 'a 2\n')).toBeUndefined();
    expect(readFileSync(path, 'utf8')).toBe('a 2\n');
    expect(readdirSync(dir)).toEqual(['x.prom']);
  });
  it('replaces a symbolic link instead of writing to its target', () => {
    writeFileSync(join(dir, 'precious'), 'precious');
    symlinkSync('precious', join(dir, 'x.prom'));
    expect(writeTextfile(join(dir, 'x.prom'), 'a 1\n')).toBeUndefined();
    expect(readFileSync(join(dir, 'precious'), 'utf8')).toBe('precious');
  });
  it('returns the reason of a failed write instead of throwing', () => {
    expect(writeTextfile(join(dir, 'none/x.prom'), 'a')).toContain('ENOENT');
    mkdirSync(join(dir, 'x.prom'));
    expect(writeTextfile(join(dir, 'x.prom'), 'a')).toEqual(expect.any(String));
    expect(readdirSync(dir)).toEqual(['x.prom']);
  });
});
