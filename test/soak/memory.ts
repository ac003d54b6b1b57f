import { readFileSync } from 'node:fs';
import { optionsWithSmallHeap, sizesAmong } from '../helpers/systemd-unit.ts';
import { average, type Trend, trendOf } from './trend.ts';

/** What stays after a collection of all garbage; bytes. See collect.js. */
type Memory = { readonly at: number; readonly resident: number; readonly heap: number };

const MEASURES = ['resident', 'heap'] as const;
/** `resident`: all memory; `heap`: the living objects in it. */
export type Trends = Readonly<Record<(typeof MEASURES)[number], Trend>>;

/** The environment of a service whose memory is to be watched, with the options that its unit starts it with. */
export function watched(file: string): Record<string, string> {
  const options = optionsWithSmallHeap();
  // The sizes have to be there from the beginning.
  const sizes = sizesAmong(options);
  return {
    NODE_OPTIONS: [...sizes, `--import=${new URL('collect.js', import.meta.url).href}`].join(' '),
    // V8 does not survive it if it is told to have no threads when it has some.
    V8_OPTIONS: options.filter((option) => !sizes.includes(option) && option !== '--single-threaded').join(' '),
    MEMORY_LOG: file,
  };
}

function samplesIn(file: string, from: number, to: number): Memory[] {
  const all = readFileSync(file, 'utf8').trim().split('\n');
  return all.map((line) => JSON.parse(line) as Memory).filter(({ at }) => at >= from && at <= to);
}

/** The trends of a watched service in a stretch of time; ms since the epoch. */
export function trendsIn(file: string, from: number, to: number): Trends {
  const then = samplesIn(file, from, to);
  const trendIn = (measure: keyof Trends): Trend => trendOf(then.map((sample) => [sample.at, sample[measure]]));
  return { resident: trendIn('resident'), heap: trendIn('heap') };
}

/** What a watched service had resident in a stretch of time, on average; bytes. */
export const meanResidentIn = (file: string, from: number, to: number): number =>
  average(samplesIn(file, from, to).map(({ resident }) => resident));

const HOUR_MS = 3_600_000;
const HARMLESS_PERCENT_AN_HOUR = 1;

/**
 * What grows, by a share of itself that would matter and by more than chance and the noise of a service without work explain:
 * the least that its slope can be is more than the most that the other's can be.
 */
export const growing = (work: Trends, idle: Trends): string[] =>
  MEASURES.filter((measure) => {
    const least = work[measure].slope - work[measure].error;
    const harmless = (work[measure].mean * HARMLESS_PERCENT_AN_HOUR) / 100 / HOUR_MS;
    return least > harmless && least > idle[measure].slope + idle[measure].error;
  });

/** Trends for a person: MB, and bytes a second with how sure that is. */
export const formatStatusLine = (trends: Trends): Record<string, string> =>
  Object.fromEntries(
    MEASURES.map((measure) => {
      const { mean, slope, error } = trends[measure];
      return [measure, `${(mean / 1e6).toFixed(1)} MB ${Math.round(slope * 1000)} ± ${Math.round(error * 1000)} B/s`];
    }),
  );
