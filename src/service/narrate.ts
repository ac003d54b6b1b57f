import { keyOf } from '../judge/evidence.ts';
import type { IdleOrphan } from '../judge/judge.ts';
import { nothingFound } from '../output/exit-status.ts';
import type { LogEvent } from '../output/log.ts';
import { isEnded, reclaimedBytes, totalsOf } from '../output/report.ts';
import { type Look, orphansToReap, type Reaped } from '../sweep.ts';

/** A log line to be. */
export type Line = {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly event: LogEvent;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
};

/** What was told already: each state of affairs is told once, when it begins and when it ends. */
export type Told = {
  readonly clays: ReadonlyMap<
    string,
    { readonly pid: number; readonly home: string; readonly blind: string | null; readonly apiError: string | null }
  >;
  readonly refusals: ReadonlySet<string>;
  readonly orphans: ReadonlySet<string>;
  readonly wouldReap: ReadonlySet<string>;
  readonly waiting: boolean;
  readonly pressure: boolean;
};

/** Nothing was told yet. */
export const nothingTold: Told = {
  clays: new Map(),
  refusals: new Set(),
  orphans: new Set(),
  wouldReap: new Set(),
  waiting: false,
  pressure: false,
};

/** What a sweep has to tell, given what was told before. Pure. */
export function narrate(
  told: Told,
  look: Look,
  reaped: readonly Reaped[],
  dryRun: boolean,
): { lines: Line[]; told: Told } {
  const orphans = look.judgements.filter((each): each is IdleOrphan => each.verdict !== 'protected');
  const due = dryRun ? orphansToReap(look) : [];
  const waiting = look.clays.length === 0;
  const lines: Line[] = [
    ...clayLines(told, look),
    ...refusalLines(told, look),
    ...pressureLines(told, look),
    ...(waiting && !told.waiting ? [line('info', 'waiting', nothingFound(look), {})] : []),
    ...orphans
      .filter((each) => !told.orphans.has(key(each)))
      .map((each) =>
        line('info', 'candidate', `claude ${each.evidence.id.pid} is an idle orphan (${each.orphan})`, fieldsOf(each)),
      ),
    ...due
      .filter((each) => !told.wouldReap.has(key(each)))
      .map((each) =>
        line('info', 'would-reap', `would end claude ${each.evidence.id.pid} (${each.orphan})`, fieldsOf(each)),
      ),
    // Those that are left to the next sweep are told of when it is their turn.
    ...reaped.filter(({ ending }) => !(ending.outcome === 'spared' && ending.because === 'postponed')).map(endingLine),
    sweepLine(look, reaped),
  ];
  return {
    lines,
    told: {
      clays: new Map(
        look.clays.map(({ daemon, blind, answer }) => [
          keyOf(daemon),
          { pid: daemon.pid, home: daemon.home, blind, apiError: answer.ok ? null : answer.failure.detail },
        ]),
      ),
      refusals: new Set(refusalsOf(look).map(({ home, reason }) => `${home}\n${reason}`)),
      orphans: new Set(orphans.map(key)),
      wouldReap: new Set(due.map(key)),
      waiting,
      pressure: look.pressure !== null,
    },
  };
}

const key = (orphan: IdleOrphan): string => keyOf(orphan.evidence.id);

const line = (level: Line['level'], event: LogEvent, message: string, fields: Line['fields']): Line => ({
  level,
  event,
  message,
  fields,
});

