/** The middle value, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  if (low === undefined || high === undefined) throw new Error('the median of nothing');
  return (low + high) / 2;
}

/** How far values lie from their median, in percent of it: the median of the distances. */
export function noisePercent(values: readonly number[]): number {
  const middle = median(values);
  return (100 * median(values.map((value) => Math.abs(value - middle)))) / Math.abs(middle);
}

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** The slope of the straight line that fits the points best (least squares). */
export function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const [meanX, meanY] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))];
  const covariance = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  return covariance / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
}

/** The same on logarithmic axes: 1 is linear, 2 is quadratic. */
export const logLogSlope = (points: readonly (readonly [x: number, y: number])[]): number =>
  slope(points.map(([x, y]) => [Math.log(x), Math.log(y)]));

/** Half the width of the 95 % confidence interval of the mean of three values (Student's t with 2 degrees of freedom). */
export function uncertaintyOfThree(values: readonly [number, number, number]): number {
  const middle = mean(values);
  const variance = values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / 2;
  return 4.303 * Math.sqrt(variance / 3);
}
