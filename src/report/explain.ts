import { styleText } from 'node:util';
import type { Assessment } from '../assess.ts';
import { formatDuration, formatLimit } from '../judge/duration.ts';
import { recordedActivity } from '../judge/idle.ts';
import type { IdleOrphan, Judgement } from '../judge/judge.ts';
import { ORPHAN_KINDS, type OrphanKind, orphanKindOf } from '../judge/orphan-kinds.ts';
import { PROTECTION_RULES, type ReasonCode, type RuleInput } from '../judge/rules.ts';
import type { Check } from '../observe/non-candidate.ts';
import type { UsageByPid } from '../observe/usage.ts';
import { describeEvidence, type EvidenceLine, type EvidenceSources } from './describe-evidence.ts';
import { type TerminalStyle, VERDICT_COLOURS } from './format.ts';
import { statusReport } from './json.ts';
import { sanitize } from './sanitize.ts';
import { fittedSections, type Item, section, wrapped } from './sections.ts';

/** Everything that can be said about one candidate. */
export type Explanation = {
  readonly evidence: readonly EvidenceLine[];
  readonly rules: readonly RuleOutcome[];
  readonly kinds: readonly KindOutcome[];
  readonly idle: string;
  readonly verdict: string;
  readonly otherwise: readonly Alternative[];
};

/** Whether a rule holds for one process, and why. */
type RuleOutcome = { readonly code: ReasonCode; readonly holds: boolean; readonly detail: string };

/** Whether one process is of a kind of orphan, and why; of several that fit, the first counts. */
type KindOutcome = { readonly kind: OrphanKind; readonly fits: boolean; readonly detail: string };

/** What would have to happen for another verdict: all that is listed. */
type Alternative = { readonly verdict: Judgement['verdict']; readonly when: readonly string[] };

/** Explains a judgement. */
export function explainJudgement(judgement: Judgement, assessment: Assessment, sources: EvidenceSources): Explanation {
  const idle = describeIdleTime(judgement);
  return {
    evidence: describeEvidence(judgement, sources),
    rules: ruleOutcomes(judgement),
    kinds: kindOutcomes(judgement),
    idle: judgement.verdict === 'protected' ? `none while it is protected; ${idle}` : idle,
    verdict: describeVerdict(judgement, assessment),
    otherwise:
      judgement.verdict === 'protected' ? alternativesWhenProtected(judgement) : alternativesWhenIdle(judgement),
  };
}

/** Every protecting rule, in the order of the table. */
export const ruleOutcomes = (input: RuleInput): RuleOutcome[] =>
  PROTECTION_RULES.map(({ code, holds, whyNot }) => {
    const detail = holds(input);
    return { code, holds: detail !== null, detail: detail ?? whyNot(input) };
  });

/** Every kind of orphan, in the order of the table; the last is for what fits no other. */
export function kindOutcomes(input: RuleInput): KindOutcome[] {
  const first = orphanKindOf(input).kind;
  return ORPHAN_KINDS.map(({ kind, matches, detail }) =>
    kind === 'parked' && kind !== first
      ? { kind, fits: false, detail: `it is ${first}` }
      : { kind, fits: matches(input), detail: detail(input) },
  );
}

/** Describes what the idle time rests on. */
export function describeIdleTime({ evidence, now }: RuleInput): string {
  if (evidence.sessionId === null)
    return 'it cannot be tied to a conversation, so only what the service itself has seen of it counts';
  const [last] = recordedActivity(evidence).sort((a, b) => b.atMs - a.atMs);
  if (last) return `${last.what} was the last to change, ${formatDuration(now.wallMs - last.atMs)} ago`;
  return evidence.journal.state === 'missing'
    ? 'nothing is left of its conversation, so it counts from its start'
    : 'no activity of its conversation is recorded';
}