function clayLines(told: Told, look: Look): Line[] {
  const lines: Line[] = [];
  const living = new Set(look.clays.map(({ daemon }) => keyOf(daemon)));
  for (const [id, { pid, home }] of told.clays) {
    if (!living.has(id)) lines.push(line('info', 'clay-lost', `Clay ${pid} is gone`, { clayPid: pid, home }));
  }
  for (const { daemon, answer, blind } of look.clays) {
    const before = told.clays.get(keyOf(daemon));
    const fields = { clayPid: daemon.pid, uid: daemon.uid, home: daemon.home };
    const apiError = answer.ok ? null : answer.failure.detail;
    if (!before) lines.push(line('info', 'clay-found', `watching Clay ${daemon.pid} in ${daemon.home}`, fields));
    if (blind !== null && before?.blind !== blind) lines.push(line('error', 'blind', blind, fields));
    if (apiError !== null && (before?.apiError ?? null) === null) {
      lines.push(
        line(
          'warn',
          'api-unreachable',
          `Clay ${daemon.pid} gives no usable answer: ${apiError}; its processes are left alone`,
          { ...fields, error: apiError },
        ),
      );
    }
    if (apiError === null && before && before.apiError !== null) {
      lines.push(line('info', 'api-recovered', `Clay ${daemon.pid} answers again`, fields));
    }
  }
  return lines;
}

const refusalsOf = (look: Look): { home: string; reason: string }[] =>
  look.homes.flatMap(({ home, refusals }) => refusals.map((reason) => ({ home, reason })));

const refusalLines = (told: Told, look: Look): Line[] =>
  refusalsOf(look)
    .filter(({ home, reason }) => !told.refusals.has(`${home}\n${reason}`))
    .map(({ home, reason }) => line('warn', 'clay-refused', `${home} is refused: ${reason}`, { home, reason }));

function pressureLines(told: Told, { pressure }: Look): Line[] {
  if (told.pressure === (pressure !== null)) return [];
  return pressure === null
    ? [line('info', 'pressure-ended', 'memory pressure is over: the usual waits hold again', {})]
    : [
        line('warn', 'pressure-began', `memory pressure (some avg10 ${pressure} %): the shorter waits hold`, {
          someAvg10: pressure,
        }),
      ];
}

function fieldsOf({ evidence, orphan, idleMs, waitMs }: IdleOrphan): Line['fields'] {
  return {
    pid: evidence.id.pid,
    startTicks: evidence.id.startTicks,
    uid: evidence.uid,
    clayPid: evidence.clay.state === 'dead' ? null : evidence.clay.pid,
    orphan,
    rssBytes: evidence.rssBytes,
    idleSeconds: Math.round(idleMs / 1000),
    graceSeconds: Number.isFinite(waitMs) ? Math.round(waitMs / 1000) : null,
    project: evidence.project?.slug ?? null,
    sessionId: evidence.sessionId,
  };
}

function endingLine(reaped: Reaped): Line {
  const { judgement, ending } = reaped;
  const { pid } = judgement.evidence.id;
  const fields = fieldsOf(judgement);
  if (ending.outcome === 'spared')
    return line('info', 'spared', `spared claude ${pid}: ${ending.why}`, { ...fields, reason: ending.why });
  if (ending.outcome === 'survived') {
    return line('error', 'survived', `claude ${pid} should be gone and is not: ${ending.why}`, {
      ...fields,
      signal: ending.signal,
      reason: ending.why,
    });
  }
  if (!isEnded(reaped)) return line('debug', 'sweep', `claude ${pid} was gone already`, fields);
  const signal = ending.outcome === 'killed' ? ending.signal : 'SIGTERM';
  const leftovers = ending.outcome === 'killed' ? ending.leftovers : 0;
  return line(
    signal === 'SIGKILL' ? 'warn' : 'info',
    'reaped',
    `ended claude ${pid} (${judgement.orphan}) with ${signal}`,
    { ...fields, signal, leftovers },
  );
}

function sweepLine(look: Look, reaped: readonly Reaped[]): Line {
  return line('debug', 'sweep', 'swept', {
    ...totalsOf(look.judgements.map(({ verdict, evidence }) => ({ verdict, rssBytes: evidence.rssBytes }))),
    reaped: reaped.filter(isEnded).length,
    reclaimedBytes: reclaimedBytes(reaped),
  });
}
