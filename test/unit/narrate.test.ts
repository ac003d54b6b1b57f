import { describe, expect, it } from 'vitest';
import type { HomeLook } from '../../src/clay/daemon.ts';
import { type Line, narrate, nothingTold } from '../../src/service/narrate.ts';
import type { Look, Reaped } from '../../src/sweep.ts';
import { CLAY_HOME, CLAY_PID, HOUR, MINUTE, SESSION } from './evidence.ts';
import { clayLook, lookWith, orphan, protectedBy, reapedAs } from './look.ts';

/** Tells what a service would, sweep after sweep; without the line that closes each sweep. */
function narrator(dryRun = false): (look: Look, reaped?: readonly Reaped[]) => Line[] {
  let told = nothingTold;
  return (look, reaped = []) => {
    const story = narrate(told, look, reaped, dryRun);
    told = story.told;
    expect(story.lines.at(-1)).toMatchObject({ event: 'sweep', level: 'debug' });
    return story.lines.slice(0, -1);
  };
}
const events = (lines: readonly Line[]): string[] => lines.map(({ event }) => event);
const refused = (...refusals: string[]): HomeLook => ({ home: '/srv/clay', daemons: [], refusals, nothing: null });

describe('Clays', () => {
  it('are told when they come and go', () => {
    const tell = narrator();
    expect(tell(lookWith())).toEqual([
      {
        level: 'info',
        event: 'clay-found',
        message: `watching Clay ${CLAY_PID} in ${CLAY_HOME}`,
        fields: { clayPid: CLAY_PID, uid: 1000, home: CLAY_HOME },
      },
    ]);
    expect(tell(lookWith())).toEqual([]);
    expect(events(tell(lookWith({ clays: [clayLook(), clayLook({ pid: 7 })] })))).toEqual(['clay-found']);
    expect(tell(lookWith())).toMatchObject([{ event: 'clay-lost', level: 'info', fields: { clayPid: 7 } }]);
  });
  it('that were started again are told, though they have the same pid', () => {
    const tell = narrator();
    tell(lookWith());
    expect(events(tell(lookWith({ clays: [clayLook({ startTicks: 2000 })] })))).toEqual(['clay-lost', 'clay-found']);
  });
  it('are waited for, which is told once', () => {
    const tell = narrator();
    const none = lookWith({ clays: [] });
    expect(events(tell(none))).toEqual(['waiting']);
    expect(tell(none)).toEqual([]);
    expect(events(tell(lookWith()))).toEqual(['clay-found']);
    expect(events(tell(none))).toEqual(['clay-lost', 'waiting']);
  });
});

describe('Clay’s API', () => {
  const silent = (error = 'no answer within 2 s') => lookWith({ clays: [clayLook({ error })] });
  it('is told when it falls silent, and when it answers again', () => {
    const tell = narrator();
    tell(lookWith());
    expect(tell(silent())).toMatchObject([
      {
        level: 'warn',
        event: 'api-unreachable',
        message: expect.stringContaining('no answer within 2 s'),
        fields: { clayPid: CLAY_PID, home: CLAY_HOME, error: 'no answer within 2 s' },
      },
    ]);
    expect(tell(silent())).toEqual([]);
    expect(tell(silent('it closed the connection'))).toEqual([]);
    expect(tell(lookWith())).toMatchObject([{ event: 'api-recovered', level: 'info' }]);
    expect(tell(lookWith())).toEqual([]);
    expect(events(tell(silent()))).toEqual(['api-unreachable']);
  });
  it('is told of a Clay that is silent from the first', () => {
    const tell = narrator();
    expect(events(tell(silent()))).toEqual(['clay-found', 'api-unreachable']);
    expect(events(tell(lookWith()))).toEqual(['api-recovered']);
  });
  it('is told for each Clay', () => {
    const tell = narrator();
    tell(lookWith({ clays: [clayLook({ error: 'x' }), clayLook({ pid: 7 })] }));
    const lines = tell(lookWith({ clays: [clayLook(), clayLook({ pid: 7, error: 'x' })] }));
    expect(lines.map(({ event, fields }) => [event, fields.clayPid])).toEqual([
      ['api-recovered', CLAY_PID],
      ['api-unreachable', 7],
    ]);
  });
});

