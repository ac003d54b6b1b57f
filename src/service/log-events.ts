import prettyBytes from 'pretty-bytes';
import type { Assessment } from '../assess.ts';
import { dryRunSource, type LoadedConfig } from '../config/load.ts';
import { BUDGET_EXHAUSTED } from '../fs/user-budget.ts';
import { formatDuration } from '../judge/duration.ts';
import type { IdleOrphan } from '../judge/judge.ts';
import { keyOf } from '../proc/process-id.ts';
import { type ReapResult, reclaimedBytes, wasTerminated } from '../reap/result.ts';
import { orphansToReap } from '../reap/select.ts';
import { totalsOf } from '../report/json.ts';
import { clayReleaseOf, noClayMessage, unknownProjectWarnings } from '../report/messages.ts';
import { describeShape, NEWEST_TESTED, unknownShapes } from '../report/unknown-shapes.ts';
import type { LogEvent } from './log.ts';

/** One log line, not yet written. */
export type LogEntry = {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly event: LogEvent;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
};

/** The state as of the last sweep. A state is logged when it begins and when it ends, not once per sweep. */
export type LoggedState = {
  readonly clays: ReadonlyMap<
    string,
    {
      readonly pid: number;
      readonly home: string;
      readonly permissionProblem: string | null;
      readonly apiError: string | null;
      readonly unknownShape: string | null;
    }
  >;
  readonly refusals: ReadonlySet<string>;
  readonly orphans: ReadonlySet<string>;
  readonly wouldReap: ReadonlySet<string>;
  /** Why users without a Clay were left alone. */
  readonly leftAlone: ReadonlySet<string>;
  /** Users of whom some orphans were left to a later sweep. */
  readonly deferredUids: ReadonlySet<number>;
  readonly unknownProjects: ReadonlySet<string>;
  /** The user of whom each unknown shape was logged. */
  readonly shapes: ReadonlyMap<string, number>;
  readonly waiting: boolean;
  /** Whether it was said what is watched; again after each wait for Clay. */
  readonly watching: boolean;
  readonly pressure: boolean;
};

/** The state before the first sweep. */
export const nothingLogged: LoggedState = {
  clays: new Map(),
  refusals: new Set(),
  orphans: new Set(),
  wouldReap: new Set(),
  leftAlone: new Set(),
  deferredUids: new Set(),
  unknownProjects: new Set(),
  shapes: new Map(),
  waiting: false,
  watching: false,
  pressure: false,
};

/**
 * The log entries for one sweep, given what was logged before; `logged` belongs into the next call. `took`: its wall-clock and CPU time
 * (ms), if there is to be a line about the sweep itself. Pure.
 */
export function logEventsFor(
  logged: LoggedState,
  assessment: Assessment,
  results: readonly ReapResult[],
  dryRun: boolean,
  took: { readonly ms: number; readonly cpuMs: number } | null = null,
): { entries: LogEntry[]; logged: LoggedState } {
  const orphans = assessment.judgements.filter(
    (judgement): judgement is IdleOrphan => judgement.verdict !== 'protected',
  );
  const due = dryRun ? orphansToReap(assessment) : [];
  const waiting = assessment.clays.length === 0;
  const unknownProjects = unknownProjectWarnings(assessment);
  const deferred = results.filter(isDeferred);
  const shapes = shapeEntries(logged.shapes, assessment);
  const entries: LogEntry[] = [
    ...clayEntries(logged, assessment),
    ...refusalEntries(logged, assessment),
    ...assessment.leftAlone
      .filter((line) => !logged.leftAlone.has(line))
      .map((line) => entry('error', 'blind', line, {})),
    ...pressureEntries(logged, assessment),
    ...shapes.entries,
    ...unknownProjects
      .filter((message) => !logged.unknownProjects.has(message))
      .map((message) => entry('warn', 'warning', message, { error: message })),
    ...(waiting && !logged.waiting
      ? [entry('info', 'waiting', `${noClayMessage(assessment)}; every sweep looks again`, {})]
      : []),
    ...(!waiting && !logged.watching ? [watchingEntry(assessment, dryRun)] : []),
    ...roomPerUser(
      orphans.filter((orphan) => !logged.orphans.has(key(orphan))),
      'candidate',
      candidateEntry,
    ),
    ...roomPerUser(
      due.filter((orphan) => !logged.wouldReap.has(key(orphan))),
      'would-reap',
      wouldReapEntry,
    ),
    // Processes beyond max_kills_per_sweep are counted here, and logged one by one in the sweep that ends them.
    ...results.filter((result) => !isDeferred(result)).map(outcomeEntry),
    ...deferredEntries(logged, deferred),
    ...(took === null ? [] : [sweepEntry(assessment, results, took)]),
  ];
  return {
    entries,
    logged: {
      clays: new Map(
        assessment.clays.map(({ daemon, permissionProblem, status, children: { unknownShape } }) => {
          const apiError = apiErrorOf(status, logged.clays.get(keyOf(daemon)));
          return [keyOf(daemon), { pid: daemon.pid, home: daemon.home, permissionProblem, apiError, unknownShape }];
        }),
      ),
      refusals: new Set(refusalsOf(assessment).map(({ home, reason }) => `${home}\n${reason}`)),
      orphans: new Set(orphans.map(key)),
      wouldReap: new Set(due.map(key)),
      leftAlone: new Set(assessment.leftAlone),
      deferredUids: new Set(deferred.map(({ judgement }) => judgement.evidence.uid)),
      unknownProjects: new Set([...logged.unknownProjects, ...unknownProjects]),
      shapes: shapes.logged,
      waiting,
      watching: !waiting,
      pressure: assessment.pressure !== null,
    },
  };
}

