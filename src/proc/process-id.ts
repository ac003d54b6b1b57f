/** Names one process for good: a pid alone may belong to another process a moment later. */
export type ProcessId = { readonly pid: number; readonly startTicks: number };

/** The key of a process in maps: `pid:startTicks`. */
export const keyOf = (id: ProcessId): string => `${id.pid}:${id.startTicks}`;
