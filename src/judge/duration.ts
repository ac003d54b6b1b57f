import ms from 'ms';

/** A time as a person reads it: 40s, 5m, 3h, 2d. */
export const formatDuration = (milliseconds: number): string =>
  milliseconds < 1000 ? '0s' : ms(Math.round(milliseconds / 1000) * 1000);

/** A setting's duration as a person would write it; Infinity is "never". */
export const formatLimit = (milliseconds: number): string =>
  Number.isFinite(milliseconds) ? formatDuration(milliseconds) : 'never';
