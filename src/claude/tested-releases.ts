/**
 * The releases of the Agent SDK whose real processes are tested by `npm run test:releases`, oldest first; docs/releases.md says
 * what was seen. To add a release, add a line, run that command and commit both.
 */
export const TESTED_SDKS = [
  '0.2.44',
  '0.2.76',
  '0.2.92',
  '0.2.118',
  '0.2.133',
  '0.2.141',
  '0.3.147',
  '0.3.193',
  '0.3.243',
  '0.3.287',
  '0.3.330',
  '0.3.331',
  '0.3.332',
] as const;

/** The release of Claude that a release of the Agent SDK brings: 2.1.330 for 0.3.330. Measured on all that are tested. */
export const claudeReleaseOf = (sdk: string): string => `2.1.${sdk.split('.')[2]}`;
