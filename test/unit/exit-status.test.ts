import { describe, expect, it } from 'vitest';
import type { HomeLook } from '../../src/clay/daemon.ts';
import { complaints, EXIT, EXIT_MEANINGS, exitStatus, nothingFound } from '../../src/output/exit-status.ts';
import { CLAY_HOME, CLAY_PID } from './evidence.ts';
import { clayLook, lookWith, orphan, protectedBy, reapedAs } from './look.ts';

const unreadable = protectedBy(['unverified'], {
  doubts: ['fd may not be read', 'environ may not be read'],
  unreadable: true,
});
const abandoned = orphan({ orphan: 'abandoned' }, { clay: { state: 'dead', home: CLAY_HOME } });

describe('exitStatus', () => {
  it('are the binding numbers', () => {
    expect(EXIT).toMatchObject({ done: 0, notGone: 1, usage: 2, nothingFound: 3, leftAlone: 4 });
    for (const status of Object.values(EXIT)) expect(EXIT_MEANINGS[status]).toEqual(expect.any(String));
  });
  it('0: done, also when there was nothing to do', () => {
    expect(exitStatus(lookWith())).toBe(0);
    expect(exitStatus(lookWith({ judgements: [orphan(), protectedBy(['cpu'])] }))).toBe(0);
    expect(exitStatus(lookWith(), [reapedAs('terminated'), reapedAs('killed'), reapedAs('vanished')])).toBe(0);
    expect(exitStatus(lookWith(), [reapedAs('spared')])).toBe(0);
  });
  it('1: something that should be gone is not', () => {
    expect(exitStatus(lookWith(), [reapedAs('terminated'), reapedAs('survived')])).toBe(1);
  });
  it('3: neither a Clay nor an abandoned process', () => {
    expect(exitStatus(lookWith({ clays: [] }))).toBe(3);
    expect(exitStatus(lookWith({ clays: [], judgements: [abandoned] }))).toBe(0);
  });
  it('4: a Clay gave no usable answer, though others did', () => {
    expect(exitStatus(lookWith({ clays: [clayLook(), clayLook({ pid: 7, error: 'x' })] }))).toBe(4);
  });
  it('4: a Clay gave none when it was asked again', () => {
    const { judgement } = reapedAs('spared');
    const silent = { judgement, ending: { outcome: 'spared', why: "Clay's API: x", because: 'silence' } } as const;
    expect(exitStatus(lookWith(), [silent])).toBe(4);
  });
  it('4: processes could not be read', () => {
    expect(exitStatus(lookWith({ clays: [clayLook({ blind: 'CAP_KILL' })] }))).toBe(4);
    expect(exitStatus(lookWith({ judgements: [unreadable] }))).toBe(4);
    // A process of which something is odd is protected, and that is all.
    expect(exitStatus(lookWith({ judgements: [protectedBy(['unverified'], { doubts: ['odd'] })] }))).toBe(0);
  });
  it('1 wins over 4', () => {
    const look = lookWith({ clays: [clayLook({ error: 'x' })] });
    expect(exitStatus(look, [reapedAs('survived')])).toBe(1);
  });
});

describe('complaints', () => {
  it('are none where all is well', () => {
    expect(complaints(lookWith({ judgements: [orphan(), protectedBy(['unverified'], { doubts: ['odd'] })] }))).toEqual(
      [],
    );
  });
  it('name each Clay that was left alone, and why', () => {
    const clays = [clayLook(), clayLook({ pid: 7, home: '/srv/clay', error: 'no answer within 2 s' })];
    expect(complaints(lookWith({ clays }))).toEqual([
      'Clay 7 (/srv/clay) was left alone: its API gave no usable answer: no answer within 2 s',
    ]);
  });
  it('name each process that could not be read, and all reasons', () => {
    expect(complaints(lookWith({ judgements: [unreadable] }))).toEqual([
      'claude 16246 was left alone: it could not be read: fd may not be read; environ may not be read',
    ]);
  });
  it('say once what is missing, not once for each process', () => {
    const look = lookWith({
      clays: [clayLook({ blind: 'cannot do its job', error: 'denied' })],
      judgements: [unreadable, unreadable],
    });
    expect(complaints(look)).toEqual(['cannot do its job']);
  });
  it('of one Clay do not hide those of another', () => {
    const elsewhere = { ...unreadable.evidence, clay: { state: 'dead', home: CLAY_HOME } as const };
    const look = lookWith({
      clays: [clayLook({ pid: CLAY_PID, blind: 'cannot do its job' })],
      judgements: [unreadable, { ...unreadable, evidence: elsewhere }],
    });
    expect(complaints(look)).toHaveLength(2);
  });
});

describe('nothingFound', () => {
  const home = (path: string, overrides: Partial<HomeLook> = {}): HomeLook => ({
    ...{ home: path, daemons: [], refusals: [], nothing: `${path}/daemon.json is not there` },
    ...overrides,
  });
  it('says where it looked, and what to do', () => {
    const line = nothingFound(lookWith({ homes: [home('/home/ada/.clay')] }));
    expect(line).toContain('/home/ada/.clay (no daemon.json)');
    expect(line).toContain('--clay-home DIR');
    expect(line).not.toContain('\n');
  });
  it('says why a home was refused, and what a crashed Clay left', () => {
    const homes = [
      home('/a', { refusals: ['daemon.json is not JSON', 'other'], nothing: null }),
      home('/b', { nothing: 'daemon.json names pid 7, which does not run' }),
    ];
    const line = nothingFound(lookWith({ homes }));
    expect(line).toContain('/a (daemon.json is not JSON; other)');
    expect(line).toContain('/b (daemon.json names pid 7, which does not run)');
  });
  it('counts homes that have nothing to say', () => {
    const homes = Array.from({ length: 5 }, (_, number) => home(`/home/user${number}/.clay`));
    expect(nothingFound(lookWith({ homes }))).toContain('5 homes without a daemon.json');
    const [first] = homes;
    expect(nothingFound(lookWith({ homes: [...homes, home('/b', { nothing: 'odd' })] }))).toContain(
      '/b (odd), 5 homes',
    );
    expect(nothingFound(lookWith({ homes: first ? [first] : [] }))).toContain('/home/user0/.clay (no daemon.json)');
  });
  it('hints at what the process table said', () => {
    expect(nothingFound(lookWith({ tableNote: 'ps does not run' }))).toContain('; ps does not run; ');
  });
});
