/** The build of this program. `commit`: the short hash that it was built from; null if it was not built in a git repository. */
export type Build = { readonly version: string; readonly commit: string | null };

/** "0.1.0 (commit 10938ff)". */
export const formatBuild = ({ version, commit }: Build): string =>
  commit === null ? version : `${version} (commit ${commit})`;

/** What `--version` prints: the version first, for scripts. */
export const versionLine = ({ version, commit }: Build, node: string): string =>
  `${version} (${commit === null ? '' : `commit ${commit}, `}Node ${node})`;
