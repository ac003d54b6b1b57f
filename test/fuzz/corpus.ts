import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';

const corpus = new URL('corpus/', import.meta.url);

/** The inputs that are kept for a parser, in corpus/NAME; those of more than 2 kB are compressed. */
export function corpusOf(name: string): Buffer[] {
  const folder = new URL(`${name}/`, corpus);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .map((file) => ({ file, content: readFileSync(new URL(file, folder)) }))
    .map(({ file, content }) => (file.endsWith('.gz') ? gunzipSync(content) : content));
}

/** Keeps an input for a parser; the file's name, which is returned with its folder, is the hash of what it holds. */
export function addToCorpus(name: string, input: Buffer): string {
  const folder = new URL(`${name}/`, corpus);
  mkdirSync(folder, { recursive: true });
  const hash = createHash('sha256').update(input).digest('hex').slice(0, 12);
  const isLarge = input.length > 2048;
  const file = isLarge ? `${hash}.gz` : hash;
  writeFileSync(new URL(file, folder), isLarge ? gzipSync(input, { level: 9 }) : input);
  return `test/fuzz/corpus/${name}/${file}`;
}
