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
