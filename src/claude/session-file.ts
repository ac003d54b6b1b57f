import * as v from 'valibot';
import { fail, ok, type Result, readForeignText } from '../files.ts';
import { parseJsonAs } from '../json.ts';

/** A conversation's id: a UUID, checked before it becomes part of a path. */
export const SessionId = v.pipe(v.string(), v.uuid());

const millis = v.pipe(v.number(), v.finite());

/** These are shown: what is longer than any honest one is not taken. */
const word = v.pipe(v.string(), v.maxLength(200));

const SessionFile = v.object({
  pid: v.number(),
  sessionId: SessionId,
  startedAt: v.optional(millis),
  procStart: v.optional(v.string()),
  status: v.optional(word),
  waitingFor: v.optional(word),
  statusUpdatedAt: v.optional(millis),
});

/** What a `claude` says about itself in $HOME/.claude/sessions/PID.json (none before 0.2.92, `status` since 0.3.287). */
export type SessionRecord = {
  readonly sessionId: string;
  readonly status: string | null;
  readonly waitingFor: string | null;
  /** Wall clock, ms. */
  readonly statusUpdatedAtMs: number | null;
};

/** The process that a session file has to be about. */
export type SessionOwner = {
  readonly pid: number;
  readonly uid: number;
  readonly startTicks: number;
  /** Wall clock, ms. */
  readonly startedAtMs: number;
};

/** The largest one seen has 700 bytes. */
const MAX_BYTES = 64 * 1024;

/**
 * `startedAt` is written 0.1 s to some seconds after the process began; boot time plus ticks is off by less than this.
 * A file from before the process's start was left by a killed one that had the same pid.
 */
const CLOCK_SLACK_MS = 2_000;

/** Parses the text of a session file and checks that it is about `owner` and not about an earlier process of that pid. */
export function parseSessionFile(text: string, owner: SessionOwner): Result<SessionRecord> {
  const parsed = parseJsonAs(SessionFile, text);
  if (!parsed.ok) return fail('odd', `its session file ${parsed.failure.detail}`);
  const file = parsed.value;
  if (file.pid !== owner.pid) return fail('odd', `its session file is about pid ${file.pid}`);
  if (file.procStart !== undefined && file.procStart !== String(owner.startTicks)) {
    return fail('odd', 'its session file is that of an earlier process with the same pid (procStart)');
  }
  if (file.procStart === undefined && (file.startedAt ?? 0) < owner.startedAtMs - CLOCK_SLACK_MS) {
    return fail('odd', 'its session file is older than the process (startedAt)');
  }
  return ok({
    sessionId: file.sessionId.toLowerCase(),
    status: file.status ?? null,
    waitingFor: file.waitingFor ?? null,
    statusUpdatedAtMs: file.statusUpdatedAt ?? null,
  });
}

/** Reads the session file of a process; a failure `gone` means that this release of Claude has none (yet). */
export function readSessionFile(configDir: string, owner: SessionOwner): Result<SessionRecord> {
  const text = readForeignText(`${configDir}/sessions/${owner.pid}.json`, owner.uid, MAX_BYTES);
  return text.ok ? parseSessionFile(text.value, owner) : text;
}
