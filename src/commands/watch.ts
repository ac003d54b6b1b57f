import { emitKeypressEvents } from 'node:readline';
import { type Assessment, type AssessSettings, assess, newAssessState } from '../assess.ts';
import { readUserNames } from '../fs/passwd.ts';
import { readTitles } from '../observe/titles.ts';
import { isDumbTerminal, type TerminalStyle, terminalStyle } from '../report/format.ts';
import { noClayMessage } from '../report/messages.ts';
import { sanitize } from '../report/sanitize.ts';
import { wrapped } from '../report/sections.ts';
import { statusText } from '../report/status.ts';
import { sleep } from '../sleep.ts';
import { STOP_SIGNALS } from './stop-signals.ts';

const REDRAW_MS = 2_000;

// xterm control sequences: the alternate screen, which keeps the contents of the normal one, and the cursor.
const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

/** Redraws the table in place until q, Ctrl-C or a signal, then restores the terminal. */
export async function watchStatus(settings: AssessSettings): Promise<void> {
  const { stdin, stdout } = process;
  const stop = new AbortController();
  const end = (): void => stop.abort();
  const onKey = (_: string | undefined, key: { name?: string; ctrl?: boolean }): void => {
    if (key.name === 'q' || (key.ctrl && key.name === 'c')) end();
  };
  emitKeypressEvents(stdin);
  stdin.setRawMode(true).on('keypress', onKey).resume();
  for (const signal of STOP_SIGNALS) process.on(signal, end);
  const isPlain = isDumbTerminal();
  if (!isPlain) stdout.write(ENTER);
  try {
    const state = newAssessState(settings.procRoot);
    while (!stop.signal.aborted) {
      draw(await assess(settings, state), isPlain);
      await sleep(REDRAW_MS, stop.signal);
    }
  } finally {
    if (!isPlain) stdout.write(LEAVE);
    stdin.setRawMode(false).off('keypress', onKey).pause();
  }
}

/** Draws over the last picture; `isPlain`: below it, for a terminal without control sequences. */
function draw(assessment: Assessment, isPlain: boolean): void {
  const { stdout } = process;
  const style = terminalStyle(stdout);
  const lines = describe(assessment, style).split('\n');
  // Cut to the height of the terminal: a screen that scrolls cannot be redrawn in place.
  const maxLines = isPlain ? Number.POSITIVE_INFINITY : Math.max(1, (stdout.rows || 24) - 2);
  const shown =
    lines.length <= maxLines ? lines : [...lines.slice(0, maxLines - 1), `… ${lines.length - maxLines + 1} more`];
  if (isPlain) {
    stdout.write(`${[...shown, 'q to quit', ''].join('\r\n')}\r\n`);
    return;
  }
  const body = [...shown, '', 'q to quit'].map((line) => `${line}${CLEAR_LINE}`).join('\r\n');
  stdout.write(`${HOME}${body}${CLEAR_BELOW}`);
}

function describe(assessment: Assessment, style: TerminalStyle): string {
  const { clays, judgements } = assessment;
  if (clays.length === 0 && judgements.length === 0) return wrapped(sanitize(noClayMessage(assessment), 2000), style);
  const details = { usage: new Map(), titles: readTitles(assessment), userNames: readUserNames(), forPerson: true };
  return statusText(assessment, details, style);
}
