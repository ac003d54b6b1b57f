import type { Failure, Result } from '../files.ts';

/** What was found wrong with a candidate while its evidence was collected. */
export type Doubts = { readonly words: string[]; unreadable: boolean };

/** Nothing was found wrong yet. */
export const noDoubts = (): Doubts => ({ words: [], unreadable: false });

/** The value, or null after noting why there is none. */
export function unless<T>(doubts: Doubts, result: Result<T> | null): T | null {
  if (result === null) return null;
  if (result.ok) return result.value;
  note(doubts, result.failure);
  return null;
}

function note(doubts: Doubts, failure: Failure): void {
  doubts.words.push(failure.detail);
  if (failure.why === 'denied' || failure.why === 'error') doubts.unreadable = true;
}
