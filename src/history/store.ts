import {
  closeSync,
  constants,
  fchownSync,
  fdatasyncSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { writeAtomic } from '../fs/atomic-write.ts';
import { parseJsonAs } from '../fs/json.ts';

/** A field that records of version 0.1.0 do not have. */
const added = <T>(schema: v.GenericSchema<unknown, T>) => v.optional(v.nullable(schema), null);

const HistoryRecordSchema = v.object({
  /** Time of the sweep that ended it, ISO 8601. */
  at: v.pipe(v.string(), v.isoTimestamp()),
  pid: v.number(),
  /** Start time in clock ticks since boot: proc_pid_stat(5), field 22. */
  startTicks: v.number(),
  uid: v.number(),
  clayPid: v.nullable(v.number()),
  orphan: v.string(),
  /** The last signal sent; null in a trial. */
  signal: v.nullable(v.picklist(['SIGTERM', 'SIGKILL'])),
  outcome: v.string(),
  /** Resident memory before the first signal, in bytes. */
  rssBytes: v.number(),
  idleSeconds: v.number(),
  project: v.nullable(v.string()),
  sessionId: v.nullable(v.string()),
  /** Memory that came back, in bytes. Resident memory also counts pages that other processes share. */
  reclaimableBytes: added(v.number()),
  /** Pid of the clay-reaper that ended it. */
  reaperPid: added(v.number()),
  /** Login name of `uid`. */
  user: added(v.string()),
  /** Title of the conversation in Clay. */
  title: added(v.string()),
  cwd: added(v.string()),
  /** The wait that applied to it. */
  graceSeconds: added(v.number()),
  /** For each protection, by reason code, why it did not hold. */
  evidence: added(v.array(v.object({ code: v.string(), whyNot: v.string() }))),
});

/** One process that was ended (or, in a trial, would have been): a line of the history. */
export type HistoryRecord = v.InferOutput<typeof HistoryRecordSchema>;

/** The memory that came back; of a record of version 0.1.0, the resident memory. */
export const bytesOf = ({ reclaimableBytes, rssBytes }: HistoryRecord): number => reclaimableBytes ?? rssBytes;

/** Records, oldest first, and what is missing. */
export type History = {
  readonly records: readonly HistoryRecord[];
  /** Lines that are no record: a crash left them incomplete, or somebody edited the file. */
  readonly unreadableLines: number;
  /** Why a whole file could not be read. */
  readonly problem: string | undefined;
};

/** The records of processes that were ended, or of those that a dry run would have ended. */
export type HistoryKind = 'history' | 'trial';

// About 1,600 records of 2.5 kB. With the rotated file, 1,600 to 3,200 are kept: of each user the last ones.
const MAX_FILE_BYTES = 4 << 20;
const FOR_APPEND = constants.O_RDWR | constants.O_CREAT | constants.O_APPEND;
const NEWLINE = 0x0a;

const SYSTEM_DIRECTORY = 'var/lib/clay-reaper';
/** systemd.exec(5), DynamicUser=: the directory that {@link SYSTEM_DIRECTORY} links to once the service has run. */
const PRIVATE_DIRECTORY = 'var/lib/private/clay-reaper';

/** The directories of the system service's history below `root`: the public name, and what systemd links it to. */
export const systemStateDirectories = (root: string): { readonly link: string; readonly target: string } => ({
  link: join(root, SYSTEM_DIRECTORY),
  target: join(root, PRIVATE_DIRECTORY),
});

/**
 * The directory of the history: systemd's STATE_DIRECTORY if set; else the directory of the system service for root, and
 * one below $XDG_STATE_HOME (XDG Base Directory Specification) for other users. `root`: the root directory.
 */
export function historyDirectory(env: NodeJS.ProcessEnv, euid: number, root = '/'): string {
  // systemd.exec(5): a colon-separated list. The unit names one directory.
  const stateDirectory = env.STATE_DIRECTORY?.split(':')[0];
  if (stateDirectory !== undefined && stateDirectory !== '') return stateDirectory;
  if (euid === 0) {
    const { link, target } = systemStateDirectories(root);
    // A directory at the place of the link keeps the service from starting (exit status 238): only systemd may create it.
    return isDirectory(target) && !isSymbolicLink(link) ? target : link;
  }
  const stateHome = env.XDG_STATE_HOME?.startsWith('/') ? env.XDG_STATE_HOME : join(env.HOME ?? '/', '.local/state');
  return join(stateHome, 'clay-reaper');
}

const isDirectory = (path: string): boolean => lstatOrNull(path)?.isDirectory() ?? false;
const isSymbolicLink = (path: string): boolean => lstatOrNull(path)?.isSymbolicLink() ?? false;

function lstatOrNull(path: string) {
  try {
    return lstatSync(path);
  } catch {
    return null;
  }
}

/**
 * Appends records to the history in `dir`, creating the directory if needed. Returns undefined, or the reason why it
 * failed. Never throws: a full or read-only disk must not stop the reaping.
 */
export function appendHistory(
  dir: string,
  records: readonly HistoryRecord[],
  kind: HistoryKind = 'history',
): string | undefined {
  if (records.length === 0) return undefined;
  const path = join(dir, `${kind}.jsonl`);
  try {
    makeDirectory(dir);
    const lines = Buffer.from(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
    if (withFile(path, FOR_APPEND, (fd) => fstatSync(fd).size + lines.length > MAX_FILE_BYTES)) {
      rotate(path);
    }
    withFile(path, FOR_APPEND, (fd) => {
      giveToOwnerOf(dir, fd);
      appendLines(fd, lines);
    });
    return undefined;
  } catch (error) {
    return problemWith(dir, error);
  }
}

/**
 * Makes room in a history: the rotated file gets the last records of both files, the same number for each user while there is
 * room. Whoever has hundreds of processes ended a minute pushes out own records only.
 */
function rotate(path: string): void {
  const rotated = `${path}.1`;
  const lines = [rotated, path].flatMap((file) => {
    try {
      return [...nonEmptyLines(withFile(file, constants.O_RDONLY, readTextFile))];
    } catch (error) {
      // There is none before the first rotation; one that cannot be read is replaced.
      if (file === rotated) return [];
      throw error;
    }
  });
  const kept = shareBetweenUsers(lines, MAX_FILE_BYTES);
  writeAtomic(rotated, kept.map((line) => `${line}\n`).join(''), 0o600);
  withFile(rotated, constants.O_RDONLY, (fd) => giveToOwnerOf(dirname(path), fd));
  rmSync(path);
}

/** The last records of each user, users in turn, as many as fit into `maxBytes`; in their order, without lines that are no records. */
export function shareBetweenUsers(lines: readonly string[], maxBytes: number): string[] {
  const byUser = new Map<number, number[]>();
  lines.forEach((line, index) => {
    const uid = parseRecord(line)?.uid;
    if (uid === undefined) return;
    const own = byUser.get(uid);
    if (own) own.push(index);
    else byUser.set(uid, [index]);
  });
  const kept: number[] = [];
  let bytes = 0;
  for (let waiting = [...byUser.values()]; waiting.length > 0; waiting = waiting.filter(({ length }) => length > 0)) {
    for (const own of waiting) {
      const index = own.pop() ?? 0;
      bytes += Buffer.byteLength(lines[index] ?? '') + 1;
      if (bytes > maxBytes) return linesAt(lines, kept);
      kept.push(index);
    }
  }
  return linesAt(lines, kept);
}

const linesAt = (lines: readonly string[], indexes: readonly number[]): string[] =>
  [...indexes].sort((a, b) => a - b).map((index) => lines[index] ?? '');

/**
 * The records in `dir` since `sinceMs` (ms since the epoch). A missing history is empty. Never throws.
 * Two reapers that signal one process at the same time both record it; only the first record counts.
 */
export function readHistory(
  dir: string,
  { sinceMs = 0, kind = 'history' }: { sinceMs?: number; kind?: HistoryKind } = {},
): History {
  const files = [`${kind}.jsonl.1`, `${kind}.jsonl`].map((file) => readRecords(join(dir, file)));
  const records = files.flatMap((file) => file.records);
  return {
    records: (kind === 'history' ? withoutDuplicates(records) : records)
      .filter(({ at }) => Date.parse(at) >= sinceMs)
      .sort((a, b) => Date.parse(a.at) - Date.parse(b.at)),
    unreadableLines: files.reduce((sum, file) => sum + file.unreadableLines, 0),
    problem: files.map(({ problem }) => problem).find((problem) => problem !== undefined),
  };
}

/** ms. Longer than the longest `kill_after` that makes sense; start times repeat only after a reboot. */
const SAME_END_MS = 24 * 3600 * 1000;

/** The first record of each process. A pid and start time of a record from another day is another process. */
export function withoutDuplicates(records: readonly HistoryRecord[]): HistoryRecord[] {
  const first = new Map<string, HistoryRecord>();
  return records.filter((record) => {
    const key = `${record.pid}:${record.startTicks}`;
    const earlier = first.get(key);
    if (earlier !== undefined && Math.abs(Date.parse(record.at) - Date.parse(earlier.at)) < SAME_END_MS) return false;
    first.set(key, record);
    return true;
  });
}

function readRecords(path: string): History {
  try {
    const records: HistoryRecord[] = [];
    let unreadableLines = 0;
    for (const line of nonEmptyLines(withFile(path, constants.O_RDONLY, readTextFile))) {
      const record = parseRecord(line);
      if (record) records.push(record);
      else unreadableLines += 1;
    }
    return { records, unreadableLines, problem: undefined };
  } catch (error) {
    return {
      records: [],
      unreadableLines: 0,
      problem: hasCode(error, 'ENOENT') ? undefined : problemWith(path, error),
    };
  }
}

/** The text of a history file. Throws for one larger than this program writes, instead of reading it into memory. */
function readTextFile(fd: number): string {
  if (fstatSync(fd).size > 2 * MAX_FILE_BYTES) throw new Error('larger than a history can be');
  return readFileSync(fd, 'utf8');
}

/** Characters. A record has at least 260; a line outside these bounds is no record and is not parsed. */
const [SHORTEST_RECORD, LONGEST_RECORD] = [100, 64 * 1024];

function parseRecord(line: string): HistoryRecord | null {
  if (line.length < SHORTEST_RECORD || line.length > LONGEST_RECORD) return null;
  const parsed = parseJsonAs(HistoryRecordSchema, line);
  return parsed.ok ? parsed.value : null;
}

/** One line after the other: a list of four million empty ones fills the heap of the service. */
function* nonEmptyLines(text: string): Generator<string> {
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start);
    const end = newline === -1 ? text.length : newline;
    if (end > start) yield text.slice(start, end);
    start = end + 1;
  }
}

