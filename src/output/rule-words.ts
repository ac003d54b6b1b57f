import { happenings } from '../judge/idle.ts';
import { type Case, ORPHAN_KINDS, type OrphanKind, PROTECTION, type ReasonCode } from '../judge/rules.ts';
import { shortTime } from './table.ts';

/** A rule of the table, asked about one process: whether it holds, and what that rests on. */
export type RuleOutcome = { readonly code: ReasonCode; readonly holds: boolean; readonly detail: string };

/** A kind of orphan, asked about one process. Of several that fit, the first counts; the last is for what fits no other. */
export type KindOutcome = { readonly kind: OrphanKind; readonly fits: boolean; readonly detail: string };

/** Every protecting rule in the order of the table, with its outcome. */
export const ruleOutcomes = (which: Case): RuleOutcome[] =>
  PROTECTION.map(({ code, holds }) => {
    const detail = holds(which);
    return { code, holds: detail !== null, detail: detail ?? WHY_NOT[code](which) };
  });

/** Every kind of orphan in the order of the table, with its outcome. */
export function kindOutcomes(which: Case): KindOutcome[] {
  const first = ORPHAN_KINDS.find(({ fits }) => fits(which))?.kind;
  return ORPHAN_KINDS.map(({ kind, fits }) =>
    kind === 'parked' && kind !== first
      ? { kind, fits: false, detail: `it is ${first}` }
      : { kind, fits: fits(which), detail: KIND_WORDS[kind](which) },
  );
}

/** A limit as a person would set it; what is never is "never". */
export const limitInWords = (ms: number): string => (Number.isFinite(ms) ? shortTime(ms) : 'never');

/** Why a rule that does not hold does not. */
const WHY_NOT: Readonly<Record<ReasonCode, (which: Case) => string>> = {
  unverified: () => 'all that has to be known could be read, and fits together',
  young: ({ evidence, limits }) => `${shortTime(evidence.ageMs)} old; min_age is ${limitInWords(limits.minAgeMs)}`,
  terminal: () => 'it has no controlling terminal',
  connection: ({ evidence, limits }) =>
    evidence.connections.length === 0
      ? 'it has no open TCP connection'
      : `what is open has been the very same for stale_connection_after, ${limitInWords(limits.staleConnectionAfterMs)}, with nothing else going on`,
  cpu: ({ cpu, limits }) =>
    cpu === null
      ? 'not measured'
      : `${cpu.percent.toFixed(1)} % of a core in the last ${shortTime(cpu.overMs)}, no more than an idle one uses; cpu_idle_below is ${limits.cpuIdleBelow} %`,
  tool: ({ evidence }) =>
    evidence.descendants.length === 0
      ? 'nothing runs below it'
      : `none of the ${evidence.descendants.length} below it leads a session of its own or is the shell of a tool`,
  busy: ({ evidence: { status, sessionId } }) => statusWords(status, sessionId),
  waiting: ({ evidence: { status, sessionId } }) => statusWords(status, sessionId),
  scheduled: () => 'it has set itself no alarm that is still to come',
  turn: ({ evidence: { journal } }) => {
    if (journal.state === 'unknown') return 'which journal in Clay is its own cannot be told';
    if (journal.state === 'missing') return 'Clay has no journal of its conversation';
    if (journal.turn === 'ended') return 'the last turn in its journal has ended';
    if (journal.turn === 'unclear') return `the end of its journal does not decide (${journal.decidedBy})`;
    return 'the turn that is open in its journal is older than this process';
  },
  processing: ({ evidence: { clay, project } }) => {
    if (clay.state === 'dead') return 'its Clay is dead';
    if (clay.state === 'silent') return 'Clay does not say (see api)';
    if (project === null) return 'no project of this Clay is in a turn';
    return project.inTurn
      ? `project ${project.slug} is in a turn, but the journal of this conversation shows that its own has ended`
      : `Clay says that project ${project.slug} is at rest`;
  },
  api: ({ evidence: { clay } }) => (clay.state === 'dead' ? 'its Clay is dead' : 'Clay answers as expected'),
  configured: () => 'the configuration protects neither its project nor its conversation',
};

const statusWords = (status: string | null, sessionId: string | null): string => {
  if (sessionId === null) return 'it has no session file';
  return status === null ? 'its session file has no status' : `its session file says ${JSON.stringify(status)}`;
};

const KIND_WORDS: Readonly<Record<OrphanKind, (which: Case) => string>> = {
  superseded: ({ newerPid, evidence }) => {
    if (newerPid !== null) return `pid ${newerPid} is a newer process of the same conversation`;
    return evidence.sessionId === null
      ? 'which conversation it belongs to cannot be told'
      : 'its conversation has no newer process';
  },
  deleted: ({ evidence: { journal } }) => {
    if (journal.state === 'missing') return 'its conversation is gone from Clay';
    return journal.state === 'found' ? 'Clay has its conversation' : 'whether Clay has its conversation cannot be told';
  },
  abandoned: ({ evidence: { clay, ppid } }) =>
    clay.state === 'dead'
      ? `the Clay of ${clay.home} that started it is dead, and it was handed on to pid ${ppid}`
      : `its Clay, pid ${clay.pid}, lives`,
  parked: () => 'it is none of these: its conversation is open, but nothing happens in it',
};

/** What has to happen for a rule that holds to hold no longer. */
export const WHAT_LIFTS: Readonly<Record<ReasonCode, (which: Case) => string>> = {
  unverified: () => 'what could not be read can be read (as root?) and fits together',
  young: ({ evidence, limits }) => `it gets older: in ${shortTime(limits.minAgeMs - evidence.ageMs)}`,
  terminal: () => 'it loses its terminal; who has one is at work with it',
  connection: ({ limits }) =>
    Number.isFinite(limits.staleConnectionAfterMs)
      ? `the connection closes, or the service sees it unchanged for stale_connection_after, ${limitInWords(limits.staleConnectionAfterMs)}, with no other rule holding`
      : 'the connection closes',
  cpu: ({ limits }) => `it and all below it use less than cpu_idle_below, ${limits.cpuIdleBelow} % of a core`,
  tool: ({ evidence }) => `the tool ends: ${evidence.tools.map(({ pid }) => `pid ${pid}`).join(', ')}`,
  busy: () => 'its session file says idle',
  waiting: () => 'the user answers, and what follows comes to its end',
  scheduled: () => 'its last alarm has fired, or the conversation deletes it',
  turn: () => 'the turn ends, be it by itself or because the user stops it in Clay',
  processing: () =>
    'its project is at rest in Clay, or the journal of its conversation shows that its own turn has ended',
  api: () => 'Clay answers again',
  configured: () => 'its project or conversation is taken out of [protect]',
};

/** What its idle time rests on. */
export function idleInWords({ evidence, now }: Case): string {
  if (evidence.sessionId === null)
    return 'it cannot be tied to a conversation, so only what the service itself sees of it counts';
  const [last] = happenings(evidence).sort((one, other) => other.atMs - one.atMs);
  if (last) return `${last.what} was the last to change, ${shortTime(now.wallMs - last.atMs)} ago`;
  return evidence.journal.state === 'missing'
    ? 'nothing is left of its conversation, so it counts from its start'
    : 'nothing is written down of its conversation';
}
