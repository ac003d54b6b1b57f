import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readUptimeMs } from '../../../src/proc/uptime.ts';
import { type FakeProc, fakeProc } from '../../helpers/fake-proc.ts';

let proc: FakeProc;
beforeEach(() => {
  proc = fakeProc();
});
afterEach(() => proc.end());

describe('readUptimeMs', () => {
  it('returns milliseconds', () => {
    proc.write('uptime', '904188.88 1790555.84\n');
    expect(readUptimeMs(proc.root)).toEqual({ ok: true, value: 904_188_880 });
  });
  it.each([['soon 1.0\n'], ['NaN'], ['Infinity 1\n']])('refuses %j', (text) => {
    proc.write('uptime', text);
    expect(readUptimeMs(proc.root)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
});
