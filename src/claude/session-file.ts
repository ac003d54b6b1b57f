import * as v from 'valibot';
import { fail, type Memo, newMemo, ok, type Result, textOf, withMemo } from '../files.ts';
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

/** The fields of a session file, before it is known whose it is. */
export type SessionFile = v.InferOutput<typeof SessionFile>;

/** What a `claude` says about itself in $HOME/.claude/sessions/PID.json (none before 0.2.92, `status` since 0.3.287). */
export type SessionRecord = {
  readonly sessionId: string;
  readonly status: string | null;
  readonly waitingFor: string | null;
  /** Wall clock, ms. */
  readonly statusUpdatedAtMs: number | null;
  /** When it began, on the wall clock of then, ms: after the clock was set, only this fits the times of its files. */
  readonly startedAtMs: number | null;
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
  const file = parseFields(text);
  return file.ok ? recordOf(file.value, owner) : file;
}

function parseFields(text: string): Result<SessionFile> {
  const parsed = parseJsonAs(SessionFile, text);
  return parsed.ok ? parsed : fail('odd', `its session file ${parsed.failure.detail}`);
}

function recordOf(file: SessionFile, owner: SessionOwner): Result<SessionRecord> {
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
    startedAtMs: file.startedAt ?? null,
  });
}

/** Reads the session file of a process; a failure `gone` means that this release of Claude has none (yet). */
export function readSessionFile(
  configDir: string,
  owner: SessionOwner,
  memo: Memo<SessionFile> = newMemo(),
): Result<SessionRecord> {
  const path = `${configDir}/sessions/${owner.pid}.json`;
  const file = withMemo(path, owner.uid, memo, (open) => {
    const text = textOf(open, path, MAX_BYTES);
    return text.ok ? parseFields(text.value) : text;
  });
  return file.ok ? recordOf(file.value, owner) : file;
}