function describeVerdict(judgement: Judgement, { pressure }: Assessment): string {
  if (judgement.verdict === 'protected') {
    const codes = judgement.reasons.map(({ code }) => code).join(', ');
    return `it is left alone, because of ${codes}`;
  }
  const { orphan, idleMs, waitMs } = judgement;
  const shortened = pressure === null ? '' : `; shortened because of memory pressure (${pressure} %)`;
  const head = `an idle orphan (${orphan}), idle for ${formatDuration(idleMs)}; its wait is ${describeWait(judgement)}${shortened}`;
  if (judgement.verdict === 'reap') return `${head}: the next sweep ends it`;
  return Number.isFinite(waitMs) ? `${head}: it is ended in ${formatDuration(waitMs - idleMs)}` : `${head}: it stays`;
}

/** Describes which wait applies to an idle orphan, and how long it is. */
function describeWait(judgement: IdleOrphan): string {
  const { waitSetting } = orphanKindOf(judgement);
  const { policy, waitMs } = judgement;
  if (waitMs === waitOf(waitSetting, judgement)) return formatWait(waitSetting, judgement);
  return `${formatWait('grace_period', judgement)}, as it is one of those idle longest beyond max_parked, ${policy.maxParked}`;
}

type WaitSetting = 'grace_period' | 'parked_after';

const waitOf = (setting: WaitSetting, { policy }: RuleInput): number =>
  setting === 'grace_period' ? policy.gracePeriodMs : policy.parkedAfterMs;

/** A setting that decides about a wait, with its value. */
const formatWait = (setting: WaitSetting, input: RuleInput): string =>
  `${setting}, ${formatLimit(waitOf(setting, input))}`;

function alternativesWhenProtected(judgement: Judgement): Alternative[] {
  const { kind, waitSetting } = orphanKindOf(judgement);
  const cleared = PROTECTION_RULES.filter((rule) => judgement.reasons.some((reason) => reason.code === rule.code)).map(
    ({ code, howToClear }) => `${code}: ${howToClear(judgement)}`,
  );
  const quiet = `then nothing happens for ${formatWait(waitSetting, judgement)} (as things are, it would be an orphan of kind ${kind})`;
  return [
    { verdict: 'grace', when: cleared },
    { verdict: 'reap', when: ['all of that', quiet] },
  ];
}

function alternativesWhenIdle(judgement: IdleOrphan): Alternative[] {
  const { policy, evidence, idleMs, waitMs, orphan } = judgement;
  const protect = evidence.project === null ? '' : `, or [protect] projects = ["${evidence.project.slug}"] is set`;
  const isProtected: Alternative = {
    verdict: 'protected',
    when: [
      `one of the rules holds: a message to its conversation is enough${protect}; its idle time then starts again from zero`,
    ],
  };
  if (judgement.verdict === 'reap') {
    return [isProtected, { verdict: 'grace', when: [`its wait is set to more than ${formatDuration(idleMs)}`] }];
  }
  const alternatives: Alternative[] = [isProtected];
  if (Number.isFinite(waitMs)) {
    alternatives.push({ verdict: 'reap', when: [`nothing happens for another ${formatDuration(waitMs - idleMs)}`] });
  }
  if (orphan === 'parked' && policy.gracePeriodMs < waitMs) {
    const sooner = `its conversation is deleted or gets a newer process, or its Clay dies: then its wait is grace_period, ${formatLimit(policy.gracePeriodMs)}`;
    alternatives.push({ verdict: 'reap', when: [sooner] });
  }
  return alternatives;
}

