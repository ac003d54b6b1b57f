import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { onTerminal } from '../helpers/terminal.ts';
import { openScene } from './scene.ts';
import { terminalSvg } from './svg.ts';

// Writes status.svg: what `status` shows on a real terminal, of the Clay of the demo.
const COLUMNS = 80;
const CLEARED_LINE = '\r\u001b[K';
const TITLE = 'clay-reaper status on a terminal: each claude process, its verdict, and why';
/** What a `claude` of Agent SDK 0.2.92 shares with no other. */
const HELD = 146e6;

const scene = await openScene({ superseded: 720, deleted: 1500, abandoned: 540, parked: 720 }, HELD);
try {
  const terminal = onTerminal(['status', '--clay-home', scene.clay.home], { columns: COLUMNS, rows: 30 });
  const status = await terminal.ended;
  const shown = /before:.*?\.\r?\n(.*)status:/s.exec(terminal.output())?.[1];
  if (status !== 0 || !shown) throw new Error(`status ended with ${status}: ${terminal.output()}`);
  // "looking for 3 s" is gone when the table is there.
  const table = shown
    .slice(shown.lastIndexOf(CLEARED_LINE) + CLEARED_LINE.length)
    .replaceAll('\r', '')
    .trimEnd();
  const text = `$ clay-reaper status\n${table}`;
  writeFileSync(fileURLToPath(new URL('status.svg', import.meta.url)), terminalSvg(TITLE, text, COLUMNS));
} finally {
  await scene.close();
}
