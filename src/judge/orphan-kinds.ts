import type { RuleInput } from './rules.ts';

/** A kind of idle orphan. */
type Kind<Name extends string> = {
  readonly kind: Name;
  /** What it is, for the reference in the README and the man page. */
  readonly when: string;
  /** The setting that says for how long it has to be idle. */
  readonly waitSetting: 'grace_period' | 'parked_after';
  readonly matches: (input: RuleInput) => boolean;
  /** Describes why it matches or why it does not. */
  readonly detail: (input: RuleInput) => string;
};

/** The one table of orphan kinds; the first that matches counts, and the last matches everything. */
export const ORPHAN_KINDS = [
  {
    kind: 'superseded',
    when: 'the same conversation has a newer process',
    waitSetting: 'grace_period',
    matches: ({ supersededBy }) => supersededBy !== null,
    detail: ({ supersededBy, evidence }) => {
      if (supersededBy !== null) return `pid ${supersededBy} is a newer process of the same conversation`;
      return evidence.sessionId === null ? 'its conversation is unknown' : 'its conversation has no newer process';
    },
  },
  {
    kind: 'deleted',
    when: 'its conversation is gone from Clay',
    waitSetting: 'grace_period',
    matches: ({ evidence }) => evidence.journal.state === 'missing',
    detail: ({ evidence: { journal } }) => {
      if (journal.state === 'missing') return 'its conversation is gone from Clay';
      return journal.state === 'found'
        ? 'Clay has its conversation'
        : 'it is unknown whether Clay has its conversation';
    },
  },
  {
    kind: 'abandoned',
    when: 'its Clay daemon is dead, and it lived on',
    waitSetting: 'grace_period',
    matches: ({ evidence }) => evidence.clay.state === 'dead',
    detail: ({ evidence: { clay, ppid } }) =>
      clay.state === 'dead'
        ? `the Clay of ${clay.home} that started it is dead, and its parent is pid ${ppid} now`
        : `its Clay, pid ${clay.pid}, is alive`,
  },
  {
    kind: 'parked',
    when: 'its conversation is open, but nothing has happened in it for a long time',
    waitSetting: 'parked_after',
    matches: () => true,
    detail: () => 'it is none of these: its conversation is open, but nothing happens in it',
  },
] as const satisfies readonly Kind<string>[];

/** The kind of an idle process; scripts depend on the names. */
export type OrphanKind = (typeof ORPHAN_KINDS)[number]['kind'];

/** The kind that counts for an idle process. */
export const orphanKindOf = (input: RuleInput): Kind<OrphanKind> =>
  ORPHAN_KINDS.find(({ matches }) => matches(input)) ?? ORPHAN_KINDS[3];
