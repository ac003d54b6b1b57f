import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { parseJsonAs } from '../json.ts';

const Reaped = v.object({
  /** When it was signalled, ISO 8601. */
  at: v.pipe(v.string(), v.isoTimestamp()),
  pid: v.number(),
  /** Its start time in clock ticks since boot: proc(5), field 22 of stat. */
  startTicks: v.number(),
  uid: v.number(),
  clayPid: v.nullable(v.number()),
  orphan: v.string(),
  /** The last signal that it was sent. */
  signal: v.picklist(['SIGTERM', 'SIGKILL']),
  outcome: v.string(),
  /** Resident memory before the first signal, in bytes. */
  rssBytes: v.number(),
  idleSeconds: v.number(),
  project: v.nullable(v.string()),
  sessionId: v.nullable(v.string()),
});

/** One process that was signalled: a line of the history. */
export type HistoryRecord = v.InferOutput<typeof Reaped>;

/** What could be read, oldest first, and why the rest could not. */
export type History = { records: HistoryRecord[]; problem: string | undefined };

// About 4,000 records of 260 bytes. With the older file, the last 4,000 to 8,000 are kept.
const MAX_FILE_BYTES = 1 << 20;
const FILE = 'history.jsonl';
const OLDER_FILE = 'history.jsonl.1';
const FOR_APPEND = constants.O_RDWR | constants.O_CREAT | constants.O_APPEND;
const NEWLINE = 0x0a;

/** Where the history is kept: the service's state directory, or where that would be; for others, theirs (XDG base directories). */
export function historyDirectory(env: NodeJS.ProcessEnv, euid: number): string {
  // systemd.exec(5): StateDirectory= can name several, in one colon-separated variable. The unit names one.
  const given = env.STATE_DIRECTORY?.split(':')[0];
  if (given !== undefined && given !== '') return given;
  if (euid === 0) return '/var/lib/clay-reaper';
  const stateHome = env.XDG_STATE_HOME?.startsWith('/') ? env.XDG_STATE_HOME : join(env.HOME ?? '/', '.local/state');
  return join(stateHome, 'clay-reaper');
}

/**
 * Appends records to the history in `dir`, which is made if need be. Never throws: a full or read-only disk must not stop the
 * reaping. Answers with undefined, or with the reason why they were not kept.
 */
export function appendHistory(dir: string, records: readonly HistoryRecord[]): string | undefined {
  if (records.length === 0) return undefined;
  try {
    makeDirectory(dir);
    const lines = Buffer.from(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
    if (withFile(join(dir, FILE), FOR_APPEND, (fd) => fstatSync(fd).size + lines.length > MAX_FILE_BYTES)) {
      renameSync(join(dir, FILE), join(dir, OLDER_FILE));
    }
    withFile(join(dir, FILE), FOR_APPEND, (fd) => appendLines(fd, lines));
    return undefined;
  } catch (error) {
    return problemWith(dir, error);
  }
}

/**
 * The history in `dir`, of what was reaped since `sinceMs` (ms since the epoch). Skips lines that a crash tore. Never throws;
 * where there is no history, it is empty.
 */
export function readHistory(dir: string, { sinceMs = 0 }: { sinceMs?: number } = {}): History {
  const read = [OLDER_FILE, FILE].map((file) => readRecords(join(dir, file)));
  return {
    records: read.flatMap(({ records }) => records).filter(({ at }) => Date.parse(at) >= sinceMs),
    problem: read.map(({ problem }) => problem).find((problem) => problem !== undefined),
  };
}

function readRecords(path: string): History {
  try {
    const text = withFile(path, constants.O_RDONLY, readWhole);
    return { records: text.split('\n').flatMap(parseRecord), problem: undefined };
  } catch (error) {
    return { records: [], problem: hasCode(error, 'ENOENT') ? undefined : problemWith(path, error) };
  }
}

/** A file of ours has {@link MAX_FILE_BYTES} at most; what is much larger is not ours, and is not read into memory. */
function readWhole(fd: number): string {
  if (fstatSync(fd).size > 2 * MAX_FILE_BYTES) throw new Error('larger than a history can be');
  return readFileSync(fd, 'utf8');
}

/** A record has some 260 bytes: a line that is longer than this is none, nor is one that has hardly any. */
const [SHORTEST_RECORD, LONGEST_RECORD] = [100, 64 * 1024];

function parseRecord(line: string): HistoryRecord[] {
  if (line.length < SHORTEST_RECORD || line.length > LONGEST_RECORD) return [];
  const parsed = parseJsonAs(Reaped, line);
  return parsed.ok ? [parsed.value] : [];
}

function appendLines(fd: number, lines: Buffer): void {
  // After a line that a crash tore, start a new one: it stays the only one lost.
  const text = endsInsideLine(fd) ? Buffer.concat([Buffer.of(NEWLINE), lines]) : lines;
  for (let written = 0; written < text.length; ) written += writeSync(fd, text, written);
  fdatasyncSync(fd);
}

function endsInsideLine(fd: number): boolean {
  const { size } = fstatSync(fd);
  const last = Buffer.alloc(1);
  return size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== NEWLINE;
}

/** Opens what can only be a regular file: no link to elsewhere, no FIFO that would block the service for ever. */
function withFile<T>(path: string, flags: number, use: (fd: number) => T): T {
  const fd = openSync(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600);
  try {
    if (!fstatSync(fd).isFile()) throw new Error('not a regular file');
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

/** Not mkdir's own `recursive`: below /proc, Node 20 never comes back from that. */
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
