import { UsageError } from '../config/load.ts';
import { keyOf } from '../judge/evidence.ts';
import { type Judgement, judge } from '../judge/judge.ts';
import type { Case } from '../judge/rules.ts';
import { factsOn } from '../observe/facts.ts';
import { type Check, whyNoCandidate } from '../observe/no-candidate.ts';
import type { Places } from '../output/evidence-words.ts';
import { complaints, EXIT, exitStatus, nothingFound } from '../output/exit-status.ts';
import {
  explain as explainCase,
  explanationReport,
  explanationText,
  noCandidateReport,
  noCandidateText,
} from '../output/explanation.ts';
import { printJson, type UsageByPid } from '../output/report.ts';
import { screenOf } from '../output/table.ts';
import { tell } from '../output/tell.ts';
import { watchUsage } from '../output/usage.ts';
import { emptyState, type Look, look, lookOnce, type SweepSettings } from '../sweep.ts';
import { settingsOf } from '../sweep-settings.ts';
import { type CommonOptions, loadFor, thisHost } from './options.ts';

type ExplainOptions = CommonOptions & { readonly json?: boolean };

/** proc_sys_kernel(5), pid_max: no kernel gives a higher pid. */
const MAX_PID = 2 ** 22;

/** `explain PID`: all the evidence on one process, every rule, and the verdict. Gives the exit status. */
export async function explain(pidText: string, options: ExplainOptions): Promise<number> {
  const pid = /^\d{1,7}$/.test(pidText) ? Number(pidText) : 0;
  if (pid < 1 || pid > MAX_PID)
    throw new UsageError(
      `explain wants the pid of a process, a number from 1 to ${MAX_PID}, not ${JSON.stringify(pidText)}`,
    );
  const settings = settingsOf(thisHost(), loadFor(options));
  const first = await look(settings, emptyState());
  // Without a second look there is no CPU use; what is no candidate is not waited for.
  if (!judgementOf(first, pid)) return explainNoCandidate(settings, first, pid, options);

  const usage = watchUsage();
  const found = await lookOnce(settings, usage.begin, (each) => each.evidence.id.pid === pid);
  const used = await usage.end(found);
  const judgement = judgementOf(found, pid);
  if (!judgement) return explainNoCandidate(settings, found, pid, options);
  const which = caseOf(found, judgement);
  const explanation = explainCase(which, judgement, found, placesOf(settings, found, judgement, used));
  if (options.json) printJson(explanationReport(explanation, pid, found, used));
  else process.stdout.write(`${explanationText(explanation, judgement, screenOf(process.stdout))}\n`);
  for (const complaint of complaints(found)) tell(complaint);
  return exitStatus(found);
}

const judgementOf = (found: Look, pid: number): Judgement | undefined =>
  found.judgements.find((each) => each.evidence.id.pid === pid);

/** The case that a judgement was made of: judging is pure, so it can be done again. */
function caseOf(found: Look, { evidence }: Judgement): Case {
  const { cases } = judge(found.evidence, found.watchesBefore, found.limits, found.at);
  const which = cases.get(keyOf(evidence.id));
  if (!which) throw new Error(`claude ${evidence.id.pid} was judged without a case`);
  return which;
}

function placesOf({ host }: SweepSettings, found: Look, { evidence }: Judgement, used: UsageByPid): Places {
  const facts = factsOn(found.facts, evidence.id);
  const { clay } = evidence;
  const daemon = found.clays.find((each) => clay.state !== 'dead' && each.daemon.pid === clay.pid)?.daemon;
  return {
    procRoot: host.procRoot,
    environment: facts?.environment ?? null,
    transcript: facts?.transcriptPath ?? null,
    clay: daemon?.socketPath ?? clay.home,
    usage: used.get(evidence.id.pid) ?? null,
  };
}

function explainNoCandidate({ host }: SweepSettings, found: Look, pid: number, { json }: ExplainOptions): number {
  const checks = whyNoCandidate(host, found, pid);
  if (!checks.ok) {
    const why = checks.failure.why === 'gone' ? `there is no process with pid ${pid}` : checks.failure.detail;
    if (json) printJson(noCandidateReport(pid, why, [], found.at.wallMs));
    tell(why);
    return EXIT.notGone;
  }
  const why = firstFailed(checks.value);
  if (json) printJson(noCandidateReport(pid, why, checks.value, found.at.wallMs));
  else process.stdout.write(`${noCandidateText(pid, why, checks.value, screenOf(process.stdout))}\n`);
  const exit = exitStatus(found);
  for (const complaint of exit === EXIT.nothingFound ? [nothingFound(found)] : complaints(found)) tell(complaint);
  return exit;
}

const firstFailed = (checks: readonly Check[]): string => checks.find(({ holds }) => !holds)?.detail ?? '';
