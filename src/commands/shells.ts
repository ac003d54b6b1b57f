/** The shells for which `completion` has a script. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;
