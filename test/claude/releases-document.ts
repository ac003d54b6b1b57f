import { claudeReleaseOf } from '../../src/claude/tested-releases.ts';
import type { SeenRelease, SeenSituation } from './suite.ts';

/** docs/releases.md: what was seen of each release in each situation, and what each release lacks. */
export function releasesDocument(releases: readonly SeenRelease[]): string {
  const situations = [...new Set(releases.flatMap((release) => Object.keys(release.situations)))];
  const sdks = releases.map(({ sdk }) => sdk);
  return [
    '# Releases of Claude',
    '`npm run test:releases` writes this page. It runs the releases of the Agent SDK in `src/claude/tested-releases.ts`, and the newest one in the npm registry, as real processes: each is brought into the situations below, judged by `status`, and ended by `cleanup` or `run`, or not.',
    '## What each release writes and lacks',
    table(
      ['Agent SDK', 'Claude', 'runs as', 'session file', '`status` in it', 'API connection after a turn'],
      releases.map((release) => [
        release.sdk,
        claudeReleaseOf(release.sdk),
        `\`${release.program}\``,
        release.sessionFields === null ? '**none**' : release.sessionFields.map((field) => `\`${field}\``).join(' '),
        release.statuses.length === 0 ? '**none**' : release.statuses.map((status) => `\`${status}\``).join(' '),
        release.keepsConnection ? 'kept for minutes' : 'closed in seconds',
      ]),
    ),
    'Without a session file, nothing ties a process to its conversation: each turn that is open in its project protects it, and only the time for which clay-reaper has itself seen the project at rest counts as idle. The waits of these tests are 2 s; a one-shot at the default ones never ends such a process.',
    '## Verdicts',
    '`–`: the release cannot be brought into the situation, for the reason below. That is no pass.',
    table(
      ['situation', ...sdks],
      situations.map((name) => [name, ...releases.map((release) => verdictOf(release.situations[name]))]),
    ),
    table(['situation that cannot be made', 'in', 'because'], notMadeRows(releases)),
    '## Sockets, connections, reasons',
    'Sockets are the different sockets among the descriptors; connections are open TCP connections. Reasons such as `cpu` hold at one moment and not at the next.',
    ...releases.flatMap(({ sdk, situations: seen }) => [
      `### ${sdk}`,
      table(
        ['situation', 'sockets', 'connections', 'children', 'verdict', 'reasons'],
        Object.keys(seen).map((name) => [name, ...detailsOf(seen[name] as SeenSituation)]),
      ),
    ]),
  ]
    .map((paragraph) => `${paragraph}\n`)
    .join('\n');
}

/** One line for each situation, for the terminal. */
export function summarize({ situations }: SeenRelease): string {
  return Object.entries(situations)
    .map(([name, seen]) => `  ${name}: ${detailsOf(seen).slice(-2).filter(Boolean).join(', ')}`)
    .join('\n');
}

/** A row for each situation and each reason why it cannot be made, with the releases of which that is so. */
function notMadeRows(releases: readonly SeenRelease[]): string[][] {
  const rows = new Map<string, string[]>();
  for (const { sdk, situations } of releases) {
    for (const [name, seen] of Object.entries(situations)) {
      if (!('notMade' in seen)) continue;
      const row = rows.get(`${name}: ${seen.notMade}`) ?? [name, '', seen.notMade];
      rows.set(`${name}: ${seen.notMade}`, [name, row[1] === '' ? sdk : `${row[1]}, ${sdk}`, seen.notMade]);
    }
  }
  return [...rows.values()].sort(([a = ''], [b = '']) => a.localeCompare(b));
}

function verdictOf(seen: SeenSituation | undefined): string {
  if (seen === undefined || 'notMade' in seen) return '–';
  if ('failed' in seen) return '**failed**';
  const verdict = seen.verdict === 'protected' ? 'protected' : `${seen.verdict} (${seen.orphan})`;
  return seen.isExpected ? verdict : `**wrong**: ${verdict}`;
}

function detailsOf(seen: SeenSituation): string[] {
  if ('notMade' in seen) return ['–', '–', '–', '–', seen.notMade];
  if ('failed' in seen) return ['–', '–', '–', verdictOf(seen), seen.failed];
  const counts = [seen.sockets, seen.connections, seen.children].map(String);
  return [...counts, verdictOf(seen), seen.reasons.map((code) => `\`${code}\``).join(' ')];
}

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n')
    .replaceAll('| --- ', '|---')
    .replaceAll('|--- |', '|---|');
