import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseSomeAvg10, readMemoryPressure } from '../../../src/proc/pressure.ts';
import { type FakeProc, fakeProc } from '../../helpers/fake-proc.ts';

const PRESSURE = `some avg10=12.34 avg60=5.00 avg300=1.00 total=1234567
full avg10=99.99 avg60=2.00 avg300=0.50 total=654321
`;

describe('parseSomeAvg10', () => {
  it('reads the share of the last 10 s in which some task was stalled', () => {
    expect(parseSomeAvg10(PRESSURE)).toEqual({ ok: true, value: 12.34 });
    expect(parseSomeAvg10(PRESSURE.replace('12.34', '0.00'))).toEqual({ ok: true, value: 0 });
  });
  it.each([
    '',
    'full avg10=9.00 avg60=2.00\n',
    'some avg10=',
    'some avg60=1.00 avg10=9.00\n',
    'some avg10=x avg60=1\n',
  ])('refuses %j', (text) => expect(parseSomeAvg10(text)).toMatchObject({ ok: false, failure: { code: 'invalid' } }));
});

describe('readMemoryPressure', () => {
  let proc: FakeProc;
  beforeEach(() => {
    proc = fakeProc();
  });
  afterEach(() => proc.end());
  it('returns the memory pressure, or a failure on a kernel without it', () => {
    expect(readMemoryPressure(proc.root)).toMatchObject({ ok: false, failure: { code: 'not-found' } });
    proc.write('pressure/cpu', PRESSURE.replace('12.34', '77.00'));
    proc.write('pressure/memory', PRESSURE);
    expect(readMemoryPressure(proc.root)).toEqual({ ok: true, value: 12.34 });
  });
});
