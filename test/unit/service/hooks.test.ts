import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { historyRecord } from '../../../src/history/record.ts';
import type { HistoryRecord } from '../../../src/history/store.ts';
import { keyOf } from '../../../src/proc/process-id.ts';
import { runHooks } from '../../../src/service/hooks.ts';
import { orphan, reapedAs } from '../../helpers/assessment.ts';

let dir: string;
beforeEach(() => {
  // Not below /tmp: a hook in a directory that others can write to is refused.
  dir = mkdtempSync(join(homedir(), '.clay-reaper-hooks-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const record = (title: string): HistoryRecord => {
  const titles = new Map([[keyOf(orphan().evidence.id), title]]);
  const made = historyRecord(reapedAs('killed'), { atMs: 0, userNames: new Map([[1000, 'ada']]), titles });
  if (made === null) throw new Error('no record');
  return made;
};
const hook = (script: string, mode = 0o755): string => {
  const path = join(dir, 'hook');
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, mode);
  return path;
};

describe('runHooks', () => {
  it('passes what was ended in variables, and no arguments', async () => {
    const path = hook(`{ echo "args:$#"; env | grep ^REAPED_; } >>"${dir}/out"`);
    expect(await runHooks(path, [record('x; rm -rf "$HOME" `id`')])).toBeUndefined();
    const lines = readFileSync(join(dir, 'out'), 'utf8').split('\n');
    expect(lines).toEqual(
      expect.arrayContaining([
        'args:0',
        'REAPED_PID=16246',
        'REAPED_USER=ada',
        'REAPED_PROJECT=alpha',
        'REAPED_TITLE=x; rm -rf "$HOME" `id`',
        'REAPED_SIGNAL=SIGKILL',
        'REAPED_BYTES=194424832',
      ]),
    );
  });
  it('strips control characters from what users wrote', async () => {
    const path = hook(`printf %s "$REAPED_TITLE" >"${dir}/out"`);
    await runHooks(path, [record('a\nREAPED_PID=1\u001b[2J')]);
    expect(readFileSync(join(dir, 'out'), 'utf8')).toBe('a\ufffdREAPED_PID=1\ufffd[2J');
  });
  it('runs once for each process', async () => {
    const path = hook(`echo x >>"${dir}/out"`);
    await runHooks(path, [record('a'), record('b')]);
    expect(readFileSync(join(dir, 'out'), 'utf8')).toBe('x\nx\n');
  });
  it('returns the exit status of a hook that fails', async () => {
    const path = hook('exit 3');
    expect(await runHooks(path, [record('a')])).toBe(`hooks.on_reaped failed: ${path}: exit status 3`);
  });
  it('kills a hook that does not end, even one that ignores SIGTERM, and goes on with the next process', async () => {
    const path = hook(`trap '' TERM; echo $$ >>"${dir}/out"; while :; do :; done`);
    expect(await runHooks(path, [record('a'), record('b')], 500)).toBe(
      `hooks.on_reaped failed: ${path}: no end within 0.5 s`,
    );
    const pids = readFileSync(join(dir, 'out'), 'utf8').trim().split('\n').map(Number);
    expect(pids).toHaveLength(2);
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  });
  it('does not run a program that others may write to', async () => {
    const path = hook(`echo x >"${dir}/out"`, 0o777);
    expect(await runHooks(path, [record('a')])).toMatch(/was not run: others may write to/);
    expect(() => readFileSync(join(dir, 'out'))).toThrow(/ENOENT/);
  });
  it('says that the program is missing', async () => {
    expect(await runHooks(join(dir, 'none'), [record('a')])).toMatch(/was not run: .*none is not a file/);
  });
  it('does nothing without a hook or without an ended process', async () => {
    expect(await runHooks('', [record('a')])).toBeUndefined();
    expect(await runHooks('/nonexistent', [])).toBeUndefined();
  });
});
