import type { Failure, Result } from '../result.ts';

/** What was found wrong with a candidate while its evidence was collected; any message protects it. */
export type Issues = {
  readonly messages: string[];
  /** Something could not be read for lack of permission or because of an I/O error. */
  unreadable: boolean;
};

/** No issue yet. */
export const newIssues = (): Issues => ({ messages: [], unreadable: false });

/** The value, or null after recording why there is none. */
export function valueOr<T>(issues: Issues, result: Result<T> | null): T | null {
  if (result === null) return null;
  if (result.ok) return result.value;
  record(issues, result.failure);
  return null;
}

function record(issues: Issues, failure: Failure): void {
  issues.messages.push(failure.detail);
  if (failure.code === 'denied' || failure.code === 'io') issues.unreadable = true;
}