function appendLines(fd: number, lines: Buffer): void {
  // If a crash left the last line incomplete, start a new line so that only the incomplete one is lost.
  const text = endsInsideLine(fd) ? Buffer.concat([Buffer.of(NEWLINE), lines]) : lines;
  for (let written = 0; written < text.length; ) written += writeSync(fd, text, written);
  fdatasyncSync(fd);
}

/** Root's `cleanup` also writes into the directory of the service's own user, who must be able to go on with the file. */
function giveToOwnerOf(dir: string, fd: number): void {
  if (process.geteuid?.() !== 0) return;
  const { uid, gid } = statSync(dir);
  if (fstatSync(fd).uid !== uid) fchownSync(fd, uid, gid);
}

function endsInsideLine(fd: number): boolean {
  const { size } = fstatSync(fd);
  const last = Buffer.alloc(1);
  return size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== NEWLINE;
}

/** Opens a regular file and closes it again. O_NOFOLLOW: no symbolic link; O_NONBLOCK: a FIFO does not block the service. */
function withFile<T>(path: string, flags: number, callback: (fd: number) => T): T {
  const fd = openSync(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600);
  try {
    if (!fstatSync(fd).isFile()) throw new Error('not a regular file');
    return callback(fd);
  } finally {
    closeSync(fd);
  }
}

/** Like `mkdir -p`. Node 20's own `recursive` option never returns below /proc. */
function makeDirectory(dir: string): void {
  try {
    mkdirSync(dir, 0o700);
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return;
    if (!hasCode(error, 'ENOENT') || dir === dirname(dir)) throw error;
    makeDirectory(dirname(dir));
    mkdirSync(dir, 0o700);
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function problemWith(path: string, error: unknown): string {
  return `the history, ${path}: ${error instanceof Error ? error.message : String(error)}`;
}
