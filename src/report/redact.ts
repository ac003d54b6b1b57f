/** What must not appear in a report that others read. */
export type Private = {
  /** Paths with what stands for each: Clay homes, homes of users. */
  readonly places: readonly { readonly path: string; readonly label: string }[];
  /** Login names by uid. */
  readonly userNames: ReadonlyMap<number, string>;
};

/** Where paths are the same on every machine. */
const PUBLIC = /^\/(proc|sys|dev|run|etc|var\/lib|usr\/(local\/)?(bin|lib|share))(\/|$)/;

/** Files whose name says what they are; any other may be named by its user. */
const WELL_KNOWN = new Set([
  'daemon.json',
  'daemon-dev.json',
  'daemon.sock',
  'daemon-dev.sock',
  'daemon.js',
  'cli.js',
  'package.json',
  'config.toml',
  'clay-reaper.js',
  'node',
  'claude',
]);

/** Where Node managers and npm put programs in a home. */
const MANAGED = /\/\.?(nvm|fnm|volta|asdf|nodenv|npm-global|npm|mise)\//;

/** Accounts from here on are people's (Debian, Fedora). */
const FIRST_PERSON_UID = 1000;

/** A path without what its user has named: a public one as it is, another as `…/` and its last part if that is well known. */
export function publicPath(path: string): string {
  if (PUBLIC.test(path)) return path;
  const name = path.slice(path.lastIndexOf('/') + 1);
  const manager = MANAGED.exec(path)?.[1];
  return `…${manager === undefined ? '' : `/${manager}/…`}/${WELL_KNOWN.has(name) ? name : '…'}`;
}

/** A sentence without homes, other paths of users, and login names of people. */
export function redact(text: string, { places, userNames }: Private): string {
  const known = [...places]
    .filter(({ path }) => path !== '/' && path !== '')
    .sort((a, b) => b.path.length - a.path.length)
    .reduce((current, { path, label }) => current.replaceAll(path, label), text);
  const withoutPaths = known.replace(/(?<![\w.…/])(?:~?\/)[^\s"'(),;:<>]+/g, publicPath);
  return [...userNames]
    .filter(([uid, name]) => uid >= FIRST_PERSON_UID && name.length > 1)
    .reduce(
      (current, [uid, name]) => current.replace(new RegExp(`(?<![\\w-])${escaped(name)}(?![\\w-])`, 'g'), `uid ${uid}`),
      withoutPaths,
    );
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
