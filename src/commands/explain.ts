import { type Assessment, assess, assessOnce, newAssessState } from '../assess.ts';
import { UsageError } from '../config/load.ts';
import { ownHistoryDirectory } from '../history/record.ts';
import { readHistory } from '../history/store.ts';
import type { Judgement } from '../judge/judge.ts';
import { type Check, explainNonCandidate } from '../observe/non-candidate.ts';
import { type UsageByPid, usageSampler } from '../observe/usage.ts';
import type { EvidenceSources } from '../report/describe-evidence.ts';
import { endedText } from '../report/ended.ts';
import { EXIT, exitStatus } from '../report/exit-status.ts';
import {
  explainJudgement,
  explanationReport,
  explanationText,
  noCandidateReport,
  noCandidateText,
  shortExplanationText,
} from '../report/explain.ts';
import { terminalStyle } from '../report/format.ts';
import { printJson } from '../report/json.ts';
import { noClayMessage, warnings } from '../report/messages.ts';
import { printError } from '../report/stderr.ts';
import type { SweepSettings } from '../sweep.ts';
import { withLookingNotice } from './looking.ts';
import { type CommonOptions, loadFromOptions, sweepSettings, thisProcRoot } from './options.ts';

type ExplainOptions = CommonOptions & { readonly json?: boolean; readonly verbose?: boolean };

/** The highest pid of any kernel: proc_sys_kernel(5), pid_max. */
const MAX_PID = 2 ** 22;

/** `explain PID`: all the evidence on one process, every rule, and the verdict. Returns the exit status. */
export async function explain(pidText: string, options: ExplainOptions): Promise<number> {
  const pid = parsePid(pidText);
  const settings = sweepSettings(thisProcRoot(), loadFromOptions(options));
  const first = await assess(settings, newAssessState(settings.procRoot));
  // CPU takes a second sweep to measure; a process that is no candidate need not wait for it.
  if (!judgementOf(first, pid)) return explainNoCandidate(settings, first, pid, options);

  const usage = usageSampler();
  const assessment = await withLookingNotice((onWait) =>
    assessOnce(settings, {
      afterFirst: usage.begin,
      onWait,
      isRelevant: ({ evidence }) => evidence.id.pid === pid,
    }),
  );
  const used = await usage.end(assessment);
  const judgement = judgementOf(assessment, pid);
  if (!judgement) return explainNoCandidate(settings, assessment, pid, options);
  const explanation = explainJudgement(judgement, assessment, sourcesOf(settings, assessment, judgement, used));
  if (options.json) printJson(explanationReport(explanation, pid, assessment, used));
  else
    process.stdout.write(
      `${(options.verbose ? explanationText : shortExplanationText)(explanation, judgement, terminalStyle(process.stdout))}\n`,
    );
  for (const warning of warnings(assessment)) printError(warning);
  return exitStatus(assessment);
}

function parsePid(text: string): number {
  const pid = /^\d{1,7}$/.test(text) ? Number(text) : 0;
  if (pid >= 1 && pid <= MAX_PID) return pid;
  throw new UsageError(`explain needs a process id, a number from 1 to ${MAX_PID}, not ${JSON.stringify(text)}`);
}

const judgementOf = (assessment: Assessment, pid: number): Judgement | undefined =>
  assessment.judgements.find(({ evidence }) => evidence.id.pid === pid);

function sourcesOf(
  { procRoot }: SweepSettings,
  assessment: Assessment,
  { evidence }: Judgement,
  used: UsageByPid,
): EvidenceSources {
  const last = assessment.cache.lastSources(evidence.id);
  const { clay } = evidence;
  const probe = assessment.clays.find(({ daemon }) => clay.state !== 'dead' && daemon.pid === clay.pid);
  return {
    procRoot,
    environment: last?.environment ?? null,
    transcript: last?.transcriptPath ?? null,
    clay: probe?.daemon.socketPath ?? clay.home,
    usage: used.get(evidence.id.pid) ?? null,
  };
}

function explainNoCandidate(
  { procRoot }: SweepSettings,
  assessment: Assessment,
  pid: number,
  { json }: ExplainOptions,
): number {
  const checks = explainNonCandidate(procRoot, assessment, pid);
  if (!checks.ok) {
    const isGone = checks.failure.code === 'not-found';
    const why = isGone ? `there is no process with pid ${pid}` : checks.failure.detail;
    const ended = isGone
      ? (readHistory(ownHistoryDirectory()).records.findLast((row) => row.pid === pid) ?? null)
      : null;
    if (json) printJson({ ...noCandidateReport(pid, why, [], assessment.at.wallMs), ended });
    else if (ended) process.stdout.write(`${endedText(ended, terminalStyle(process.stdout))}\n`);
    printError(why);
    return EXIT.failed;
  }
  const why = firstFailed(checks.value);
  if (json) printJson(noCandidateReport(pid, why, checks.value, assessment.at.wallMs));
  else process.stdout.write(`${noCandidateText(pid, why, checks.value, terminalStyle(process.stdout))}\n`);
  const exit = exitStatus(assessment);
  for (const line of exit === EXIT.noClay ? [noClayMessage(assessment)] : warnings(assessment)) printError(line);
  return exit;
}

const firstFailed = (checks: readonly Check[]): string => checks.find(({ holds }) => !holds)?.detail ?? '';
