import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';
import { bundling } from './bundling.js';
import { writeLicences } from './licences.js';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));

const options = {
  ...bundling,
  // Node starts CommonJS sooner than an ES module, by a sixth of what it needs to start at all.
  format: 'cjs',
  banner: {},
  // The names stay: they stand in stack traces.
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: 'none',
  metafile: true,
};
const inputs = {};

/**
 * V8 goes through all the code of a file before it runs any of it, which takes longer than what most commands do, but it
 * steps over a string. So what only some commands load is in the bundle as text, and becomes code when it is required.
 */
const asText = {
  name: 'as-text',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(pino|pino-pretty|prom-client|cli-table3)$/ }, ({ path }) => ({
      path,
      namespace: 'as-text',
    }));
    onLoad({ filter: /.*/, namespace: 'as-text' }, async ({ path }) => {
      const { outputFiles, metafile } = await build({ ...options, entryPoints: [path], write: false });
      Object.assign(inputs, metafile.inputs);
      const parts = [outputFiles[0].text, ['module', 'exports', 'require'], { filename: path }].map(JSON.stringify);
      return { contents: `require("node:vm").compileFunction(${parts})(module, exports, require)`, resolveDir: '.' };
    });
  },
};

const { metafile } = await build({
  ...options,
  entryPoints: ['src/main.ts'],
  outfile: 'dist/clay-reaper.js',
  plugins: [asText],
  banner: { js: "#!/usr/bin/env node\nconst __url = require('node:url').pathToFileURL(__filename).href;" },
  define: { CLAY_REAPER_VERSION: JSON.stringify(version), 'import.meta.url': '__url' },
});
writeFileSync('dist/package.json', '{ "type": "commonjs" }\n');
writeLicences({ ...metafile.inputs, ...inputs }, 'dist/LICENSES.txt');
execFileSync(process.execPath, ['src/build/run-typescript.js', 'src/build/docs/man.ts'], { stdio: 'inherit' });
