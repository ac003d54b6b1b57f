import { rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build, type Plugin, transform } from 'esbuild';
import { createInstrumenter } from 'istanbul-lib-instrument';

// npx tsx test/fuzz/collect.ts SECONDS: adds to the corpus what runs code of src/ that nothing in it has run yet.

/** Counts in `__coverage__` how often each statement and branch of src/ runs: the coverage of V8 takes 5 ms for each input. */
const countStatements: Plugin = {
  name: 'count-statements',
  setup({ onLoad }) {
    const instrumenter = createInstrumenter({ esModules: true });
    onLoad({ filter: /\/src\/.*\.ts$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, 'utf8'), { loader: 'ts', target: 'es2022' });
      return { contents: instrumenter.instrumentSync(code, path), loader: 'js' };
    });
  },
};

// In this folder, as the corpus and the fixtures are found from where the code is.
const outfile = fileURLToPath(new URL(`.explore-${process.pid}.mjs`, import.meta.url));
const { explore } = await loadCounting(outfile);
explore(Number(process.argv[2] ?? 600));

/** Bundles what explores with counters in it, and loads it. */
async function loadCounting(outfile: string): Promise<typeof import('./explore.ts')> {
  try {
    await build({
      entryPoints: [fileURLToPath(new URL('explore.ts', import.meta.url))],
      outfile,
      bundle: true,
      packages: 'external',
      platform: 'node',
      format: 'esm',
      plugins: [countStatements],
    });
    return await import(outfile);
  } finally {
    rmSync(outfile, { force: true });
  }
}
