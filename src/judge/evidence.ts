import type { ProcessId } from '../proc/process-id.ts';

/** A TCP connection of a process, established or being set up. */
export type Connection = { readonly inode: number; readonly local: string; readonly remote: string };

/** A descendant in which a tool runs, and how it was known. */
export type Tool = { readonly pid: number; readonly why: 'own session' | 'tool shell' | 'hook' };

/** A part of a candidate whose CPU use is judged by itself: `claude`, or a child with everything below it. */
export type CpuPart = {
  /** Of `claude` or the child. */
  readonly pid: number;
  /** CPU time of its living processes and of the dead that they waited for, in ms. */
  readonly cpuMs: number;
  /** CPU time of each living one by {@link keyOf}, without that of its children, in ms. */
  readonly ownMsByProcess: ReadonlyMap<string, number>;
};

/** A project in Clay. */
export type Project = { readonly slug: string; readonly path: string; readonly inTurn: boolean };

/** Whether the last turn of a conversation is over; `unclear`: nothing in its journal decides. */
export type TurnState = 'open' | 'ended' | 'unclear';

/** What the conversation's journal in Clay says; `missing`: Clay has no such conversation. */
export type JournalEvidence =
  | { readonly state: 'unknown' }
  | { readonly state: 'missing' }
  | {
      readonly state: 'found';
      readonly path: string;
      readonly turn: TurnState;
      readonly decidedBy: string;
      readonly changedAtMs: number;
      /** A type of record that is not known: one after a turn's end, or the newest of a journal in which none is known. */
      readonly unknown?: { readonly where: 'after-turn' | 'none-known'; readonly type: string } | null;
    };

/** What the Clay of a candidate answered; `dead`: the candidate outlived its Clay. */
export type ClayEvidence =
  | { readonly state: 'dead'; readonly home: string }
  | { readonly state: 'unreachable'; readonly pid: number; readonly home: string; readonly error: string }
  | {
      readonly state: 'answered';
      readonly pid: number;
      readonly home: string;
      readonly busyProjects: readonly string[];
    };

/**
 * Everything that one sweep found out about one candidate. Judging needs nothing else.
 * Times are ms on the wall clock, CPU is in ms of one core.
 */
export type Evidence = {
  readonly id: ProcessId;
  readonly ppid: number;
  /** Its name. It changes when the process executes another program. */
  readonly comm: string;
  readonly uid: number;
  readonly startedAtMs: number;
  readonly ageMs: number;
  readonly rssBytes: number;
  /** Memory that comes back when it ends: unlike `rssBytes` without shared pages and with swapped ones. */
  readonly reclaimableBytes: number;
  readonly cwd: string | null;
  readonly sdkVersion: string | null;
  /** The release of Claude, by its session file: since 2.1.118. */
  readonly claudeRelease: string | null;
  /** Fields of its session file that no tested release writes. */
  readonly unknownSessionFields: readonly string[];
  /** What could not be read or does not fit together, one description each; any protects. */
  readonly issues: readonly string[];
  /** Whether something could not be read for lack of permission or because the kernel gave an error. */
  readonly unreadable: boolean;
  readonly hasTerminal: boolean;
  /** `claude` itself first, then each child with everything below it, by {@link keyOf} it. */
  readonly cpuParts: ReadonlyMap<string, CpuPart>;
  /** The load average of the last minute per core. */
  readonly loadPerCore: number;
  readonly socketFds: number;
  readonly connections: readonly Connection[];
  readonly children: number;
  /** Nearest first. */
  readonly descendants: readonly ProcessId[];
  readonly tools: readonly Tool[];
  readonly sessionId: string | null;
  /**
   * The conversation of a session file that may be another process's. What its files say can protect the process, and
   * never clear it: for that it has no conversation.
   */
  readonly doubtfulSessionId: string | null;
  readonly status: string | null;
  readonly waitingFor: string | null;
  readonly statusUpdatedAtMs: number | null;
  readonly transcriptChangedAtMs: number | null;
  /** Describes the alarm that it waits for. */
  readonly schedule: string | null;
  readonly journal: JournalEvidence;
  /** Whether Clay cannot write to that journal because the disk is full; asked only while Clay is in a turn, false otherwise. */
  readonly journalDiskIsFull: boolean;
  readonly clay: ClayEvidence;
  /** The project that it belongs to, or null if it cannot be tied to one. */
  readonly project: Project | null;
};
