import { styleText } from 'node:util';
import type { IdleOrphan, Judgement } from '../judge/judge.ts';
import { type Case, ORPHAN_KINDS } from '../judge/rules.ts';
import type { Check } from '../observe/no-candidate.ts';
import type { Look } from '../sweep.ts';
import { type EvidenceWords, evidenceInWords, type Places, waitInWords } from './evidence-words.ts';
import { statusReport, type UsageByPid } from './report.ts';
import {
  idleInWords,
  type KindOutcome,
  kindOutcomes,
  limitInWords,
  type RuleOutcome,
  ruleOutcomes,
  WHAT_LIFTS,
} from './rule-words.ts';
import { safeText } from './safe-text.ts';
import { section, wrapped } from './sections.ts';
import { COLOURS, type Screen, shortTime } from './table.ts';

/** All that can be said about one candidate. */
export type Explanation = {
  readonly evidence: readonly EvidenceWords[];
  readonly rules: readonly RuleOutcome[];
  readonly kinds: readonly KindOutcome[];
  readonly idle: string;
  readonly verdict: string;
  readonly otherwise: readonly Otherwise[];
};

/** What would have to happen for another verdict: all that is listed. */
type Otherwise = { readonly verdict: Judgement['verdict']; readonly when: readonly string[] };

/** Explains a judgement, given the case that it was made of. */
export function explain(which: Case, judgement: Judgement, look: Look, places: Places): Explanation {
  return {
    evidence: evidenceInWords(which, places),
    rules: ruleOutcomes(which),
    kinds: kindOutcomes(which),
    idle: judgement.verdict === 'protected' ? `none while it is protected; ${idleInWords(which)}` : idleInWords(which),
    verdict: verdictInWords(which, judgement, look),
    otherwise: judgement.verdict === 'protected' ? whenFree(which, judgement) : whenNot(which, judgement),
  };
}

/** The row of the table of kinds that counts for a process. */
const kindOf = (which: Case) =>
  ORPHAN_KINDS.find(({ fits }) => fits(which)) ?? { kind: 'parked', wait: 'parked_after' };

function verdictInWords(which: Case, judgement: Judgement, { pressure }: Look): string {
  if (judgement.verdict === 'protected') {
    const codes = judgement.reasons.map(({ code }) => code).join(', ');
    return `it is left alone, because of ${codes}`;
  }
  const { orphan, idleMs, waitMs } = judgement;
  const wait = waitOf(which, judgement);
  const stall = pressure === null ? '' : `; shortened, as the machine stalls for memory (${pressure} %)`;
  const head = `an idle orphan (${orphan}), idle for ${shortTime(idleMs)}; its wait is ${wait}${stall}`;
  if (judgement.verdict === 'reap') return `${head}: the next sweep ends it`;
  return Number.isFinite(waitMs) ? `${head}: it is ended in ${shortTime(waitMs - idleMs)}` : `${head}: it stays`;
}

/** Which wait applies to an idle orphan, and how long it is. */
function waitOf(which: Case, judgement: IdleOrphan): string {
  const { wait } = kindOf(which);
  const usual = wait === 'grace_period' ? which.limits.gracePeriodMs : which.limits.parkedAfterMs;
  if (judgement.waitMs === usual) return waitInWords(wait, which);
  return `${waitInWords('grace_period', which)}, as it is one of those idle longest beyond max_parked, ${which.limits.maxParked}`;
}

function whenFree(which: Case, { reasons }: Judgement): Otherwise[] {
  const { kind, wait } = kindOf(which);
  const then = `then nothing happens for ${waitInWords(wait, which)}: it is an idle orphan (${kind}) by now`;
  const lifted = reasons.map(({ code }) => `${code}: ${WHAT_LIFTS[code](which)}`);
  return [
    { verdict: 'grace', when: lifted },
    { verdict: 'reap', when: ['all of that', then] },
  ];
}