/** One user's processes must not fill the log: more than this of one event, user and sweep are counted. */
const MAX_ENTRIES_PER_USER = 100;

function roomPerUser(
  orphans: readonly IdleOrphan[],
  event: LogEvent,
  entryOf: (orphan: IdleOrphan) => LogEntry,
): LogEntry[] {
  const counts = new Map<number, number>();
  const entries = orphans.flatMap((orphan) => {
    const count = (counts.get(orphan.evidence.uid) ?? 0) + 1;
    counts.set(orphan.evidence.uid, count);
    return count > MAX_ENTRIES_PER_USER ? [] : [entryOf(orphan)];
  });
  const rest = [...counts].filter(([, count]) => count > MAX_ENTRIES_PER_USER);
  return [
    ...entries,
    ...rest.map(([uid, count]) => {
      const more = count - MAX_ENTRIES_PER_USER;
      return entry('info', event, `${more} more processes of uid ${uid} are not logged one by one`, {
        uid,
        count: more,
      });
    }),
  ];
}

const isDeferred = ({ result }: ReapResult): boolean => result.outcome === 'spared' && result.because === 'deferred';

/** One entry for each user whose orphans begin to be left to later sweeps. */
function deferredEntries(logged: LoggedState, deferred: readonly ReapResult[]): LogEntry[] {
  const counts = new Map<number, number>();
  for (const { judgement } of deferred) {
    const { uid } = judgement.evidence;
    counts.set(uid, (counts.get(uid) ?? 0) + 1);
  }
  return [...counts]
    .filter(([uid]) => !logged.deferredUids.has(uid))
    .map(([uid, count]) =>
      entry('info', 'deferred', `${count} orphans of uid ${uid} are left to later sweeps (max_kills_per_sweep)`, {
        uid,
        count,
      }),
    );
}

const key = (orphan: IdleOrphan): string => keyOf(orphan.evidence.id);

const entry = (level: LogEntry['level'], event: LogEvent, message: string, fields: LogEntry['fields']): LogEntry => ({
  level,
  event,
  message,
  fields,
});

function clayEntries(logged: LoggedState, assessment: Assessment): LogEntry[] {
  const entries: LogEntry[] = [];
  const running = new Set(assessment.clays.map(({ daemon }) => keyOf(daemon)));
  for (const [id, { pid, home }] of logged.clays) {
    if (!running.has(id)) entries.push(entry('info', 'clay-lost', `Clay ${pid} is gone`, { clayPid: pid, home }));
  }
  for (const { daemon, status, permissionProblem, children } of assessment.clays) {
    const before = logged.clays.get(keyOf(daemon));
    const fields = { clayPid: daemon.pid, uid: daemon.uid, home: daemon.home };
    const apiError = apiErrorOf(status, before);
    if (!before) entries.push(entry('info', 'clay-found', `watching Clay ${daemon.pid} in ${daemon.home}`, fields));
    if (permissionProblem !== null && before?.permissionProblem !== permissionProblem)
      entries.push(entry('error', 'blind', permissionProblem, fields));
    const { unknownShape } = children;
    // What was seen changes with every process; that nothing of it was understood is one event.
    if (unknownShape !== null && (before?.unknownShape ?? null) === null)
      entries.push(entry('warn', 'unknown-shape', unknownShape, { ...fields, release: daemon.installation.release }));
    if (apiError !== null && (before?.apiError ?? null) === null) {
      const message = `Clay ${daemon.pid} gives no usable answer: ${apiError}; its processes are left alone`;
      entries.push(entry('warn', 'api-unreachable', message, { ...fields, error: apiError }));
    }
    if (apiError === null && before && before.apiError !== null) {
      entries.push(entry('info', 'api-recovered', `Clay ${daemon.pid} answers again`, fields));
    }
  }
  return entries;
}

