import { describe, expect, it } from 'vitest';
import { released, sectionOf } from '../../../scripts/changelog.ts';

const CHANGELOG = '# Changelog\n\n## [Unreleased]\n\n- news\n\n## [0.1.0] - 2026-11-22\n\n- first\n';

describe('released', () => {
  it('gives what is unreleased the version, and leaves the heading for what follows', () => {
    const text = released(CHANGELOG, '0.2.0', '2026-12-01');
    expect(sectionOf(text, '0.2.0')).toBe('- news');
    expect(sectionOf(text, 'Unreleased')).toBe('');
    expect(sectionOf(text, '0.1.0')).toBe('- first');
    expect(text).toContain('## [0.2.0] - 2026-12-01\n');
  });
  it('throws if there is nothing to release', () => {
    const text = released(CHANGELOG, '0.2.0', '2026-12-01');
    expect(() => released(text, '0.3.0', '2026-12-02')).toThrow('nothing below');
  });
});

describe('sectionOf', () => {
  it('throws for a version that the changelog does not have', () => {
    expect(() => sectionOf(CHANGELOG, '9.9.9')).toThrow('no heading for 9.9.9');
  });
});
