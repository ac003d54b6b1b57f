import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { isDead, MS_PER_TICK, parseStat, type Stat } from '../../../src/proc/stat.ts';

/** Of an idle `claude` of SDK 0.2.92. */
const LINE =
  '16246 (claude) S 16199 16199 16199 0 -1 4194304 58487 8461 0 0 119 19 12 4 20 0 11 0 135996 12051456000 47467 18446744073709551615 11988992 39846385 140733013496272 0 0 0 0 4096 1937829431 0 0 0 17 1 0 0 0 0 0 90418888 90555584 469954560 140733013503150 140733013503441 140733013503441 140733013503978 0\n';

const parsed: Stat = {
  pid: 16_246,
  comm: 'claude',
  state: 'S',
  ppid: 16_199,
  session: 16_199,
  ttyNr: 0,
  isKernelThread: false,
  ownTicks: 138,
  reapedTicks: 16,
  threads: 11,
  startTicks: 135_996,
};

describe('parseStat', () => {
  it('parses a captured file', () => expect(parseStat(LINE)).toEqual({ ok: true, value: parsed }));
  it.each([
    ['spaces', 'Web Content'],
    ['brackets', 'a) S 1 1 (b'],
    ['what looks like the rest of the line', 'x) Z 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1'],
    ['a newline', 'cla\nude'],
    ['nothing', ''],
    ['only brackets', '()'],
    ['the name of a claude and more', 'claude)'],
  ])('parses a name with %s', (_, comm) => {
    expect(parseStat(LINE.replace('(claude)', () => `(${comm})`))).toEqual({ ok: true, value: { ...parsed, comm } });
  });
  it('reads a controlling terminal and a session of its own', () => {
    expect(parseStat(LINE.replace(' 16199 16199 16199 0 ', ' 1 16246 16246 34816 '))).toMatchObject({
      value: { ppid: 1, session: 16_246, ttyNr: 34_816 },
    });
  });
  it('recognises a kernel thread by its flags', () => {
    // Captured from kthreadd and from PID 1 of a Debian 12.
    const kthreadd = '2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 31 0 0\n';
    const init = '1 (systemd) S 0 1 1 0 -1 4194560 9 0 0 0 0 0 0 0 20 0 1 0 31 0 0\n';
    expect([kthreadd, init].map((line) => parseStat(line))).toMatchObject([
      { value: { isKernelThread: true } },
      { value: { isKernelThread: false } },
    ]);
  });
  it('parses the times of a machine that runs for years', () => {
    expect(parseStat(LINE.replace(' 135996 ', ' 9007199254740991 '))).toMatchObject({
      value: { startTicks: Number.MAX_SAFE_INTEGER },
    });
  });
  it.each([
    ['nothing', ''],
    ['no name', '16246 S 16199 16199'],
    ['a name that does not end', '16246 (claude S 16199 16199 16199 0'],
    ['too few fields', '16246 (claude) S 16199 16199 16199 0 -1 4194304 58487 8461 0 0 119 19'],
    ['no number for a pid', LINE.replace('16246 (', 'x (')],
    ['no number among the fields', LINE.replace(' 135996 ', ' many ')],
    ['a number too large to be told from its neighbour', LINE.replace(' 135996 ', ' 9007199254740993 ')],
    ['a state that is none', LINE.replace(') S ', ') 1 ')],
    ['no state', LINE.replace(') S ', ')  ')],
  ])('refuses a line with %s', (_, line) => {
    expect(parseStat(line)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
});

describe('MS_PER_TICK', () => {
  it('matches getconf CLK_TCK of this machine', () => {
    expect(1000 / MS_PER_TICK).toBe(Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' })));
  });
});

describe('isDead', () => {
  it.each([
    ['R', false],
    ['S', false],
    ['D', false],
    ['T', false],
    ['t', false],
    ['I', false],
    ['Z', true],
    ['X', true],
  ])('for the state %s: %s', (state, dead) => expect(isDead({ ...parsed, state })).toBe(dead));
});
