import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { build } from 'esbuild';
import { bundling } from './bundling.js';
import { writeLicences } from './licences.js';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));

const { metafile } = await build({
  ...bundling,
  entryPoints: ['src/main.ts'],
  outfile: 'dist/clay-reaper.js',
  legalComments: 'none',
  metafile: true,
  define: { CLAY_REAPER_VERSION: JSON.stringify(version) },
  banner: { js: `#!/usr/bin/env node\n${bundling.banner.js}` },
});
writeLicences(metafile, 'dist/LICENSES.txt');
execFileSync(process.execPath, ['src/build/run-typescript.js', 'src/build/docs/man.ts'], { stdio: 'inherit' });
