import { emitKeypressEvents } from 'node:readline';
import { nothingFound } from '../output/exit-status.ts';
import { safeText } from '../output/safe-text.ts';
import { processTable, screenOf, totalsLine } from '../output/table.ts';
import { pause } from '../reap/signals.ts';
import { emptyState, type Look, look, type SweepSettings } from '../sweep.ts';

const REDRAW_MS = 2_000;

// xterm's control sequences: the other screen, which leaves the person's own as it was, and the cursor.
const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

/** Redraws the table in place until q, Ctrl-C or a signal, and leaves the terminal as it was. */
export async function watchStatus(settings: SweepSettings): Promise<void> {
  const { stdin, stdout } = process;
  const stop = new AbortController();
  const end = (): void => stop.abort();
  const onKey = (_: string | undefined, key: { name?: string; ctrl?: boolean }): void => {
    if (key.name === 'q' || (key.ctrl && key.name === 'c')) end();
  };
  emitKeypressEvents(stdin);
  stdin.setRawMode(true).on('keypress', onKey).resume();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end);
  stdout.write(ENTER);
  try {
    const state = emptyState();
    while (!stop.signal.aborted) {
      draw(await look(settings, state));
      await pause(REDRAW_MS, stop.signal);
    }
  } finally {
    stdout.write(LEAVE);
    stdin.setRawMode(false).off('keypress', onKey).pause();
  }
}

function draw(found: Look): void {
  const { stdout } = process;
  const nothing = found.clays.length === 0 && found.judgements.length === 0;
  const text = nothing
    ? safeText(nothingFound(found), 2000)
    : `${processTable(found.judgements, new Map(), screenOf(stdout))}\n\n${totalsLine(found, new Map())}`;
  // What does not fit is cut: a screen that scrolls cannot be redrawn in place.
  const room = Math.max(1, (stdout.rows || 24) - 2);
  const lines = text.split('\n');
  const shown = lines.length <= room ? lines : [...lines.slice(0, room - 1), `… ${lines.length - room + 1} more`];
  const body = [...shown, '', 'q to quit'].map((line) => `${line}${CLEAR_LINE}`).join('\r\n');
  stdout.write(`${HOME}${body}${CLEAR_BELOW}`);
}
