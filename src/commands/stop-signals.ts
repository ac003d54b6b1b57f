/** What ends a command that a person runs: Ctrl-C, `kill`, and the end of the terminal. */
export const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
