import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The options and the environment that the unit gives to Node. */
export function unitSettings(): { readonly nodeOptions: string[]; readonly env: Record<string, string> } {
  const unit = readFileSync(fileURLToPath(new URL('../../systemd/clay-reaper.service', import.meta.url)), 'utf8');
  const words = /^ExecStart=(.*)$/m.exec(unit)?.[1]?.split(' ') ?? [];
  const node = words.findIndex((word) => word.endsWith('/node'));
  return {
    nodeOptions: words.slice(node + 1).filter((word) => word.startsWith('--')),
    env: Object.fromEntries(
      [...unit.matchAll(/^Environment=(\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]),
    ),
  };
}

/** The unit's options of Node, with a quarter of its heap: one that is full ends the program, and what may lie about is little. */
export const optionsWithSmallHeap = (): string[] =>
  unitSettings().nodeOptions.map((option) =>
    option.startsWith('--max-old-space-size') ? '--max-old-space-size=32' : option,
  );

/** Those of them that NODE_OPTIONS takes. */
export const sizesAmong = (options: readonly string[]): string[] =>
  options.filter((option) => option.startsWith('--max-'));
