import { fileURLToPath } from 'node:url';

const preload = fileURLToPath(new URL('older-machine.cjs', import.meta.url));

/** The environment of a program that takes every process for a day older than it is; see older-machine.cjs. */
export function onOlderMachine(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  // A program that is interfered with gets its uptime from interfere.js, which adds the same day.
  if (env.INTERFERE !== undefined) return env;
  return { ...env, NODE_OPTIONS: [env.NODE_OPTIONS, `--require=${preload}`].filter(Boolean).join(' ') };
}
