import pino, { type DestinationStream, type Logger } from 'pino';
import { safeJson, safeStrings } from './safe-text.ts';

/** What a log line is about; binding names. */
export type LogEvent =
  | 'started'
  | 'waiting'
  | 'clay-found'
  | 'clay-lost'
  | 'clay-refused'
  | 'blind'
  | 'api-unreachable'
  | 'api-recovered'
  | 'candidate'
  | 'would-reap'
  | 'reaped'
  | 'spared'
  | 'survived'
  | 'sweep'
  | 'sweep-failed'
  | 'reloaded'
  | 'reload-refused'
  | 'pressure-began'
  | 'pressure-ended'
  | 'trouble'
  | 'stopped';

/** The log of the service. */
export type Log = Logger;

/** sd-daemon(3): journald takes a number in front of a line as its priority. */
const JOURNAL_PRIORITY: Readonly<Record<string, number>> = { trace: 7, debug: 7, info: 6, warn: 4, error: 3, fatal: 2 };

const MAX_UNWRITTEN_BYTES = 256 * 1024;

/**
 * Opens the log on stderr, one JSON object a line; pretty on a terminal, with journal priorities under systemd.
 * pino's own `pid` field is left out: here `pid` names a `claude`.
 */
export async function openLog(level: string): Promise<Log> {
  // What cannot be written (a full disk) waits for the next line, and is dropped when it becomes this much.
  const destination = pino.destination({ fd: 2, sync: true, maxLength: MAX_UNWRITTEN_BYTES });
  // A log that nobody takes any more must not end the service.
  destination.on('error', () => {});
  const write = process.stderr.isTTY
    ? await prettyWriter(destination)
    : process.env.JOURNAL_STREAM
      ? journalWriter(destination)
      : plainWriter(destination);
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write },
  );
}

const plainWriter =
  (to: DestinationStream) =>
  (line: string): void =>
    to.write(safeJson(line));

const LEVEL = /^\{"level":"(\w+)"/;

const journalWriter =
  (to: DestinationStream) =>
  (line: string): void =>
    to.write(`<${JOURNAL_PRIORITY[LEVEL.exec(line)?.[1] ?? ''] ?? 6}>${safeJson(line)}`);

async function prettyWriter(to: DestinationStream): Promise<(line: string) => void> {
  const { prettyFactory } = await import('pino-pretty');
  const pretty = prettyFactory({
    colorize: !process.env.NO_COLOR,
    ignore: 'event',
    translateTime: 'SYS:HH:MM:ss',
    singleLine: true,
  });
  // It shows what the strings say, and what JSON has escaped in them is none of its escaping any more.
  return (line) => to.write(pretty(JSON.stringify(safeStrings(JSON.parse(line)))));
}
