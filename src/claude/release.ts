/** A release of Claude such as 2.1.330; that of the Agent SDK of the same day is 0.3.330. */
const RELEASE = /^(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:$|[-+ ])/;

/**
 * Compares two releases: below 0 if `a` is older than `b`, 0 if they are the same, above 0 if it is newer; null if one of them
 * is no release.
 */
export function compareReleases(a: string, b: string): number | null {
  const first = RELEASE.exec(a);
  const second = RELEASE.exec(b);
  if (!first || !second) return null;
  for (let part = 1; part <= 3; part++) {
    const difference = Number(first[part]) - Number(second[part]);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Whether hooks lead process sessions of their own, as in releases from 2.1.141 on; false where the release is not known. */
export const hooksLeadSessions = (release: string | null): boolean =>
  release !== null && (compareReleases(release, '2.1.141') ?? -1) >= 0;
