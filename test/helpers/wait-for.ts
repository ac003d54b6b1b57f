import { setTimeout as sleep } from 'node:timers/promises';

/** Waits for a condition, and for nothing else: resolves with its first truthy value. `what` is in the error of a timeout. */
export async function waitFor<T>(
  what: string | (() => string),
  condition: () => T | Promise<T>,
  timeoutMs = 20_000,
): Promise<Exclude<T, false | null | undefined | 0 | ''>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value as Exclude<T, false | null | undefined | 0 | ''>;
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms in vain until ${typeof what === 'string' ? what : what()}`);
    }
    await sleep(25);
  }
}