/** Why a Clay gives no usable answer; one that is not asked, for its user is left alone, is as it was. */
const apiErrorOf = (
  status: Assessment['clays'][number]['status'],
  before: { readonly apiError: string | null } | undefined,
): string | null => {
  if (status.ok) return null;
  return status.failure.detail === BUDGET_EXHAUSTED ? (before?.apiError ?? null) : status.failure.detail;
};

/** A user can write any number of shapes: no more than this are logged of one. */
const MAX_SHAPES_PER_USER = 20;

/** An entry for each shape that was not logged before, whichever process shows it. */
function shapeEntries(
  before: ReadonlyMap<string, number>,
  { clays, judgements }: Assessment,
): { entries: LogEntry[]; logged: ReadonlyMap<string, number> } {
  const logged = new Map(before);
  const entries: LogEntry[] = [];
  for (const judgement of judgements) {
    const { id, uid, sdkVersion, claudeRelease } = judgement.evidence;
    for (const { shape, seen } of unknownShapes(judgement)) {
      const key = `${shape} ${seen}`;
      if (logged.has(key)) continue;
      const ofUser = [...logged.values()].filter((loggedUid) => loggedUid === uid).length;
      if (ofUser >= MAX_SHAPES_PER_USER) continue;
      logged.set(key, uid);
      const release = clayReleaseOf(clays, judgement);
      const fields = { pid: id.pid, uid, shape, seen, claudeRelease, sdkVersion, release, newestTested: NEWEST_TESTED };
      const level = shape === 'release' ? 'info' : 'warn';
      entries.push(entry(level, 'unknown-shape', describeShape({ shape, seen }, judgement, release), fields));
    }
  }
  return { entries, logged };
}

const refusalsOf = (assessment: Assessment): { home: string | null; reason: string }[] => [
  ...assessment.homes.flatMap(({ home, refusals }) => refusals.map((reason) => ({ home, reason }))),
  ...[...(assessment.inContainers === null ? [] : [assessment.inContainers]), ...assessment.withoutHome].map(
    (reason) => ({
      home: null,
      reason,
    }),
  ),
];

const refusalEntries = (logged: LoggedState, assessment: Assessment): LogEntry[] =>
  refusalsOf(assessment)
    .filter(({ home, reason }) => !logged.refusals.has(`${home}\n${reason}`))
    .map(({ home, reason }) =>
      entry('warn', 'clay-refused', home === null ? reason : `${home} is refused: ${reason}`, { home, reason }),
    );

function pressureEntries(logged: LoggedState, { pressure }: Assessment): LogEntry[] {
  if (logged.pressure === (pressure !== null)) return [];
  if (pressure === null) {
    return [entry('info', 'pressure-ended', 'memory pressure is over: the usual waits apply again', {})];
  }
  const message = `memory pressure (some avg10 ${pressure} %): the shorter waits apply`;
  return [entry('warn', 'pressure-began', message, { someAvg10: pressure })];
}

/** The message of the event `started`: what the service will do, and when. */
export function startMessage(version: string, loaded: Pick<LoadedConfig, 'config' | 'given' | 'sources'>): string {
  const { given } = loaded;
  const dryRun = dryRunSource(loaded);
  const verb = dryRun === null ? 'ends' : 'would end';
  const mode = dryRun === null ? '' : `dry run (${dryRun}): it logs what it would end and ends nothing. `;
  const parked = given.parked_after === 'never' ? 'but no parked one' : `a parked one after ${given.parked_after}`;
  return `clay-reaper ${version} started. ${mode}Every ${given.poll_interval}, it ${verb} the claude processes that have been idle for ${given.grace_period}, ${parked}.`;
}

/** What the first sweep has found, and what comes next and when. */
function watchingEntry({ judgements }: Assessment, dryRun: boolean): LogEntry {
  const totals = totalsOfJudgements(judgements);
  const leftMs = Math.min(
    ...judgements.map((judgement) => (judgement.verdict === 'grace' ? judgement.waitMs - judgement.idleMs : Infinity)),
  );
  const ends = dryRun ? 'would be ended' : 'is ended';
  const next = Number.isFinite(leftMs)
    ? `the first ${ends} in ${formatDuration(leftMs)} if it stays idle`
    : 'the next one is logged when it becomes idle';
  const { processes, protected: kept, grace, reap } = totals;
  const message = `watching ${processes} claude processes: ${kept} protected, ${grace} in grace, ${reap} due; ${next}`;
  return entry('info', 'watching', message, { processes, protected: kept, grace, reap });
}

