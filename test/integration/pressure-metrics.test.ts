import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMetrics } from '../../src/service/metrics.ts';
import { type Clay, IDLE, startClay } from '../helpers/clay.ts';
import { type RunningService, runCliJson, startService } from '../helpers/cli.ts';
import { waitFor } from '../helpers/wait-for.ts';

// Parked for less than `parked_after` of 30 minutes, and for more than that of the tests.
const IDLE_10_MIN = { ...IDLE, idleSeconds: 600 };

let clay: Clay;
let config: string;
let running: RunningService | undefined;

beforeEach(async () => {
  clay = await startClay({ projects: ['rest', 'busy'] });
  config = join(clay.directory, 'config.toml');
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  await clay.stop();
});

const run = (...args: string[]): RunningService => {
  running = startService(['--clay-home', clay.home, '--poll', '200ms', '--min-age', '0s', '--config', config, ...args]);
  return running;
};

describe('memory pressure', () => {
  // 0 % is always reached where the kernel measures at all, more than 100 % can never be.
  const kernelTells = existsSync('/proc/pressure/memory');

  it('shortens only the waits, and is logged when it begins and ends', async () => {
    const idle = await clay.spawnClaude(IDLE_10_MIN);
    const waiting = await clay.spawnClaude({ project: 'busy', journal: 'permission', transcript: true });
    writeFileSync(config, '[pressure]\nsome_avg10 = 0.0\ngrace_period = "1s"\nparked_after = "5m"\n');
    const reaper = run('--dry-run', '--log-level', 'debug');
    if (kernelTells) {
      expect(await reaper.logged('pressure-began')).toMatchObject({ level: 'warn', someAvg10: expect.any(Number) });
      expect(await reaper.logged('would-reap')).toMatchObject({ pid: idle.pid, graceSeconds: 300 });
    } else {
      expect(await reaper.logged('candidate')).toMatchObject({ pid: idle.pid, graceSeconds: 1800 });
    }
    writeFileSync(config, 'poll_interval = "200ms"\n');
    reaper.signal('SIGHUP');
    await reaper.logged('reloaded');
    if (kernelTells) await reaper.logged('pressure-ended');
    expect(reaper.log.some((line) => line.event === 'candidate' && line.pid === waiting.pid)).toBe(false);
  });

  it('has no effect unless configured, and never lengthens a wait', async () => {
    const idle = await clay.spawnClaude(IDLE_10_MIN);
    const waitOf = async (text: string): Promise<number | null | undefined> => {
      writeFileSync(config, text);
      const { report } = await runCliJson(['status', '--clay-home', clay.home, '--config', config, '--min-age', '0s']);
      return report.processes.find((row) => row.pid === idle.pid)?.graceSeconds;
    };
    expect(await waitOf('')).toBe(1800);
    expect(await waitOf('parked_after = "1m"\n[pressure]\nsome_avg10 = 0\nparked_after = "2m"\n')).toBe(60);
  });
});

describe('metrics', () => {
  it('are written atomically, world-readable, and pass promtool', async () => {
    const folder = join(clay.directory, 'sockets');
    const textfile = join(folder, 'clay-reaper.prom');
    await clay.spawnClaude({ ...IDLE, idleSeconds: 7200 });
    await clay.spawnClaude({ project: 'busy', journal: 'permission', transcript: true });
    writeFileSync(config, `[metrics]\ntextfile = ${JSON.stringify(textfile)}\n`);
    const reaper = run();
    await reaper.logged('reaped');
    const text = await waitFor('it is counted', () => {
      const now = existsSync(textfile) ? readFileSync(textfile, 'utf8') : '';
      return now.includes('clay_reaper_reaped_total{') && now;
    });
    expect(text).toMatch(/^clay_reaper_reaped_total\{orphan="parked",signal="SIGTERM"\} 1$/m);
    expect(text).toMatch(/^clay_reaper_processes\{verdict="protected"\} 1$/m);
    expect(text).toMatch(/^clay_reaper_resident_bytes\{verdict="protected"\} \d{7,}$/m);
    expect(text).toMatch(/^clay_reaper_reclaimed_bytes_total \d{7,}$/m);
    expect(text).toMatch(/^clay_reaper_spared_total 0$/m);
    expect(text).toMatch(/^clay_reaper_api_failures_total 0$/m);
    expect(text).toMatch(/^clay_reaper_sweep_duration_seconds_count [1-9]\d*$/m);
    expect(Number(/^clay_reaper_last_sweep_timestamp_seconds (\S+)$/m.exec(text)?.[1])).toBeCloseTo(
      Date.now() / 1000,
      -2,
    );
    expect(statSync(textfile).mode & 0o777).toBe(0o644);
    if (hasPromtool() || process.env.CI) {
      expect(execFileSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })).toBe('');
    }
    await reaper.stop();
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('log a failed write once, without stopping the service', async () => {
    writeFileSync(config, '[metrics]\ntextfile = "/nonexistent/clay-reaper.prom"\n');
    const idle = await clay.spawnClaude({ ...IDLE, idleSeconds: 7200 });
    const reaper = run('--log-level', 'debug');
    expect(await reaper.logged('warning')).toMatchObject({ error: expect.stringContaining('/nonexistent') });
    await reaper.logged('reaped', (line) => line.pid === idle.pid);
    expect(reaper.log.filter((line) => line.event === 'warning')).toHaveLength(1);
  });
});

describe('docs/alerts.yml', () => {
  const rules = fileURLToPath(new URL('../../docs/alerts.yml', import.meta.url));

  it('uses only metrics that exist', async () => {
    const names = [...readFileSync(rules, 'utf8').matchAll(/clay_reaper_\w+/g)].map(([name]) => name);
    const text = await createMetrics('1').text();
    expect(names.length).toBeGreaterThan(4);
    for (const name of names) expect(text).toContain(`# TYPE ${name} `);
  });

  it('alerts when something is wrong, and only then', () => {
    if (!hasPromtool() && !process.env.CI) return;
    const cases = fileURLToPath(new URL('../fixtures/alerts.yml', import.meta.url));
    expect(execFileSync('promtool', ['check', 'rules', rules], { encoding: 'utf8' })).toContain('SUCCESS: 5 rules');
    expect(execFileSync('promtool', ['test', 'rules', cases], { encoding: 'utf8' })).toContain('SUCCESS');
  });
});

function hasPromtool(): boolean {
  try {
    execFileSync('promtool', ['--version']);
    return true;
  } catch {
    return false;
  }
}
