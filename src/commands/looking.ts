import { isDumbTerminal } from '../report/format.ts';

const CLEAR_LINE = '\u001b[K';

/**
 * Runs a look that takes some seconds, and says so on a terminal while it takes them: "looking for 3 s". `onWait` is to be called
 * before each wait, with its length in ms.
 */
export async function withLookingNotice<T>(look: (onWait: (ms: number) => void) => Promise<T>): Promise<T> {
  const { stderr } = process;
  if (!stderr.isTTY || isDumbTerminal()) return look(() => {});
  let waits = 0;
  const onWait = (ms: number): void => {
    waits++;
    const again = waits === 1 ? '' : 'another ';
    stderr.write(`\r${CLEAR_LINE}looking for ${again}${Math.round(ms / 1000)} s how much CPU time they use`);
  };
  try {
    return await look(onWait);
  } finally {
    if (waits > 0) stderr.write(`\r${CLEAR_LINE}`);
  }
}
