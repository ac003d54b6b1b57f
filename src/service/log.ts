import pino, { type Logger } from 'pino';
import { isDumbTerminal } from '../report/format.ts';
import { escapeJson, sanitizeDeep } from '../report/sanitize.ts';

/** The events of the log. Scripts match these names: add, never rename. */
export type LogEvent =
  | 'started'
  | 'waiting'
  | 'watching'
  | 'clay-found'
  | 'clay-lost'
  | 'clay-refused'
  | 'unknown-shape'
  | 'blind'
  | 'api-unreachable'
  | 'api-recovered'
  | 'candidate'
  | 'would-reap'
  | 'reaped'
  | 'spared'
  | 'survived'
  | 'deferred'
  | 'sweep'
  | 'sweep-failed'
  | 'reloaded'
  | 'reload-refused'
  | 'pressure-began'
  | 'pressure-ended'
  | 'warning'
  | 'stopped';

/** The setting `log.format`. */
export type LogFormat = 'text' | 'json' | 'auto';

/** The log of the service: a pino logger whose level and format a reload can change. */
export type Log = Logger & { format: LogFormat };

/** sd-daemon(3): journald reads a leading "<N>" as the priority of the line. */
const JOURNAL_PRIORITY: Readonly<Record<string, number>> = { trace: 7, debug: 7, info: 6, warn: 4, error: 3, fatal: 2 };

const MAX_UNWRITTEN_BYTES = 256 * 1024;

/**
 * Opens the log on stderr: sentences or one JSON object per line, with journal priorities under systemd. A format of `auto`
 * means sentences where a person reads them, on a terminal and in the journal.
 * `base: null` removes pino's own `pid` field: in this log, `pid` is that of a `claude`.
 */
export async function openLog(level: string, format: LogFormat): Promise<Log> {
  // Lines that cannot be written (a full disk) are retried with the next line, and dropped beyond this size.
  const destination = pino.destination({ fd: 2, sync: true, maxLength: MAX_UNWRITTEN_BYTES });
  // A closed log must not end the service.
  destination.on('error', () => {});
  const isTerminal = process.stderr.isTTY === true;
  const isJournal = !isTerminal && Boolean(process.env.JOURNAL_STREAM);
  const renderText = isTerminal ? await terminalRenderer() : isJournal ? renderMessage : renderTimedMessage;
  const write = (line: string): void => {
    const isText = log.format === 'text' || (log.format === 'auto' && (isTerminal || isJournal));
    const text = isText ? renderText(line) : escapeJson(line);
    destination.write(isJournal ? `<${JOURNAL_PRIORITY[levelOf(line)] ?? 6}>${text}` : text);
  };
  const logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write },
  );
  const log: Log = Object.assign(logger, { format });
  return log;
}

const levelOf = (line: string): string => /^\{"level":"(\w+)"/.exec(line)?.[1] ?? 'info';

/** pino writes decoded strings into the message, so sanitize after parsing. */
const parseLine = (line: string): Readonly<Record<string, unknown>> =>
  sanitizeDeep(JSON.parse(line)) as Readonly<Record<string, unknown>>;

/** The sentence alone: journald adds the time, and the priority is the level. */
const renderMessage = (line: string): string => `${parseLine(line).msg}\n`;

function renderTimedMessage(line: string): string {
  const { time, level, msg } = parseLine(line);
  return `${time} ${level}: ${msg}\n`;
}

/** Time, level and sentence, in colour if the terminal has it. */
async function terminalRenderer(): Promise<(line: string) => string> {
  const { prettyFactory } = await import('pino-pretty');
  const pretty = prettyFactory({
    colorize: !process.env.NO_COLOR && !isDumbTerminal(),
    translateTime: 'SYS:HH:MM:ss',
    hideObject: true,
  });
  return (line) => pretty(JSON.stringify(parseLine(line)));
}
