import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { compareReleases } from '../../../src/claude/release.ts';
import { claudeReleaseOf, TESTED_SDKS } from '../../../src/claude/tested-releases.ts';
import { releasesDocument } from '../../claude/releases-document.ts';
import { scenarios } from '../../claude/scenarios.ts';
import type { SeenRelease, SeenSituation } from '../../claude/suite.ts';

const document = readFileSync(fileURLToPath(new URL('../../../docs/releases.md', import.meta.url)), 'utf8');

describe('the list of tested releases', () => {
  it('is sorted, the newest last', () => {
    expect([...TESTED_SDKS].sort((a, b) => compareReleases(a, b) ?? 0)).toEqual(TESTED_SDKS);
    expect(claudeReleaseOf('0.3.330')).toBe('2.1.330');
  });

  it.each(TESTED_SDKS)('has %s, and docs/releases.md says what was seen of it', (sdk) => {
    expect(document).toContain(`| ${sdk} | ${claudeReleaseOf(sdk)} |`);
    const section = document.split(`### ${sdk}\n`)[1]?.split('###')[0] ?? '';
    for (const name of Object.keys(scenarios(sdk))) expect(section).toContain(`| ${name} |`);
    expect(section).not.toContain('**');
  });
});

describe('releasesDocument', () => {
  const protectedSituation: SeenSituation = {
    sockets: 3,
    connections: 1,
    children: 2,
    verdict: 'protected',
    orphan: null,
    reasons: ['connection', 'turn'],
    isExpected: true,
  };
  const release: SeenRelease = {
    sdk: '0.2.76',
    program: 'node',
    sessionFields: null,
    statuses: [],
    keepsConnection: false,
    situations: {
      streaming: protectedSituation,
      idle: { ...protectedSituation, verdict: 'reap', orphan: 'parked', reasons: [], isExpected: false },
      asleep: { notMade: 'it has no tool Sleep' },
      broken: { failed: 'waited in vain' },
    },
  };

  it('shows sockets, connections, verdict and reasons of each situation', () => {
    expect(releasesDocument([release])).toContain('| streaming | 3 | 1 | 2 | protected | `connection` `turn` |');
  });

  it('says what a release lacks', () => {
    expect(releasesDocument([release])).toContain('| 0.2.76 | 2.1.76 | `node` | **none** | **none** |');
  });

  it('counts a situation that cannot be made, was not reached or is judged wrong as no pass', () => {
    const text = releasesDocument([release]);
    expect(text).toContain('| asleep | – |');
    expect(text).toContain('| asleep | 0.2.76 | it has no tool Sleep |');
    expect(text).toContain('| broken | **failed** |');
    expect(text).toContain('| idle | **wrong**: reap (parked) |');
  });
});