describe('blindness and refusals', () => {
  it('a blindness is told once, and again if it is another', () => {
    const tell = narrator();
    const blind = (words: string) => lookWith({ clays: [clayLook({ blind: words })] });
    expect(tell(blind('CAP_KILL is missing'))).toMatchObject([
      { event: 'clay-found' },
      { event: 'blind', level: 'error', message: 'CAP_KILL is missing' },
    ]);
    expect(tell(blind('CAP_KILL is missing'))).toEqual([]);
    expect(events(tell(blind('CAP_SYS_PTRACE is missing')))).toEqual(['blind']);
    expect(tell(lookWith())).toEqual([]);
    expect(events(tell(blind('CAP_KILL is missing')))).toEqual(['blind']);
  });
  it('a refused home is told once for each reason', () => {
    const tell = narrator();
    tell(lookWith());
    expect(tell(lookWith({ homes: [refused('a')] }))).toEqual([
      {
        level: 'warn',
        event: 'clay-refused',
        message: '/srv/clay is refused: a',
        fields: { home: '/srv/clay', reason: 'a' },
      },
    ]);
    expect(tell(lookWith({ homes: [refused('a')] }))).toEqual([]);
    expect(tell(lookWith({ homes: [refused('a', 'b')] }))).toMatchObject([{ fields: { reason: 'b' } }]);
    expect(tell(lookWith({ homes: [refused()] }))).toEqual([]);
    expect(events(tell(lookWith({ homes: [refused('a')] })))).toEqual(['clay-refused']);
  });
});

describe('candidates', () => {
  const grace = orphan({ verdict: 'grace', idleMs: 10 * MINUTE });
  it('are told once, when they become idle orphans', () => {
    const tell = narrator();
    tell(lookWith());
    expect(tell(lookWith({ judgements: [protectedBy(['turn'])] }))).toEqual([]);
    expect(tell(lookWith({ judgements: [grace] }))).toEqual([
      {
        level: 'info',
        event: 'candidate',
        message: 'claude 16246 is an idle orphan (parked)',
        fields: {
          ...{ pid: 16_246, startTicks: 135_996, uid: 1000, clayPid: CLAY_PID, orphan: 'parked' },
          ...{ rssBytes: 194_424_832, idleSeconds: 600, graceSeconds: 1800, project: 'alpha', sessionId: SESSION },
        },
      },
    ]);
    expect(tell(lookWith({ judgements: [grace] }))).toEqual([]);
    expect(tell(lookWith({ judgements: [orphan()] }))).toEqual([]);
    // It woke up, and fell asleep again.
    expect(tell(lookWith({ judgements: [protectedBy(['cpu'])] }))).toEqual([]);
    expect(events(tell(lookWith({ judgements: [grace] })))).toEqual(['candidate']);
  });
  it('of one pid are told apart', () => {
    const tell = narrator();
    tell(lookWith({ judgements: [grace] }));
    const other = orphan({ verdict: 'grace' }, { id: { pid: 16_246, startTicks: 999_999 } });
    expect(events(tell(lookWith({ judgements: [other] })))).toEqual(['candidate']);
  });
  it('have no number for what is unknown or never', () => {
    const [line] = narrator()(
      lookWith({
        clays: [],
        judgements: [
          orphan(
            { verdict: 'grace', waitMs: Number.POSITIVE_INFINITY },
            { clay: { state: 'dead', home: CLAY_HOME }, project: null, sessionId: null },
          ),
        ],
      }),
    ).filter(({ event }) => event === 'candidate');
    expect(line?.fields).toMatchObject({ clayPid: null, graceSeconds: null, project: null, sessionId: null });
  });
});

