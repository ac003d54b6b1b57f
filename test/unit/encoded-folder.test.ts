import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeFolder, encodeFolderAsOlderClay, findConversationFile } from '../../src/clay/encoded-folder.ts';

describe('encoded folders', () => {
  it.each([
    ['/srv/projects/alpha', '-srv-projects-alpha', '-srv-projects-alpha'],
    ['/home/ada/my_app v2.0', '-home-ada-my-app-v2-0', '-home-ada-my_app v2-0'],
    ['/home/jörg/x', '-home-j-rg-x', '-home-jörg-x'],
    ['/', '-', '-'],
  ])('%s', (cwd, now, before) => {
    expect(encodeFolder(cwd)).toBe(now);
    expect(encodeFolderAsOlderClay(cwd)).toBe(before);
  });
  it('may be the same for two', () => expect(encodeFolder('/srv/a-b')).toBe(encodeFolder('/srv/a/b')));
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
  const find = (...likely: readonly string[]) => findConversationFile(base, likely, id);
  const found = (folder: string) => ({ ok: true, value: { path: join(base, folder, `${id}.jsonl`), folder } });

  it('looks where it is likely to be', () => {
    put(`-srv-a/${id}.jsonl`);
    put(`-srv-b/${id}.jsonl`);
    expect(find('-srv-a')).toEqual(found('-srv-a'));
    expect(find('-srv-b')).toEqual(found('-srv-b'));
    expect(find('-srv-none', '-srv-b')).toEqual(found('-srv-b'));
  });
  it('then looks everywhere', () => {
    put('-srv-a/other.jsonl');
    put(`some name/${id}.jsonl`);
    expect(find('-srv-a', '-srv-b')).toEqual(found('some name'));
    expect(find()).toEqual(found('some name'));
  });
  it('looks no deeper, and does not take other names', () => {
    put(`-srv-a/sub/${id}.jsonl`);
    put(`-srv-a/${id}.jsonl.bak`);
    put(`-srv-a/x${id}.jsonl`);
    put(`${id}.jsonl`);
    expect(find('-srv-a')).toEqual({ ok: true, value: null });
  });
  it('says that it is nowhere, or that there is nowhere to look', () => {
    expect(find('-srv-a')).toEqual({ ok: true, value: null });
    expect(findConversationFile(join(base, 'none'), [], id)).toMatchObject({ ok: false, failure: { why: 'gone' } });
  });
  it('takes nothing but a regular file', () => {
    mkdirSync(join(base, `-srv-a/${id}.jsonl`), { recursive: true });
    expect(find('-srv-a')).toMatchObject({ ok: false, failure: { why: 'odd' } });
    put('-srv-b/target');
    symlinkSync('target', join(base, `-srv-b/${id}.jsonl`));
    expect(find('-srv-b')).toMatchObject({ ok: false, failure: { why: 'odd' } });
  });
  it('searches no folder that is a link', () => {
    put(`-srv-a/${id}.jsonl`);
    const other = mkdtempSync(join(tmpdir(), 'clay-reaper-sessions-'));
    symlinkSync(join(base, '-srv-a'), join(other, 'link'));
    expect(findConversationFile(other, [], id)).toEqual({ ok: true, value: null });
    rmSync(other, { recursive: true });
  });
});
