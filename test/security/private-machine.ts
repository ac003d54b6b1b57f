import { readdirSync, readFileSync } from 'node:fs';

/**
 * These tests need a machine of their own: root, and a pid and a mount namespace in which nothing else runs. What they
 * start ends with the namespace, whatever happens, and nothing that they do can reach a process of the real machine.
 */
export function setup(): void {
  // The first process of a namespace is the one that `npm run test:root` starts in it.
  const first = readFileSync('/proc/1/cmdline', 'utf8');
  const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).length;
  if (process.getuid?.() === 0 && first.includes('vitest') && processes < 50) return;
  throw new Error('these tests run as root and in namespaces of their own: npm run test:root');
}
