// node src/build/run-typescript.js FILE: runs a TypeScript file of this repository, which Node 20 cannot do by itself.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { bundling } from './bundling.js';

/** In one bundle, each module still says where it lies: some start programs that lie beside them. */
const ownPlaces = {
  name: 'own-places',
  setup: ({ onLoad }) =>
    onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      loader: 'ts',
      contents: readFileSync(path, 'utf8').replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href)),
    })),
};

const folder = mkdtempSync(join(tmpdir(), 'run-typescript-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const outfile = join(folder, 'program.mjs');
await build({ ...bundling, entryPoints: [process.argv[2]], outfile, plugins: [ownPlaces] });
await import(pathToFileURL(outfile).href);