/** "claude 1193 of project shop". */
const nameOf = ({ evidence }: IdleOrphan): string =>
  `claude ${evidence.id.pid}${evidence.project === null ? '' : ` of project ${evidence.project.slug}`}`;

function candidateEntry(orphan: IdleOrphan): LogEntry {
  const leftMs = Math.max(0, orphan.waitMs - orphan.idleMs);
  const next = Number.isFinite(leftMs)
    ? `its wait is over in ${formatDuration(leftMs)} unless it becomes active`
    : 'it is kept';
  const message = `${nameOf(orphan)} has been idle for ${formatDuration(orphan.idleMs)} (${orphan.orphan}); ${next}`;
  return entry('info', 'candidate', message, orphanFields(orphan));
}

const wouldReapEntry = (orphan: IdleOrphan): LogEntry =>
  entry(
    'info',
    'would-reap',
    `would end ${nameOf(orphan)} (${orphan.orphan}): idle for ${formatDuration(orphan.idleMs)}, ${prettyBytes(orphan.evidence.reclaimableBytes)}`,
    orphanFields(orphan),
  );

function orphanFields({ evidence, orphan, idleMs, waitMs }: IdleOrphan): LogEntry['fields'] {
  return {
    pid: evidence.id.pid,
    startTicks: evidence.id.startTicks,
    uid: evidence.uid,
    clayPid: evidence.clay.state === 'dead' ? null : evidence.clay.pid,
    orphan,
    rssBytes: evidence.rssBytes,
    reclaimableBytes: evidence.reclaimableBytes,
    idleSeconds: Math.round(idleMs / 1000),
    graceSeconds: Number.isFinite(waitMs) ? Math.round(waitMs / 1000) : null,
    project: evidence.project?.slug ?? null,
    sessionId: evidence.sessionId,
    claudeRelease: evidence.claudeRelease,
    sdkVersion: evidence.sdkVersion,
  };
}

function outcomeEntry(reapResult: ReapResult): LogEntry {
  const { judgement, result } = reapResult;
  const { pid } = judgement.evidence.id;
  const fields = orphanFields(judgement);
  if (result.outcome === 'spared')
    return entry('info', 'spared', `spared ${nameOf(judgement)}: ${result.why}`, { ...fields, reason: result.why });
  if (result.outcome === 'survived') {
    const message = `${nameOf(judgement)} did not end: ${result.why}`;
    return entry('error', 'survived', message, { ...fields, signal: result.signal, reason: result.why });
  }
  if (!wasTerminated(reapResult)) return entry('debug', 'sweep', `claude ${pid} was gone already`, fields);
  const signal = result.outcome === 'killed' ? result.signal : 'SIGTERM';
  const leftovers = result.outcome === 'killed' ? result.leftovers : 0;
  const killed = signal === 'SIGKILL' ? '; SIGKILL was needed' : '';
  const descendants = leftovers > 0 ? `; ${leftovers} surviving descendants were ended too` : '';
  const message = `ended ${nameOf(judgement)} (${judgement.orphan}): idle for ${formatDuration(judgement.idleMs)}, ${prettyBytes(judgement.evidence.reclaimableBytes)} came back${killed}${descendants}`;
  return entry(signal === 'SIGKILL' ? 'warn' : 'info', 'reaped', message, { ...fields, signal, leftovers });
}

const totalsOfJudgements = (judgements: Assessment['judgements']) =>
  totalsOf(
    judgements.map(({ verdict, evidence: { rssBytes, reclaimableBytes } }) => ({
      verdict,
      rssBytes,
      reclaimableBytes,
    })),
  );

function sweepEntry(
  assessment: Assessment,
  results: readonly ReapResult[],
  took: { readonly ms: number; readonly cpuMs: number },
): LogEntry {
  return entry('debug', 'sweep', 'swept', {
    ...totalsOfJudgements(assessment.judgements),
    reaped: results.filter(wasTerminated).length,
    reclaimedBytes: reclaimedBytes(results),
    tookMs: Math.round(took.ms * 10) / 10,
    cpuMs: Math.round(took.cpuMs * 10) / 10,
  });
}