describe('a dry run', () => {
  it('tells once what it would end', () => {
    const tell = narrator(true);
    tell(lookWith());
    expect(events(tell(lookWith({ judgements: [orphan({ verdict: 'grace' })] })))).toEqual(['candidate']);
    expect(tell(lookWith({ judgements: [orphan()] }))).toMatchObject([
      { event: 'would-reap', level: 'info', fields: { pid: 16_246, orphan: 'parked', idleSeconds: 3600 } },
    ]);
    expect(tell(lookWith({ judgements: [orphan({ idleMs: 2 * HOUR })] }))).toEqual([]);
    expect(tell(lookWith({ judgements: [protectedBy(['cpu'])] }))).toEqual([]);
    expect(events(tell(lookWith({ judgements: [orphan()] })))).toEqual(['candidate', 'would-reap']);
  });
  it('is the only one to tell that', () => {
    expect(events(narrator()(lookWith({ judgements: [orphan()] })))).toEqual(['clay-found', 'candidate']);
  });
});

describe('endings', () => {
  const ended = (outcome: Parameters<typeof reapedAs>[0]): Line | undefined => {
    const tell = narrator();
    const look = lookWith({ judgements: [orphan()] });
    tell(look);
    const lines = tell(look, [reapedAs(outcome)]);
    expect(lines).toHaveLength(1);
    return lines[0];
  };
  const fields = {
    pid: 16_246,
    orphan: 'parked',
    rssBytes: 194_424_832,
    idleSeconds: 3600,
    project: 'alpha',
    sessionId: SESSION,
  };
  it('by SIGTERM', () => {
    expect(ended('terminated')).toMatchObject({
      event: 'reaped',
      level: 'info',
      fields: { ...fields, signal: 'SIGTERM' },
    });
  });
  it('by SIGKILL', () => {
    expect(ended('killed')).toMatchObject({
      event: 'reaped',
      level: 'warn',
      fields: { ...fields, signal: 'SIGKILL', leftovers: 2 },
    });
  });
  it('that did not come', () => {
    expect(ended('survived')).toMatchObject({
      event: 'survived',
      level: 'error',
      message: expect.stringContaining('still there'),
      fields: { ...fields, signal: 'SIGKILL', reason: 'it is still there after SIGKILL' },
    });
  });
  it('that were called off', () => {
    expect(ended('spared')).toMatchObject({
      event: 'spared',
      level: 'info',
      fields: { ...fields, reason: 'busy: its session file says "busy"' },
    });
  });
  it('before their time are no news', () => expect(ended('vanished')).toMatchObject({ level: 'debug' }));
});

describe('each sweep', () => {
  it('ends with what there was', () => {
    const look = lookWith({ judgements: [orphan(), orphan({ verdict: 'grace' }), protectedBy(['cpu'])] });
    const { lines } = narrate(nothingTold, look, [reapedAs('terminated')], false);
    expect(lines.at(-1)).toMatchObject({
      level: 'debug',
      event: 'sweep',
      fields: { processes: 3, protected: 1, grace: 1, reap: 1, reaped: 1, reclaimedBytes: 194_424_832 },
    });
  });
  it('leaves what it was told as it was', () => {
    const before = narrate(nothingTold, lookWith(), [], false).told;
    narrate(before, lookWith({ clays: [] }), [], false);
    expect(before.clays.size).toBe(1);
    expect(nothingTold.clays.size).toBe(0);
  });
});

describe('memory pressure', () => {
  it('is told when it comes and goes', () => {
    const tell = narrator();
    tell(lookWith());
    const high = tell(lookWith({ pressure: 42 }));
    expect(high).toHaveLength(1);
    expect(tell(lookWith({ pressure: 50 }))).toEqual([]);
    const over = tell(lookWith());
    expect(over).toHaveLength(1);
    expect(over[0]?.event).not.toBe(high[0]?.event);
    expect(tell(lookWith())).toEqual([]);
  });
});
