import { describe, expect, it } from 'vitest';
import type { Judgement } from '../../../src/judge/judge.ts';
import { shapeNotices } from '../../../src/report/messages.ts';
import { describeShape, isNewerThanTested, NEWEST_TESTED, unknownShapes } from '../../../src/report/unknown-shapes.ts';
import { clayLook, lookWith, protectedBy } from '../../helpers/assessment.ts';
import { idleEvidence, JOURNAL, later, NOW, newSweeps, SECOND } from '../../helpers/evidence.ts';

const found = (unknown: { where: 'after-turn' | 'none-known'; type: string } | null) => ({
  journal: {
    state: 'found',
    path: JOURNAL,
    turn: 'unclear',
    decidedBy: 'mood',
    changedAtMs: NOW.wallMs,
    unknown,
  } as const,
});

describe('unknownShapes', () => {
  it('finds none in what tested releases write', () => {
    for (const status of [null, 'idle', 'busy', 'waiting'])
      expect(unknownShapes(protectedBy([], { status }))).toEqual([]);
    expect(unknownShapes(protectedBy([], { claudeRelease: NEWEST_TESTED, ...found(null) }))).toEqual([]);
  });

  it.each([
    ['a newer release', { claudeRelease: '2.2.0' }, { shape: 'release', seen: '2.2.0' }],
    ['an unknown status', { status: 'dreaming' }, { shape: 'status', seen: 'dreaming' }],
    [
      'other fields in the session file',
      { unknownSessionFields: ['mood', 'x'] },
      { shape: 'session-file', seen: 'mood x' },
    ],
    [
      'an unknown record after a turn',
      found({ where: 'after-turn', type: 'mood' }),
      { shape: 'journal-record', seen: 'mood' },
    ],
    ['a journal of unknown records', found({ where: 'none-known', type: 'mood' }), { shape: 'journal', seen: 'mood' }],
  ])('names %s', (_, evidence, shape) => {
    expect(unknownShapes(protectedBy([], evidence))).toEqual([shape]);
    expect(unknownShapes(protectedBy([], { ...evidence, hasTerminal: true }))).toEqual([]);
  });

  it('passes on nothing but names of a program', () => {
    const status = 'reads /home/ada/secret';
    expect(unknownShapes(protectedBy([], { status, unknownSessionFields: [status] }))).toEqual([
      { shape: 'status', seen: '(not a name)' },
      { shape: 'session-file', seen: '(not a name)' },
    ]);
  });

  describe('of an answer that streams in over no connection', () => {
    const streaming = (atMs: number, more = {}) =>
      idleEvidence({
        journal: { state: 'found', path: JOURNAL, turn: 'open', decidedBy: 'delta', changedAtMs: atMs },
        ...more,
      });
    const lastOf = (...looks: ReturnType<typeof streaming>[]): Judgement => {
      const sweeps = newSweeps();
      const judged = looks.map((evidence, n) => sweeps.judgeSingle(evidence, later(n * 30 * SECOND)));
      return judged.at(-1) as Judgement;
    };
    const at = (seconds: number): number => NOW.wallMs + seconds * SECOND;

    it('names it when two looks have seen it', () => {
      expect(unknownShapes(lastOf(streaming(at(0)), streaming(at(30))))).toEqual([
        { shape: 'no-connection', seen: 'streams' },
      ]);
    });

    it('names nothing after one look, with a connection, or while nothing is written', () => {
      const connections = [{ inode: 1, local: 'a', remote: 'b' }];
      expect(unknownShapes(lastOf(streaming(at(0))))).toEqual([]);
      expect(unknownShapes(lastOf(streaming(at(0), { connections }), streaming(at(30))))).toEqual([]);
      expect(unknownShapes(lastOf(streaming(at(0)), streaming(at(30), { connections })))).toEqual([]);
      expect(unknownShapes(lastOf(streaming(at(0)), streaming(at(0))))).toEqual([]);
      const sweeps = newSweeps();
      sweeps.judgeSingle(streaming(at(0)), NOW);
      expect(unknownShapes(sweeps.judgeSingle(streaming(at(0)), later(SECOND)))).toEqual([]);
    });
  });
});

describe('isNewerThanTested', () => {
  it('compares with the newest in the list of tested releases', () => {
    expect(['2.1.44', NEWEST_TESTED, '2.1.99999', '3.0.0', 'mine', null].map(isNewerThanTested)).toEqual([
      ...[false, false, true, true, false, false],
    ]);
  });
});

describe('shapeNotices', () => {
  it('has one line for each shape, with all that a report needs', () => {
    const one = protectedBy(['busy'], { status: 'dreaming', claudeRelease: '2.1.300' });
    const lines = shapeNotices(lookWith({ clays: [clayLook()], judgements: [one, one] }));
    expect(lines).toEqual([describeShape({ shape: 'status', seen: 'dreaming' }, one, '2.41.1')]);
    expect(lines[0]).toBe(
      'Claude 2.1.300 shows something that no tested release does: the status dreaming in its session file (Agent SDK 0.2.92, Clay 2.41.1); it is judged as carefully as ever; please report this line',
    );
  });
});
