import type { TurnState } from '../clay/journal.ts';

/** A process, named for good: a pid alone may be another's a moment later. */
export type ProcessId = { readonly pid: number; readonly startTicks: number };

/** A TCP connection of a process, established or being set up. */
export type Connection = { readonly inode: number; readonly local: string; readonly remote: string };

/** A descendant in which a tool runs, and how it was known. */
export type Tool = { readonly pid: number; readonly why: 'own session' | 'tool shell' };

/** A project in Clay. */
export type Project = { readonly slug: string; readonly path: string; readonly inTurn: boolean };

/** What the conversation's journal in Clay says; `missing`: Clay has no such conversation (any more). */
export type JournalEvidence =
  | { readonly state: 'unknown' }
  | { readonly state: 'missing' }
  | {
      readonly state: 'found';
      readonly path: string;
      readonly turn: TurnState;
      readonly decidedBy: string;
      readonly changedAtMs: number;
    };

/** What the Clay that a candidate belongs to said, or `dead` for one that outlived its Clay. */
export type ClayEvidence =
  | { readonly state: 'dead'; readonly home: string }
  | { readonly state: 'silent'; readonly pid: number; readonly home: string; readonly error: string }
  | {
      readonly state: 'answered';
      readonly pid: number;
      readonly home: string;
      readonly busyProjects: readonly string[];
    };

/**
 * All that one look found out about one candidate. Judging needs nothing else, so a verdict can be made again from it.
 * Times are ms on the wall clock, CPU is in ms of one core.
 */
export type Evidence = {
  readonly id: ProcessId;
  readonly ppid: number;
  readonly uid: number;
  readonly startedAtMs: number;
  readonly ageMs: number;
  readonly rssBytes: number;
  readonly cwd: string | null;
  readonly sdkVersion: string | null;
  /** What could not be read or does not fit together, each in words; anything here protects. */
  readonly doubts: readonly string[];
  /** Whether something could not be read for lack of permission or because the kernel gave an error. */
  readonly unreadable: boolean;
  readonly hasTerminal: boolean;
  /** CPU time of it and all below it: the living, and the dead that were waited for. */
  readonly cpuMs: number;
  /** CPU time of each living one of them, its own alone, by `pid:startTicks`. */
  readonly cpuMsByProcess: ReadonlyMap<string, number>;
  readonly socketFds: number;
  readonly connections: readonly Connection[];
  readonly children: number;
  /** All processes below it, nearest first. */
  readonly descendants: readonly ProcessId[];
  readonly tools: readonly Tool[];
  readonly sessionId: string | null;
  readonly status: string | null;
  readonly waitingFor: string | null;
  readonly statusUpdatedAtMs: number | null;
  readonly transcriptChangedAtMs: number | null;
  /** The alarm that it waits for, in words. */
  readonly alarm: string | null;
  readonly journal: JournalEvidence;
  readonly clay: ClayEvidence;
  /** The project that it belongs to, or null if it cannot be tied to one. */
  readonly project: Project | null;
};

/** The key of a process in maps: pid and start time. */
export const keyOf = (id: ProcessId): string => `${id.pid}:${id.startTicks}`;
