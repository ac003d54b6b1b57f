import { describe, expect, it } from 'vitest';
import { EXIT, EXIT_MEANINGS, exitStatus } from '../../../src/report/exit-status.ts';
import { clayLook, lookWith, orphan, protectedBy, reapedAs } from '../../helpers/assessment.ts';
import { CLAY_HOME } from '../../helpers/evidence.ts';

const unreadable = protectedBy(['unverified'], {
  issues: ['fd may not be read', 'environ may not be read'],
  unreadable: true,
});
const abandoned = orphan({ orphan: 'abandoned' }, { clay: { state: 'dead', home: CLAY_HOME } });

describe('exitStatus', () => {
  it('matches the documented exit codes', () => {
    expect(EXIT).toMatchObject({ ok: 0, failed: 1, usage: 2, noClay: 3, incomplete: 4 });
    for (const status of Object.values(EXIT)) expect(EXIT_MEANINGS[status]).toEqual(expect.any(String));
  });
  it('returns 0 if everything was done, and if there was nothing to do', () => {
    expect(exitStatus(lookWith())).toBe(0);
    expect(exitStatus(lookWith({ judgements: [orphan(), protectedBy(['cpu'])] }))).toBe(0);
    expect(exitStatus(lookWith(), [reapedAs('terminated'), reapedAs('killed'), reapedAs('vanished')])).toBe(0);
    expect(exitStatus(lookWith(), [reapedAs('spared')])).toBe(0);
  });
  it('returns 1 if a process survived', () => {
    expect(exitStatus(lookWith(), [reapedAs('terminated'), reapedAs('survived')])).toBe(1);
  });
  it('returns 3 if there is neither a Clay nor an abandoned process', () => {
    expect(exitStatus(lookWith({ clays: [] }))).toBe(3);
    expect(exitStatus(lookWith({ clays: [], judgements: [abandoned] }))).toBe(0);
  });
  it('returns 4 if there are Clays in containers, and no other', () => {
    expect(exitStatus(lookWith({ clays: [], withoutHome: ['Clay 7 was left alone'] }))).toBe(4);
    expect(exitStatus(lookWith({ clays: [], inContainers: 'Clay 7 was left alone' }))).toBe(4);
  });
  it('returns 4 if one of several Clays gave no usable answer', () => {
    expect(exitStatus(lookWith({ clays: [clayLook(), clayLook({ pid: 7, error: 'x' })] }))).toBe(4);
  });
  it('returns 4 if Clay stops answering during the recheck', () => {
    const { judgement } = reapedAs('spared');
    const silent = { judgement, result: { outcome: 'spared', why: "Clay's API: x", because: 'unreachable' } } as const;
    expect(exitStatus(lookWith(), [silent])).toBe(4);
  });
  it('returns 4 if processes could not be read', () => {
    expect(exitStatus(lookWith({ clays: [clayLook({ blind: 'CAP_KILL' })] }))).toBe(4);
    expect(exitStatus(lookWith({ judgements: [unreadable] }))).toBe(4);
    // Readable but inconsistent: the process is protected, and nothing was left undone.
    expect(exitStatus(lookWith({ judgements: [protectedBy(['unverified'], { issues: ['odd'] })] }))).toBe(0);
  });
  it('returns 1 if a process survived and a Clay gave no answer', () => {
    const look = lookWith({ clays: [clayLook({ error: 'x' })] });
    expect(exitStatus(look, [reapedAs('survived')])).toBe(1);
  });
});