/** `explain --json` on a candidate, schema 1: what `status --json` says of it, and why. */
export function explanationReport(explanation: Explanation, pid: number, assessment: Assessment, usage: UsageByPid) {
  const { at, processes } = statusReport(assessment, usage);
  const row = processes.find((process) => process.pid === pid);
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

/** `explain --json` on a process that is no candidate, schema 1. */
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

/** What fits a terminal of 24 lines, with the next prompt below it. */
const SCREEN_LINES = 23;

/** The verdict, the rules that hold and what would change it, on one screen; the evidence is in {@link explanationText}. */
export function shortExplanationText(explanation: Explanation, judgement: Judgement, style: TerminalStyle): string {
  const holding = explanation.rules.filter(({ holds }) => holds);
  const kind = explanation.kinds.find(({ fits }) => fits);
  const verdict: Item[] = [
    { term: judgement.verdict, text: explanation.verdict },
    ...(judgement.verdict === 'protected' ? [] : [{ term: 'because', text: kind?.detail ?? '' }]),
    { term: 'idle time', text: explanation.idle },
  ];
  const parts = [
    { heading: 'Verdict', items: verdict },
    ...(holding.length === 0
      ? []
      : [
          {
            heading: 'Rules that protect it',
            items: holding.map(({ code, detail }) => ({ term: code, text: detail })),
          },
        ]),
    {
      heading: 'Another verdict if',
      items: explanation.otherwise.map(({ verdict: other, when }) => ({ term: other, text: when.join('\nand ') })),
    },
  ].map(({ heading, items }) => ({
    heading,
    items: items.map(({ term, text }) => ({
      term,
      text: text
        .split('\n')
        .map((line) => sanitize(line))
        .join('\n'),
    })),
  }));
  const others = explanation.rules.length - holding.length;
  const head = headline(judgement, style);
  const foot = wrapped(
    `${holding.length === 0 ? `None of the ${others} protecting rules holds` : `${others} other rules do not hold`}. All evidence: clay-reaper explain ${judgement.evidence.id.pid} --verbose`,
    style,
  );
  const linesOf = (text: string): number => text.split('\n').length;
  const room = SCREEN_LINES - linesOf(head) - linesOf(foot) - 2;
  return [head, fittedSections(parts, room, style), foot].join('\n\n');
}

function headline({ evidence, verdict }: Judgement, style: TerminalStyle): string {
  const where = evidence.project === null ? '' : sanitize(` of project ${evidence.project.slug}`);
  const verdictWord = style.colour ? styleText(VERDICT_COLOURS[verdict], verdict) : verdict;
  return `claude ${evidence.id.pid}${where}: ${verdictWord}`;
}

const yesOrNo = (holds: boolean): string => (holds ? 'yes' : 'no').padEnd(3);

/** An explanation as a person reads it. */
export function explanationText(explanation: Explanation, judgement: Judgement, style: TerminalStyle): string {
  return [
    headline(judgement, style),
    section(
      'Evidence',
      explanation.evidence.map(({ what, value, meaning, from }) => ({
        term: what,
        text: `${sanitize(value)} – ${sanitize(meaning)}\nread from ${sanitize(from)}`,
      })),
      style,
    ),
    section(
      'Rules that protect it (one is enough)',
      explanation.rules.map(({ code, holds, detail }) => ({
        term: `${code.padEnd(12)} ${yesOrNo(holds)}`,
        text: sanitize(detail),
      })),
      style,
    ),
    section(
      'Kind of orphan if no rule holds (the first that fits)',
      explanation.kinds.map(({ kind, fits, detail }) => ({
        term: `${kind.padEnd(12)} ${yesOrNo(fits)}`,
        text: sanitize(detail),
      })),
      style,
    ),
    section(
      'Verdict',
      [
        { term: judgement.verdict, text: sanitize(explanation.verdict) },
        { term: 'idle time', text: sanitize(explanation.idle) },
      ],
      style,
    ),
    section(
      'Another verdict if',
      explanation.otherwise.map(({ verdict, when }) => ({
        term: verdict,
        text: when.map((condition) => sanitize(condition)).join('\nand '),
      })),
      style,
    ),
  ].join('\n\n');
}

/** Why a process is no candidate, as a person reads it. */
export function noCandidateText(pid: number, why: string, checks: readonly Check[], style: TerminalStyle): string {
  const items = checks.map(({ what, holds, detail }) => ({
    term: `${what.padEnd(12)} ${yesOrNo(holds)}`,
    text: sanitize(detail),
  }));
  const head = wrapped(`pid ${pid} is no claude process of a Clay: ${sanitize(why)}`, style);
  return [head, section('What makes one', items, style)].join('\n\n');
}
