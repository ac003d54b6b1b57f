import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Clay, type ShamOptions, startClay } from '../support/clay.ts';
import { type RunningReaper, reaperJson, startReaper } from '../support/reaper.ts';
import { until } from '../support/until.ts';

const IDLE: ShamOptions = { project: 'rest', journal: 'ended', transcript: true, idleSeconds: 600 };

let clay: Clay;
let config: string;
let running: RunningReaper | undefined;

beforeEach(async () => {
  clay = await startClay({ projects: ['rest', 'busy'] });
  config = join(clay.directory, 'config.toml');
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  await clay.stop();
});

const run = (...args: string[]): RunningReaper => {
  running = startReaper(['--clay-home', clay.home, '--poll', '200ms', '--min-age', '0s', '--config', config, ...args]);
  return running;
};

describe('memory pressure', () => {
  // 0 % is always reached where the kernel measures at all, more than 100 % can never be.
  const kernelTells = existsSync('/proc/pressure/memory');

  it('shortens the waits and nothing else, and is told when it begins and ends', async () => {
    const idle = await clay.sham(IDLE);
    const waiting = await clay.sham({ project: 'busy', journal: 'permission', transcript: true });
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

  it('is off unless it is asked for, and never makes a wait longer', async () => {
    const idle = await clay.sham(IDLE);
    const waitOf = async (text: string): Promise<number | null | undefined> => {
      writeFileSync(config, text);
      const { report } = await reaperJson(['status', '--clay-home', clay.home, '--config', config, '--min-age', '0s']);
      return report.processes.find((row) => row.pid === idle.pid)?.graceSeconds;
    };
    expect(await waitOf('')).toBe(1800);
    expect(await waitOf('parked_after = "1m"\n[pressure]\nsome_avg10 = 0\nparked_after = "2m"\n')).toBe(60);
  });
});

describe('metrics', () => {
  it('are written whole, for others to read, and by the conventions of Prometheus', async () => {
    const folder = join(clay.directory, 'sockets');
    const textfile = join(folder, 'clay-reaper.prom');
    await clay.sham({ ...IDLE, idleSeconds: 7200 });
    await clay.sham({ project: 'busy', journal: 'permission', transcript: true });
    writeFileSync(config, `[metrics]\ntextfile = ${JSON.stringify(textfile)}\n`);
    const reaper = run();
    await reaper.logged('reaped');
    const text = await until('it is counted', () => {
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

  it('that cannot be written are told of once, and stop nothing', async () => {
    writeFileSync(config, '[metrics]\ntextfile = "/nonexistent/clay-reaper.prom"\n');
    const idle = await clay.sham({ ...IDLE, idleSeconds: 7200 });
    const reaper = run('--log-level', 'debug');
    expect(await reaper.logged('trouble')).toMatchObject({ error: expect.stringContaining('/nonexistent') });
    await reaper.logged('reaped', (line) => line.pid === idle.pid);
    expect(reaper.log.filter((line) => line.event === 'trouble')).toHaveLength(1);
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
