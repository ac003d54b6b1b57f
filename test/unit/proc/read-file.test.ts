import { spawn } from 'node:child_process';
import { closeSync, openSync, readSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  forEachLine,
  listProcDirectory,
  readPairOfProcess,
  readProcBytes,
  readProcLink,
  readProcText,
} from '../../../src/proc/read-file.ts';
import { type FakeProc, fakeProc } from '../../helpers/fake-proc.ts';

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
  it('maps each byte to one character, so that any name is kept', () => {
    proc.write('1/stat', Buffer.from([0x28, 0xff, 0xc3, 0x29]));
    expect(readProcText(`${proc.root}/1/stat`)).toEqual({ ok: true, value: '(\u00ff\u00c3)' });
  });
  it('refuses a file without an end', () => {
    expect(readProcText('/dev/zero')).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
  it('returns not-found if it is gone', () => {
    expect(readProcText(`${proc.root}/1/stat`)).toEqual({
      ok: false,
      failure: { code: 'not-found', detail: `${proc.root}/1/stat is not there` },
    });
  });
});

describe('readProcBytes', () => {
  it('returns bytes that are valid until the next call', () => {
    proc.write('a', 'first');
    proc.write('b', 'other');
    const first = readProcBytes(`${proc.root}/a`);
    const text = first.ok ? first.value.toString() : '';
    readProcBytes(`${proc.root}/b`);
    expect(text).toBe('first');
  });
});

describe('readProcLink and listProcDirectory', () => {
  it('read links to missing targets', () => {
    proc.put({ pid: 1, fds: { 3: 'socket:[31158]' } });
    expect(readProcLink(`${proc.root}/1/fd/3`)).toEqual({ ok: true, value: 'socket:[31158]' });
    expect(listProcDirectory(`${proc.root}/1/fd`)).toEqual({ ok: true, value: ['3'] });
    expect(readProcLink(`${proc.root}/1/fd/4`)).toMatchObject({ ok: false, failure: { code: 'not-found' } });
    expect(listProcDirectory(`${proc.root}/2/fd`)).toMatchObject({ ok: false, failure: { code: 'not-found' } });
  });
});

describe('forEachLine', () => {
  const linesOf = (content: string): string[] => {
    proc.write('net/unix', content);
    const lines: string[] = [];
    expect(
      forEachLine(
        `${proc.root}/net/unix`,
        () => false,
        (line) => lines.push(line),
      ).ok,
    ).toBe(true);
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
  it('cuts a line off that is longer than its buffer, if it may', () => {
    proc.write('net/unix', `first\n${'x'.repeat(100_000)}\nlast\n`);
    const lines: string[] = [];
    const read = forEachLine(
      `${proc.root}/net/unix`,
      () => false,
      (line) => lines.push(line),
      'cut',
    );
    expect(read.ok).toBe(true);
    expect(lines.map((line) => line.length)).toEqual([5, 32 * 1024, 4]);
  });
  it('refuses a line without an end, and a file without an end', () => {
    expect(
      forEachLine(
        '/dev/zero',
        () => false,
        () => {},
      ),
    ).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
  it('returns not-found if it is gone', () => {
    expect(
      forEachLine(
        `${proc.root}/none`,
        () => false,
        () => {},
      ),
    ).toMatchObject({ ok: false, failure: { code: 'not-found' } });
  });
});

describe('readPairOfProcess', () => {
  const pairOf = (pid: number | string): ReturnType<typeof readPairOfProcess> =>
    readPairOfProcess(`${proc.root}/${pid}/stat`, `${proc.root}/${pid}/status`);
  it('reads both files, whatever their length', () => {
    proc.write('1/stat', '1 (claude) S');
    proc.write('1/status', 'x'.repeat(100_000));
    expect(pairOf(1)).toEqual({ ok: true, value: ['1 (claude) S', 'x'.repeat(100_000)] });
  });
  it.each(['stat', 'status'])('fails as a whole if %s is not there', (missing) => {
    for (const name of ['stat', 'status']) if (name !== missing) proc.write(`1/${name}`, 'text');
    expect(pairOf(1)).toMatchObject({ ok: false, failure: { code: 'not-found' } });
  });
  it('fails if the process ends between opening and reading', async () => {
    const child = spawn('sleep', ['86400'], { stdio: 'ignore' });
    const fd = openSync(`/proc/${child.pid}/stat`, 'r');
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    // What readPairOfProcess relies on.
    expect(() => readSync(fd, Buffer.alloc(100))).toThrow('ESRCH');
    closeSync(fd);
  });
});
