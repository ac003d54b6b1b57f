import type { Assessment } from '../assess.ts';
import type { Judgement } from '../judge/judge.ts';
import { describeShape, unknownShapes } from './unknown-shapes.ts';

/** What kept the reaper from its job, a line each: Clays that gave no usable answer, and processes that could not be read. */
export function warnings(
  assessment: Pick<Assessment, 'clays' | 'judgements' | 'inContainers' | 'withoutHome' | 'leftAlone'>,
): string[] {
  const lines = assessment.clays.flatMap(({ daemon, status, permissionProblem, children }) => {
    if (permissionProblem !== null) return [permissionProblem];
    if (children.unknownShape !== null) return [children.unknownShape];
    return status.ok
      ? []
      : [`Clay ${daemon.pid} (${daemon.home}) was left alone: its API gave no usable answer: ${status.failure.detail}`];
  });
  if (assessment.inContainers !== null) lines.push(assessment.inContainers);
  lines.push(...assessment.withoutHome, ...assessment.leftAlone);
  // One line for such a Clay says it for all of its processes.
  const unusable = new Set(
    assessment.clays.filter((clay) => clay.permissionProblem !== null).map((clay) => clay.daemon.pid),
  );
  for (const { evidence } of assessment.judgements) {
    const { clay } = evidence;
    if (!evidence.unreadable || (clay.state !== 'dead' && unusable.has(clay.pid))) continue;
    lines.push(`claude ${evidence.id.pid} was left alone: it could not be read: ${evidence.issues.join('; ')}`);
  }
  return lines;
}

/**
 * Projects in `[protect]` that no Clay has: a typing error there would leave the project unprotected. A line each, with the
 * names that there are. Nothing is known before a Clay has answered, or while one does not answer.
 */
export function unknownProjectWarnings({ clays, policy }: Pick<Assessment, 'clays' | 'policy'>): string[] {
  if (policy.protectedProjects.length === 0) return [];
  if (clays.length === 0 || clays.some(({ status }) => !status.ok)) return [];
  const projects = clays.flatMap(({ status }) => (status.ok ? status.value.projects : []));
  const isKnown = (name: string): boolean =>
    projects.some(
      ({ slug, path }) => slug === name || path === name || path.startsWith(`${name.replace(/\/+$/, '')}/`),
    );
  const names = [...new Set(projects.map(({ slug }) => slug))].slice(0, MAX_NAMED_PROJECTS).join(', ');
  return policy.protectedProjects
    .filter((name) => !isKnown(name))
    .map((name) => `no Clay has the project ${JSON.stringify(name)} of [protect]; there are ${names || 'none'}`);
}

const MAX_NAMED_PROJECTS = 50;

/** Any user can make any number of homes that are refused. */
const MAX_REFUSALS = 3;

/** The homes that were refused while other Clays run, a line each; the exit status does not depend on them. */
export function notices({ homes }: Pick<Assessment, 'homes'>): string[] {
  const lines = homes.flatMap(({ home, refusals }) => refusals.map((reason) => `${home} was refused: ${reason}`));
  const more = lines.length - MAX_REFUSALS;
  return more > 0 ? [...lines.slice(0, MAX_REFUSALS), `${more} more homes were refused`] : lines;
}

/** Any user can write any number of shapes. */
const MAX_SHAPES = 10;

/** What no tested release of Claude shows, a line for each shape; the exit status does not depend on them. */
export function shapeNotices({ clays, judgements }: Pick<Assessment, 'clays' | 'judgements'>): string[] {
  const lines = new Map<string, string>();
  for (const judgement of judgements) {
    for (const shape of unknownShapes(judgement)) {
      const key = `${shape.shape} ${shape.seen}`;
      if (!lines.has(key)) lines.set(key, describeShape(shape, judgement, clayReleaseOf(clays, judgement)));
    }
  }
  return [...lines.values()].slice(0, MAX_SHAPES);
}

/** The release of the Clay of a process; null if it is dead or its release is not known. */
export function clayReleaseOf(clays: Assessment['clays'], { evidence: { clay } }: Judgement): string | null {
  if (clay.state === 'dead') return null;
  return clays.find(({ daemon }) => daemon.pid === clay.pid)?.daemon.installation.release ?? null;
}

/** More homes than this without anything to report are only counted. */
const MAX_SILENT_HOMES = 4;

/** One line that says where Clay was looked for, and what to do. */
export function noClayMessage({
  homes,
  scanNote,
  inContainers,
  withoutHome,
  hint,
  searchedProcesses,
}: Pick<Assessment, 'homes' | 'scanNote' | 'inContainers' | 'withoutHome' | 'hint' | 'searchedProcesses'>): string {
  // As root there may be hundreds of homes: those with something to report come first.
  const informative = homes.filter((home) => home.refusals.length > 0 || !home.absentReason?.endsWith(' is not there'));
  const silent = homes.filter((home) => !informative.includes(home));
  const places = [
    ...informative.map(({ home, refusals, absentReason }) => {
      const reasons = [...refusals, absentReason ?? ''].filter((reason) => reason !== '');
      return `${home} (${reasons.join('; ')})`;
    }),
    ...(silent.length > MAX_SILENT_HOMES
      ? [`${silent.length} homes without a daemon.json`]
      : silent.map(({ home }) => `${home} (no daemon.json)`)),
  ];
  const notes = [inContainers, ...withoutHome.slice(0, MAX_REFUSALS), scanNote]
    .map((note) => (note === null ? '' : `; ${note}`))
    .join('');
  const where = `${places.join(', ')}${searchedProcesses ? ' and among the running processes' : ' and nowhere else'}`;
  const isDenied = homes.some(({ refusals, absentReason }) =>
    [...refusals, absentReason ?? ''].some((reason) => /\b(EACCES|EPERM)\b/.test(reason)),
  );
  const denied = isDenied ? 'run it as root (sudo) or as the user whose Clay it is' : null;
  const advice = hint ?? denied ?? 'start Clay or name its home with --clay-home DIR';
  return `no Clay daemon found; looked in ${where}${notes}; ${advice}`;
}
