import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eachProcLine, listProc, readProcBytes, readProcLink, readProcText } from '../../src/proc/read.ts';
import { type FakeProc, fakeProc } from './fake-proc.ts';

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});
afterEach(() => proc.end());

describe('readProcText', () => {
  it.each([0, 1, 32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 300_000])('reads a file of %d bytes to its end', (bytes) => {
    const text = Array.from({ length: bytes }, (_, at) => String.fromCharCode(97 + (at % 26))).join('');
    proc.write('net/unix', text);
    const read = readProcText(`${proc.root}/net/unix`);
    expect(read.ok && read.value === text).toBe(true);
  });
  it('reads files whose size the kernel gives as 0', () => {
    expect(readProcText('/proc/self/stat')).toMatchObject({ ok: true, value: expect.stringContaining('(') });
  });
  it('takes each byte for a character, so that a name of any bytes is one', () => {
    proc.write('1/stat', Buffer.from([0x28, 0xff, 0xc3, 0x29]));
    expect(readProcText(`${proc.root}/1/stat`)).toEqual({ ok: true, value: '(\u00ff\u00c3)' });
  });
  it('refuses what has no end', () => {
    expect(readProcText('/dev/zero')).toMatchObject({ ok: false, failure: { why: 'odd' } });
  });
  it('says if it is gone', () => {
    expect(readProcText(`${proc.root}/1/stat`)).toEqual({
      ok: false,
      failure: { why: 'gone', detail: `${proc.root}/1/stat is not there` },
    });
  });
});

describe('readProcBytes', () => {
  it('gives bytes that are valid until the next call', () => {
    proc.write('a', 'first');
    proc.write('b', 'other');
    const first = readProcBytes(`${proc.root}/a`);
    const text = first.ok ? first.value.toString() : '';
    readProcBytes(`${proc.root}/b`);
    expect(text).toBe('first');
  });
});

describe('readProcLink and listProc', () => {
  it('read links that lead nowhere', () => {
    proc.put({ pid: 1, fds: { 3: 'socket:[31158]' } });
    expect(readProcLink(`${proc.root}/1/fd/3`)).toEqual({ ok: true, value: 'socket:[31158]' });
    expect(listProc(`${proc.root}/1/fd`)).toEqual({ ok: true, value: ['3'] });
    expect(readProcLink(`${proc.root}/1/fd/4`)).toMatchObject({ ok: false, failure: { why: 'gone' } });
    expect(listProc(`${proc.root}/2/fd`)).toMatchObject({ ok: false, failure: { why: 'gone' } });
  });
});

describe('eachProcLine', () => {
  const linesOf = (content: string): string[] => {
    proc.write('net/unix', content);
    const lines: string[] = [];
    expect(eachProcLine(`${proc.root}/net/unix`, (line) => lines.push(line)).ok).toBe(true);
    return lines;
  };
  it.each(['', 'one', 'one\n', 'one\ntwo', 'one\n\ntwo\n', '\n'])('hands on the lines of %j', (content) => {
    expect(linesOf(content)).toEqual(
      content.replace(/\n$/, '') === '' ? content.split('\n').slice(0, -1) : content.replace(/\n$/, '').split('\n'),
    );
  });
  it('hands on each line of a long table, whole', () => {
    const expected = Array.from({ length: 20_000 }, (_, at) => `${at}: ${'x'.repeat(at % 150)}`);
    expect(linesOf(`${expected.join('\n')}\n`)).toEqual(expected);
  });
  it('refuses a line without end, and what has none', () => {
    expect(eachProcLine('/dev/zero', () => {})).toMatchObject({ ok: false, failure: { why: 'odd' } });
  });
  it('says if it is gone', () => {
    expect(eachProcLine(`${proc.root}/none`, () => {})).toMatchObject({ ok: false, failure: { why: 'gone' } });
  });
});
