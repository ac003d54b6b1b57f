import * as v from 'valibot';
import { type FileReader, newFileReader } from '../fs/file-cache.ts';
import { parseJsonAs } from '../fs/json.ts';
import { mayExist, readText } from '../fs/untrusted-file.ts';
import type { UserBudget } from '../fs/user-budget.ts';
import { fail, ok, type Result } from '../result.ts';

/** A conversation's id: a UUID, checked before it becomes part of a path. */
export const SessionId = v.pipe(v.string(), v.uuid());

/** A time that a Date can hold (ECMA-262): 1970 to the year 275760. */
const millis = v.pipe(v.number(), v.minValue(0), v.maxValue(8.64e15));

/** These are shown: what is longer than any honest one is not taken. */
const word = v.pipe(v.string(), v.maxLength(200));

const FIELDS = {
  pid: v.number(),
  sessionId: SessionId,
  startedAt: v.optional(millis),
  procStart: v.optional(v.string()),
  version: v.optional(word),
  status: v.optional(word),
  waitingFor: v.optional(word),
  statusUpdatedAt: v.optional(millis),
};

/** Fields of tested releases (docs/releases.md) that say nothing about work. */
const IGNORED_FIELDS = new Set([
  'cwd',
  'kind',
  'entrypoint',
  'peerProtocol',
  'peerFeatures',
  'name',
  'nameSource',
  'nameSince',
  'updatedAt',
  'pidDomain',
  'messagingSocketPath',
  'asksForConvertedSkills',
]);

/** More unknown fields than this are not named. */
const MAX_UNKNOWN_FIELDS = 10;

/** A copy: a part of a string keeps the whole of it in memory. */
const shorten = (name: string): string => structuredClone(name.slice(0, 100));

const SessionFile = v.pipe(
  v.looseObject(FIELDS),
  v.transform((file) => {
    const isUnknown = (field: string): boolean => !Object.hasOwn(FIELDS, field) && !IGNORED_FIELDS.has(field);
    const unknownFields = Object.keys(file).filter(isUnknown).slice(0, MAX_UNKNOWN_FIELDS).map(shorten);
    return { ...v.parse(v.object(FIELDS), file), unknownFields };
  }),
);

/** The fields of a session file, before it is known whose it is. */
export type SessionFile = v.InferOutput<typeof SessionFile>;

/** What a `claude` says about itself in $HOME/.claude/sessions/PID.json (none before 0.2.92, `status` since 0.3.287). */
export type Session = {
  readonly sessionId: string;
  /** The release of Claude, since 2.1.118. */
  readonly release: string | null;
  readonly status: string | null;
  readonly waitingFor: string | null;
  /** Names of fields that no tested release writes, a part of each. */
  readonly unknownFields: readonly string[];
  /** Wall clock, ms. */
  readonly statusUpdatedAtMs: number | null;
  /** When it began, on the wall clock of then, ms: after the clock was set, only this fits the times of its files. */
  readonly startedAtMs: number | null;
  /**
   * Whether the file is known to be this process's own. If not, the wall clock was set since the process began, or an
   * earlier process with the same pid left the file behind.
   */
  readonly isCertain: boolean;
  /** Whether it names the tick in which its process began: then it is certain, however the wall clock is set. */
  readonly namesStartTicks: boolean;
};

/** The process that a session file has to be about. */
export type ExpectedProcess = {
  readonly pid: number;
  readonly uid: number;
  readonly startTicks: number;
  /** When it began, on the wall clock as it is now and as it was when the process was first seen; ms. */
  readonly startedAtMs: readonly number[];
};

/** The largest one seen has 700 bytes. */
const MAX_BYTES = 64 * 1024;

/** The start of a process is known to less than this. */
const CLOCK_TOLERANCE_MS = 2_000;

/** `startedAt` is 0.1 s to some seconds after the process began (measured), longer on a slow machine that swaps. */
const LONGEST_START_MS = 5 * 60_000;

/** Parses the text of a session file and checks that it is about `owner` and not about an earlier process of that pid. */
export function parseSessionFile(text: string, owner: ExpectedProcess): Result<Session> {
  const file = parseFields(text);
  return file.ok ? verifySession(file.value, owner) : file;
}

function parseFields(text: string): Result<SessionFile> {
  const parsed = parseJsonAs(SessionFile, text);
  return parsed.ok ? parsed : fail('invalid', `its session file ${parsed.failure.detail}`);
}

function verifySession(file: SessionFile, owner: ExpectedProcess): Result<Session> {
  if (file.pid !== owner.pid) return fail('invalid', `its session file is about pid ${file.pid}`);
  if (file.procStart !== undefined && file.procStart !== String(owner.startTicks)) {
    return fail('invalid', 'its session file is that of an earlier process with the same pid (procStart)');
  }
  const { startedAt } = file;
  if (file.procStart === undefined && startedAt === undefined) {
    return fail('invalid', 'its session file does not say when its process began');
  }
  return ok({
    sessionId: file.sessionId.toLowerCase(),
    release: file.version ?? null,
    status: file.status ?? null,
    waitingFor: file.waitingFor ?? null,
    unknownFields: file.unknownFields,
    statusUpdatedAtMs: file.statusUpdatedAt ?? null,
    startedAtMs: startedAt ?? null,
    namesStartTicks: file.procStart !== undefined,
    isCertain: file.procStart !== undefined || owner.startedAtMs.some((startMs) => fitsStart(startedAt ?? 0, startMs)),
  });
}

/** Releases before 0.2.118 do not write `procStart`: only the time that they wrote shows whose the file is. */
const fitsStart = (startedAt: number, startMs: number): boolean =>
  startedAt >= startMs - CLOCK_TOLERANCE_MS && startedAt <= startMs + LONGEST_START_MS;

/** Where a process keeps its session file. */
export const sessionFilePath = (configDir: string, pid: number): string => `${configDir}/sessions/${pid}.json`;

/**
 * Reads the session file of a process and checks that it is about `owner`. `not-found`: this release of Claude writes none, or
 * has not written it yet.
 */
export function readSessionFile(
  configDir: string,
  owner: ExpectedProcess,
  budget: UserBudget,
  files: FileReader<SessionFile> = newFileReader(),
): Result<Session> {
  const path = sessionFilePath(configDir, owner.pid);
  const file = files.read(path, owner.uid, budget, (open) => {
    const text = readText(open, path, MAX_BYTES);
    return text.ok ? parseFields(text.value) : text;
  });
  return file.ok ? verifySession(file.value, owner) : file;
}

/** Whether there is a session file for a pid. It says only that the process may be a `claude`; what is in it has to be checked. */
export const hasSessionFile = (configDir: string | null, pid: number, budget: UserBudget): boolean =>
  configDir !== null && mayExist(sessionFilePath(configDir, pid), budget);
