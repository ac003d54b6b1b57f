import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemHistoryHint } from '../../../src/commands/history.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'clay-reaper-history-hint-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe('systemHistoryHint', () => {
  it('names the history of the system service although its link leads where the user cannot look', () => {
    mkdirSync(join(root, 'var/lib'), { recursive: true });
    symlinkSync('private/clay-reaper', join(root, 'var/lib/clay-reaper'));
    expect(systemHistoryHint({}, 1000, root)).toContain('sudo clay-reaper history');
  });
  it('says nothing if the system service has no history', () => {
    expect(systemHistoryHint({}, 1000, root)).toBeNull();
  });
  it('says nothing to root and to whoever named a directory', () => {
    mkdirSync(join(root, 'var/lib/clay-reaper'), { recursive: true });
    expect(systemHistoryHint({}, 0, root)).toBeNull();
    expect(systemHistoryHint({ STATE_DIRECTORY: '/srv/state' }, 1000, root)).toBeNull();
  });
});
