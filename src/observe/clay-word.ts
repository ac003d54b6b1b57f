import { dirname } from 'node:path';
import { type ClayProject, isInTurn } from '../clay/api.ts';
import { type ProjectFolder, projectFolders, readDaemonFile } from '../clay/daemon.ts';
import { encodeFolder, encodeFolderAsOlderClay } from '../clay/encoded-folder.ts';
import type { ClayEvidence, Project } from '../judge/evidence.ts';
import type { Keeper } from './candidates.ts';

/** What a Clay says, made ready for the many processes that it is asked about. */
export type ClayWord = {
  readonly evidence: ClayEvidence;
  /** The project by the folder in which Clay keeps the journal, else by the working directory. */
  readonly projectOf: (cwd: string | null, journalFolder: string | null) => Project | null;
};

/** Makes a Clay's word ready, once for all candidates of one look: some people have hundreds of projects. */
export function openClayWords(): (keeper: Keeper) => ClayWord {
  const words = new Map<Keeper, ClayWord>();
  return (keeper) => {
    const word = words.get(keeper) ?? clayWord(keeper);
    words.set(keeper, word);
    return word;
  };
}

/** What one Clay says. */
export function clayWord(keeper: Keeper): ClayWord {
  const byFolder = new Map<string, Project[]>();
  const byPath = new Map<string, Project>();
  for (const project of projectsOf(keeper)) {
    if (!byPath.has(project.path)) byPath.set(project.path, project);
    for (const folder of new Set([encodeFolder(project.path), encodeFolderAsOlderClay(project.path)])) {
      byFolder.set(folder, [...(byFolder.get(folder) ?? []), project]);
    }
  }
  return {
    evidence: evidenceOf(keeper),
    projectOf: (cwd, journalFolder) => {
      const byCwd = cwd === null ? [] : nearestAbove(cwd, byPath);
      const mine = (journalFolder === null ? undefined : byFolder.get(journalFolder)) ?? byCwd;
      const first = mine.find((each) => byCwd.includes(each)) ?? mine[0];
      // Different paths may be encoded alike: a turn in any of them counts.
      return first ? { slug: first.slug, path: first.path, inTurn: mine.some((each) => each.inTurn) } : null;
    },
  };
}

/** The project in whose folder a path lies, the innermost if they are nested; one of the root folder has nothing but that. */
function nearestAbove(path: string, byPath: ReadonlyMap<string, Project>): Project[] {
  for (let folder = path; folder !== '.'; folder = dirname(folder)) {
    const project = byPath.get(folder);
    if (project && (folder !== '/' || path === '/')) return [project];
    if (folder === '/') break;
  }
  return [];
}

function evidenceOf(keeper: Keeper): ClayEvidence {
  if (keeper.state === 'dead') return { state: 'dead', home: keeper.home };
  const { daemon, answer } = keeper.look;
  if (!answer.ok) return { state: 'silent', pid: daemon.pid, home: daemon.home, error: answer.failure.detail };
  const busyProjects = answer.value.projects.filter(isInTurn).map((project) => project.slug);
  return { state: 'answered', pid: daemon.pid, home: daemon.home, busyProjects };
}

function projectsOf(keeper: Keeper): Project[] {
  const resting = (folders: readonly ProjectFolder[]): Project[] =>
    folders.map((folder) => ({ ...folder, inTurn: false }));
  if (keeper.state === 'living') {
    const { answer, daemon } = keeper.look;
    return answer.ok ? answer.value.projects.map(projectIn) : resting(daemon.projects);
  }
  const file = readDaemonFile(`${keeper.home}/daemon.json`, keeper.uid);
  return file.ok ? resting(projectFolders(file.value)) : [];
}

const projectIn = (project: ClayProject): Project => ({
  slug: project.slug,
  path: project.path,
  inTurn: isInTurn(project),
});