function whenNot(which: Case, judgement: IdleOrphan): Otherwise[] {
  const { limits, evidence } = which;
  const protect = evidence.project === null ? '' : `, or [protect] projects = ["${evidence.project.slug}"] is set`;
  const keeps = {
    verdict: 'protected' as const,
    when: [
      `one of the rules holds: a message to its conversation is enough${protect}; its idle time then starts again from zero`,
    ],
  };
  if (judgement.verdict === 'reap') {
    return [keeps, { verdict: 'grace', when: [`its wait is set to more than ${shortTime(judgement.idleMs)}`] }];
  }
  const left = judgement.waitMs - judgement.idleMs;
  return [
    keeps,
    ...(Number.isFinite(left)
      ? [{ verdict: 'reap' as const, when: [`nothing happens for another ${shortTime(left)}`] }]
      : []),
    ...(judgement.orphan === 'parked' && limits.gracePeriodMs < judgement.waitMs
      ? [
          {
            verdict: 'reap' as const,
            when: [
              `its conversation is deleted or gets a newer process, or its Clay dies: then its wait is grace_period, ${limitInWords(limits.gracePeriodMs)}`,
            ],
          },
        ]
      : []),
  ];
}

/** `explain --json` on a candidate, schema 1: what `status --json` says of it, and why. */
export function explanationReport(explanation: Explanation, pid: number, look: Look, usage: UsageByPid) {
  const { at, processes } = statusReport(look, usage);
  const row = processes.find((each) => each.pid === pid);
  const { evidence, rules, kinds, idle, verdict, otherwise } = explanation;
  return {
    schema: 1,
    at,
    candidate: true,
    why: verdict,
    ...row,
    pid,
    evidence,
    rules,
    orphanKinds: kinds,
    idle,
    otherwise,
  };
}

/** `explain --json` on what is no candidate, schema 1. */
export function noCandidateReport(pid: number, why: string, checks: readonly Check[], atMs: number) {
  return {
    schema: 1,
    at: new Date(atMs).toISOString(),
    candidate: false,
    why,
    pid,
    verdict: null,
    orphan: null,
    evidence: [],
    rules: [],
    checks,
  };
}

const YES = 'yes';
const NO = 'no';

/** An explanation as a person reads it. */
export function explanationText(explanation: Explanation, judgement: Judgement, screen: Screen): string {
  const { id, project } = judgement.evidence;
  const word = screen.colour ? styleText(COLOURS[judgement.verdict], judgement.verdict) : judgement.verdict;
  const where = project === null ? '' : safeText(` of project ${project.slug}`);
  const outcome = (holds: boolean): string => (holds ? YES : NO).padEnd(3);
  return [
    `claude ${id.pid}${where}: ${word}`,
    section(
      'Evidence',
      explanation.evidence.map(({ what, value, meaning, from }) => ({
        term: what,
        text: `${safeText(value)} – ${safeText(meaning)}\nread from ${safeText(from)}`,
      })),
      screen,
    ),
    section(
      'Rules that protect it, one is enough',
      explanation.rules.map(({ code, holds, detail }) => ({
        term: `${code.padEnd(12)} ${outcome(holds)}`,
        text: safeText(detail),
      })),
      screen,
    ),
    section(
      'Kind of orphan if none of them holds, the first that fits',
      explanation.kinds.map(({ kind, fits, detail }) => ({
        term: `${kind.padEnd(12)} ${outcome(fits)}`,
        text: safeText(detail),
      })),
      screen,
    ),
    section(
      'Verdict',
      [
        { term: judgement.verdict, text: safeText(explanation.verdict) },
        { term: 'idle time', text: safeText(explanation.idle) },
      ],
      screen,
    ),
    section(
      'Another verdict if',
      explanation.otherwise.map(({ verdict, when }) => ({
        term: verdict,
        text: when.map((each) => safeText(each)).join('\nand '),
      })),
      screen,
    ),
  ].join('\n\n');
}

/** Why a process is no candidate, as a person reads it. */
export function noCandidateText(pid: number, why: string, checks: readonly Check[], screen: Screen): string {
  const items = checks.map(({ what, holds, detail }) => ({
    term: `${what.padEnd(12)} ${(holds ? YES : NO).padEnd(3)}`,
    text: safeText(detail),
  }));
  const head = wrapped(`pid ${pid} is no candidate: ${safeText(why)}`, screen);
  return [head, section('What a candidate is', items, screen)].join('\n\n');
}
