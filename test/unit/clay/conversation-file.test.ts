import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findConversationFile, legacyProjectDirName, projectDirName } from '../../../src/clay/conversation-file.ts';
import { noLimit } from '../../helpers/budget.ts';

describe('projectDirName and legacyProjectDirName', () => {
  it.each([
    ['/srv/projects/alpha', '-srv-projects-alpha', '-srv-projects-alpha'],
    ['/home/ada/my_app v2.0', '-home-ada-my-app-v2-0', '-home-ada-my_app v2-0'],
    ['/home/jörg/x', '-home-j-rg-x', '-home-jörg-x'],
    ['/', '-', '-'],
  ])('encode %s', (cwd, now, before) => {
    expect(projectDirName(cwd)).toBe(now);
    expect(legacyProjectDirName(cwd)).toBe(before);
  });
  it('can give two paths the same name', () => expect(projectDirName('/srv/a-b')).toBe(projectDirName('/srv/a/b')));
});

describe('findConversationFile', () => {
  const id = 'cd7ece16-29e6-474a-94b5-bd0998c39c7c';
  let base: string;
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'clay-reaper-sessions-'));
  });
  afterEach(() => rmSync(base, { recursive: true, force: true }));
  const put = (path: string): void => {
    mkdirSync(dirname(join(base, path)), { recursive: true });
    writeFileSync(join(base, path), '');
  };
  const find = (...likely: readonly string[]) => findConversationFile(base, likely, id, noLimit);
  const found = (folder: string) => ({ ok: true, value: { path: join(base, folder, `${id}.jsonl`), folder } });

  it('finds a file in the likely directories first', () => {
    put(`-srv-a/${id}.jsonl`);
    put(`-srv-b/${id}.jsonl`);
    expect(find('-srv-a')).toEqual(found('-srv-a'));
    expect(find('-srv-b')).toEqual(found('-srv-b'));
    expect(find('-srv-none', '-srv-b')).toEqual(found('-srv-b'));
  });
  it('then finds a file in any other directory', () => {
    put('-srv-a/other.jsonl');
    put(`some name/${id}.jsonl`);
    expect(find('-srv-a', '-srv-b')).toEqual(found('some name'));
    expect(find()).toEqual(found('some name'));
  });
  it('ignores deeper directories and other names', () => {
    put(`-srv-a/sub/${id}.jsonl`);
    put(`-srv-a/${id}.jsonl.bak`);
    put(`-srv-a/x${id}.jsonl`);
    put(`${id}.jsonl`);
    expect(find('-srv-a')).toEqual({ ok: true, value: null });
  });
  it('returns a failure if the file or the directory is missing', () => {
    expect(find('-srv-a')).toEqual({ ok: true, value: null });
    expect(findConversationFile(join(base, 'none'), [], id, noLimit)).toMatchObject({
      ok: false,
      failure: { code: 'not-found' },
    });
  });
  it('ignores everything but regular files', () => {
    mkdirSync(join(base, `-srv-a/${id}.jsonl`), { recursive: true });
    expect(find('-srv-a')).toMatchObject({ ok: false, failure: { code: 'invalid' } });
    put('-srv-b/target');
    symlinkSync('target', join(base, `-srv-b/${id}.jsonl`));
    expect(find('-srv-b')).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
  it('ignores directories that are links', () => {
    put(`-srv-a/${id}.jsonl`);
    const other = mkdtempSync(join(tmpdir(), 'clay-reaper-sessions-'));
    symlinkSync(join(base, '-srv-a'), join(other, 'link'));
    expect(findConversationFile(other, [], id, noLimit)).toEqual({ ok: true, value: null });
    rmSync(other, { recursive: true });
  });
});
