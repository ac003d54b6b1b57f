import { median, noisePercent } from './statistics.ts';

/** A row of the table. */
export type Row = {
  readonly figure: string;
  readonly against: string;
  readonly goal: string;
  readonly measured: string;
  /** By how much the measurements differ among each other, in percent; null where one is all there is. */
  readonly noisePercent: number | null;
  /** `allowed`: missed, but not by twice, which is all that fails in the short form. Null: only for information. */
  readonly met: 'yes' | 'allowed' | 'NO' | null;
};

/** How much is measured: all of it, or as much as CI has time for, where only twice a goal fails. */
export type Extent = 'full' | 'short';

/** A goal as a bound. What is allowed beyond a factor of 1 doubles in the short form, or the whole bound does. */
export type Goal = {
  readonly words: string;
  readonly bound: number;
  readonly short: number;
  readonly better: 'less' | 'more';
};

/** At least so many times less. */
export const timesLess = (times: number): Goal => ({
  words: `${times} times less`,
  bound: times,
  short: times / 2,
  better: 'more',
});

/** At most so many times. */
export const atMostTimes = (times: number): Goal => ({
  words: `at most ${times} times it`,
  bound: times,
  short: times * 2,
  better: 'less',
});

/** Within so many percent. */
export const within = (percent: number): Goal => ({
  words: `within ${percent} %`,
  bound: 1 + percent / 100,
  short: 1 + percent / 50,
  better: 'less',
});

/** At most a bound of another kind. */
export const atMost = (bound: number, words: string, short = bound * 2): Goal => ({
  words,
  bound,
  short,
  better: 'less',
});

const howMet = ({ bound, short, better }: Goal, measured: number, extent: Extent): Row['met'] => {
  const isWithin = (limit: number): boolean => (better === 'more' ? measured >= limit : measured <= limit);
  if (isWithin(bound)) return 'yes';
  return extent === 'short' && isWithin(short) ? 'allowed' : 'NO';
};

/** The same row without a goal. */
export const forInformation = (row: Row): Row => ({ ...row, goal: '(for information)', met: null });

/** The row of a figure that was measured several times: the median counts, and is what `formatStatusLine` is given. */
export function rowOf(
  about: Pick<Row, 'figure' | 'against'>,
  goal: Goal,
  measured: readonly number[],
  formatStatusLine: (median: number) => string,
  extent: Extent,
): Row {
  const middle = median(measured);
  return {
    ...about,
    goal: goal.words,
    measured: formatStatusLine(middle),
    noisePercent: measured.length > 1 ? noisePercent(measured) : null,
    met: howMet(goal, middle, extent),
  };
}
