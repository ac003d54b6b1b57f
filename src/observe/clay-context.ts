import { dirname } from 'node:path';
import { legacyProjectDirName, projectDirName } from '../clay/conversation-file.ts';
import { type ProjectFolder, projectFolders, readDaemonFile } from '../clay/daemon.ts';
import { isOnFullDisk } from '../clay/journal.ts';
import { type ClayProject, isInTurn } from '../clay/status-socket.ts';
import type { UserBudgets } from '../fs/user-budget.ts';
import type { ClayEvidence, Project } from '../judge/evidence.ts';
import { ok, type Result } from '../result.ts';
import type { ClayOwner } from './probe.ts';

/** What a Clay says, prepared for looking up many processes. */
export type ClayContext = {
  readonly evidence: ClayEvidence;
  /** The project by the folder in which Clay keeps the journal, else by the working directory. */
  readonly projectOf: (cwd: string | null, journalFolder: string | null) => Project | null;
  /** Whether it cannot write to a journal because the disk is full; asked only while it is in a turn, and once for each folder. */
  readonly isDiskFull: (journal: string) => Result<boolean>;
};

/** Builds the context of each Clay once for all candidates of a sweep: some Clays have hundreds of projects. */
export function clayContextCache(budgets: UserBudgets): (owner: ClayOwner) => ClayContext {
  const contexts = new Map<ClayOwner, ClayContext>();
  return (owner) => {
    const context = contexts.get(owner) ?? buildClayContext(owner, budgets);
    contexts.set(owner, context);
    return context;
  };
}

/** Builds the context of one Clay. */
export function buildClayContext(owner: ClayOwner, budgets: UserBudgets): ClayContext {
  const byFolder = new Map<string, Project[]>();
  const byPath = new Map<string, Project>();
  for (const project of projectsOf(owner, budgets)) {
    if (!byPath.has(project.path)) byPath.set(project.path, project);
    for (const folder of new Set([projectDirName(project.path), legacyProjectDirName(project.path)])) {
      byFolder.set(folder, [...(byFolder.get(folder) ?? []), project]);
    }
  }
  const evidence = evidenceOf(owner);
  const isInAnyTurn = evidence.state === 'answered' && evidence.busyProjects.length > 0;
  const fullDisks = new Map<string, Result<boolean>>();
  return {
    evidence,
    isDiskFull: (journal) => {
      if (!isInAnyTurn || owner.state === 'dead') return ok(false);
      const { uid } = owner.probe.daemon;
      const folder = dirname(journal);
      const isFull = fullDisks.get(folder) ?? isOnFullDisk(journal, uid, budgets.of(uid));
      fullDisks.set(folder, isFull);
      return isFull;
    },
    projectOf: (cwd, journalFolder) => {
      const byCwd = cwd === null ? [] : innermostProject(cwd, byPath);
      const matches = (journalFolder === null ? undefined : byFolder.get(journalFolder)) ?? byCwd;
      const first = matches.find((project) => byCwd.includes(project)) ?? matches[0];
      // Several paths can have the same folder name: a turn in any of them counts.
      return first ? { slug: first.slug, path: first.path, inTurn: matches.some(({ inTurn }) => inTurn) } : null;
    },
  };
}

/** The innermost project that a path is in. A project of the root directory has only that directory itself. */
function innermostProject(path: string, byPath: ReadonlyMap<string, Project>): Project[] {
  for (let folder = path; folder !== '.'; folder = dirname(folder)) {
    const project = byPath.get(folder);
    if (project && (folder !== '/' || path === '/')) return [project];
    if (folder === '/') break;
  }
  return [];
}

function evidenceOf(owner: ClayOwner): ClayEvidence {
  if (owner.state === 'dead') return { state: 'dead', home: owner.home };
  const { daemon, status } = owner.probe;
  if (!status.ok) return { state: 'unreachable', pid: daemon.pid, home: daemon.home, error: status.failure.detail };
  const busyProjects = status.value.projects.filter(isInTurn).map((project) => project.slug);
  return { state: 'answered', pid: daemon.pid, home: daemon.home, busyProjects };
}

function projectsOf(owner: ClayOwner, budgets: UserBudgets): Project[] {
  const notInTurn = (folders: readonly ProjectFolder[]): Project[] =>
    folders.map((folder) => ({ ...folder, inTurn: false }));
  if (owner.state === 'alive') {
    const { status, daemon } = owner.probe;
    return status.ok ? status.value.projects.map(toProject) : notInTurn(daemon.projects);
  }
  const file = readDaemonFile(`${owner.home}/daemon.json`, owner.uid, budgets.of(owner.uid));
  return file.ok ? notInTurn(projectFolders(file.value)) : [];
}

const toProject = (project: ClayProject): Project => ({
  slug: project.slug,
  path: project.path,
  inTurn: isInTurn(project),
});
