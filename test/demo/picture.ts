import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { onTerminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';
import { openScene } from './scene.ts';
import { terminalSvg } from './svg.ts';

// Writes status.svg: what `status` shows on a real terminal, of the Clay of the demo. Takes a minute, for min_age holds.
const OPTIONS = ['--grace', '1m', '--parked-after', '5m'];
const COLUMNS = 80;
const TITLE = 'clay-reaper status on a terminal: each claude process, its verdict, and why';

const scene = await openScene({ superseded: 0, deleted: 0, abandoned: 0, parked: 0 });
try {
  const begun = performance.now();
  await until('the processes are old enough', () => performance.now() - begun > 61_000, 90_000);
  const terminal = onTerminal(['status', '--clay-home', scene.clay.home, ...OPTIONS], { columns: COLUMNS, rows: 30 });
  const status = await terminal.ended;
  const shown = /before:.*?\.\r?\n(.*)status:/s.exec(terminal.output())?.[1];
  if (status !== 0 || !shown) throw new Error(`status ended with ${status}: ${terminal.output()}`);
  const text = `$ clay-reaper status ${OPTIONS.join(' ')}\n${shown.replaceAll('\r', '').trimEnd()}`;
  writeFileSync(fileURLToPath(new URL('status.svg', import.meta.url)), terminalSvg(TITLE, text, COLUMNS));
} finally {
  await scene.close();
}
