import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';

const SRC = join(import.meta.dirname, '../../src');

/** Top first; sweep is sweep.ts, assess.ts and their settings. A file imports from its own layer or from those below it; folders of one layer do not know each other. */
const LAYERS = [
  ['start.ts'],
  ['main.ts'],
  ['cli.ts'],
  ['commands'],
  ['service', 'install'],
  ['report'],
  ['history'],
  ['sweep'],
  ['reap'],
  ['observe'],
  ['config'],
  ['judge', 'clay', 'claude'],
  ['proc'],
  ['fs'],
  ['result.ts', 'sleep.ts'],
];

type Import = { readonly from: string; readonly to: string };

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));

/** Every import of the sources, types included; `to` is a file below src, or the name of a package. */
const imports = files.flatMap((from) => {
  const names = readFileSync(join(SRC, from), 'utf8').matchAll(/(?:\bfrom|\bimport\(|^import) ?'([^']+)'/gm);
  return [...names].map(
    ([, name = '']): Import => ({
      from,
      to: name.startsWith('.') ? normalize(join(dirname(from), name)) : name,
    }),
  );
});
const partOf = (file: string): string => (/^(sweep|assess)\b/.test(file) ? 'sweep' : (file.split('/')[0] ?? file));
const layerOf = (file: string): number => LAYERS.findIndex((layer) => layer.includes(partOf(file)));
const format = ({ from, to }: Import): string => `${from} → ${to}`;
const isInternal = ({ to }: Import): boolean => to.endsWith('.ts');

describe('the layers of src', () => {
  it('knows the layer of every file', () => {
    expect(new Set(files.map(layerOf))).toEqual(new Set(LAYERS.keys()));
  });
  it('has no import from an upper layer, nor between folders of one layer', () => {
    const isDown = ({ from, to }: Import): boolean => partOf(from) === partOf(to) || layerOf(from) < layerOf(to);
    expect(imports.filter((entry) => isInternal(entry) && !isDown(entry)).map(format)).toEqual([]);
  });
  it('has no circle of files', () => {
    const edges = imports.filter(isInternal);
    // Drop what imports nothing that is left, or is not imported by anything left: only circles remain.
    let left = new Set(files);
    for (let size = -1; size !== left.size; ) {
      size = left.size;
      const inside = edges.filter(({ from, to }) => left.has(from) && left.has(to));
      const imported = new Set(inside.map(({ to }) => to));
      left = new Set(inside.map(({ from }) => from).filter((file) => imported.has(file)));
    }
    expect([...left]).toEqual([]);
  });
  it('keeps judge to itself and the identity of a process', () => {
    const allowed = (to: string): boolean => partOf(to) === 'judge' || to === 'proc/process-id.ts' || to === 'ms';
    expect(imports.filter(({ from, to }) => partOf(from) === 'judge' && !allowed(to)).map(format)).toEqual([]);
  });
  it('lets config know the policy and nothing else', () => {
    const entries = imports.filter((entry) => partOf(entry.from) === 'config' && isInternal(entry));
    const allowed = (to: string): boolean => partOf(to) === 'config' || to === 'judge/policy.ts';
    expect(entries.filter(({ to }) => !allowed(to)).map(format)).toEqual([]);
  });
  it('has no I/O in judge and report', () => {
    const pure = ['node:util'];
    const entries = imports.filter(({ from, to }) => /^(judge|report)\//.test(from) && to.startsWith('node:'));
    expect(entries.filter(({ to }) => !pure.includes(to)).map(format)).toEqual([]);
  });
});
