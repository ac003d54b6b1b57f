/** A value at a moment in ms. */
export type Point = readonly [atMs: number, value: number];

/** A straight line through points by least squares, and how sure its slope is (two-sided, 99 %). Slopes are per ms. */
export type Trend = { readonly slope: number; readonly error: number; readonly mean: number };

/** Of so many equally long stretches one mean each: samples of one moment know of each other, stretches hardly do. */
const STRETCHES = 12;

/** The 99.5 % quantile of Student's t with STRETCHES - 2 degrees of freedom. */
const STUDENT = 3.169;

/** The trend of a series of samples, made from the means of {@link STRETCHES} parts of it. */
export function trendOf(points: readonly Point[]): Trend {
  const first = points[0]?.[0] ?? 0;
  const length = ((points.at(-1)?.[0] ?? 0) - first) / STRETCHES + Number.EPSILON;
  const means = Array.from({ length: STRETCHES }, (_, nth): Point => {
    const part = points.filter(([at]) => Math.min(STRETCHES - 1, Math.floor((at - first) / length)) === nth);
    return [average(part.map(([at]) => at)), average(part.map(([, value]) => value))];
  });
  const meanAt = average(means.map(([at]) => at));
  const mean = average(means.map(([, value]) => value));
  const spreadOfAt = sum(means.map(([at]) => (at - meanAt) ** 2));
  const slope = sum(means.map(([at, value]) => (at - meanAt) * (value - mean))) / spreadOfAt;
  const left = sum(means.map(([at, value]) => (value - mean - slope * (at - meanAt)) ** 2));
  return { slope, mean, error: STUDENT * Math.sqrt(left / (STRETCHES - 2) / spreadOfAt) };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
/** The mean of values; NaN without one. */
export const average = (values: readonly number[]): number => sum(values) / values.length;

/** The value below which each share of all lies: 0.5 gives the median, 1 the largest. */
export function quantiles(values: readonly number[], shares: readonly number[]): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  return shares.map((share) => sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN);
}
