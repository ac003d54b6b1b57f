/** Why something could not be read: it is not there, this user may not, the kernel could not, or it is not what it should be. */
export type Failure = { readonly code: 'not-found' | 'denied' | 'io' | 'invalid'; readonly detail: string };

/** A value, or why there is none. Expected failures are values here: a process that vanished is no exception. */
export type Result<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly failure: Failure };

/** A successful {@link Result}. */
export const ok = <T>(value: T): Result<T> => ({ ok: true, value });

/** A failed {@link Result}. */
export const fail = (code: Failure['code'], detail: string): Result<never> => ({
  ok: false,
  failure: { code, detail },
});

/** The task cannot be done on this machine right now. The message is one line for the person; it ends the command. */
export class UnavailableError extends Error {}

const GONE = new Set(['ENOENT', 'ESRCH', 'ENOTDIR', 'ENAMETOOLONG']);
const DENIED = new Set(['EACCES', 'EPERM']);

/** Turns an error thrown by `node:fs` into a {@link Result}; `what` names the thing that was read. */
export function toFailure(error: unknown, what: string): Result<never> {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
  if (GONE.has(code)) return fail('not-found', `${what} is not there`);
  if (DENIED.has(code)) return fail('denied', `${what} may not be read (${code})`);
  if (code === 'ELOOP') return fail('invalid', `${what} is a symbolic link`);
  return fail('io', `${what} could not be read (${code})`);
}

/** Runs `read` and gives its value, or its error as a {@link Result}. */
export function attempt<T>(what: string, read: () => T): Result<T> {
  try {
    return ok(read());
  } catch (error) {
    return toFailure(error, what);
  }
}
